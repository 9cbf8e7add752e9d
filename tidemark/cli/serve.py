"""`tidemark serve`: everything that runs beside the jobs, in one process or a role at a time."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from tidemark.cli.until_stopped import until_stopped
from tidemark.core.service import log_all, log_as
from tidemark.core.settings import load
from tidemark.core.supervisor import log
from tidemark.serve.http import PROCESS
from tidemark.serve.process import Process
from tidemark.serve.roles import ROLES, chosen, not_configured, services_of

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]
Roles = Annotated[
    str | None, typer.Option("--roles", help=f"Some of {', '.join(ROLES)}, with commas; all that are configured.")
]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("serve")(serve)


def serve(roles: Roles = None, run_id: RunId = None) -> None:
    """Run roles beside the jobs until SIGTERM or Ctrl-C; logs JSON lines to stderr, and never ends by itself."""
    settings = load(run_id=run_id)
    log_as(PROCESS, settings.run_id)
    names = chosen(settings, None if roles is None else [name.strip() for name in roles.split(",") if name.strip()])
    services = services_of(settings, names)
    log_all()
    process = Process(settings, services, until_stopped())
    idle = {} if roles is not None else not_configured(settings)
    log("started", roles={role: [one.name for one in many] for role, many in services.items()}, not_configured=idle)
    if process.run():
        # A thread that waits for a service would hold up the end of the interpreter. Every step may be killed anywhere.
        os._exit(0)
