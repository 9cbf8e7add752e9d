"""`tidemark status`: how a deployment does, from its settings alone; with the services of a local stack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidemark.cli.output import Group, Json, Table, emit, one_line
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import ENV_PREFIX, FILE_ENV, Settings, load, settings_file
from tidemark.health import status as health

if TYPE_CHECKING:
    from infra.local.paths import Paths as LocalPaths

StateDir = Annotated[Path | None, typer.Option(help="Directory of the local stack; default: .tidemark/local")]
RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics, schemas and keys of its own.")]
_DOWN = "the stack is down (start it: tidemark up)"


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("status")(status)


def status(state_dir: StateDir = None, run_id: RunId = None, as_json: Json = False) -> None:
    """Show how a deployment does, from its settings: jobs, lag, roles, what waits; exit code 0 when it is healthy.

    1: something is wrong, each in a line; 3: a service does not answer, or the local stack is down.
    """
    services = _local(state_dir)
    if services is not None and not services:
        emit({"state": "down", "healthy": False, "problems": [_DOWN], "services": []}, _DOWN, as_json=as_json)
        raise typer.Exit(UnavailableError.exit_code)
    if code := show(load(run_id=run_id), services, as_json=as_json):
        raise typer.Exit(code)


def show(settings: Settings, services: Sequence[dict[str, Any]] | None, *, as_json: bool = False) -> int:
    """Print how a deployment does, with the services of a local stack; returns the exit code that says so."""
    seen = health.read(settings)
    document = health.document(seen, settings)
    degraded = [one for one in services or () if not one["ready"]]
    document["problems"] += [
        f"{one['service']} is not ready: {one['state']} {one['detail']}".rstrip() for one in degraded
    ]
    document["healthy"] = not document["problems"]
    if services is not None:
        document |= {"state": "degraded" if degraded else "up", "services": services}
    emit(document, _text(document, services), as_json=as_json)
    if seen.unreachable or degraded:
        return UnavailableError.exit_code
    return 0 if document["healthy"] else 1


def _local(state_dir: Path | None) -> list[dict[str, Any]] | None:
    """Services of the local stack, none when it is down; None where the settings are of another deployment."""
    if find_spec("infra") is None:
        return None
    from infra.local.stack import Stack  # noqa: PLC0415  the wheel has no local stack

    paths = stack_of_settings(state_dir)
    if paths is None:
        return None
    file = settings_file()
    is_its_own = file is not None and file.absolute() == paths.settings
    return [asdict(line) for line in Stack(paths).status()] if is_its_own else []


def stack_of_settings(state_dir: Path | None) -> LocalPaths | None:
    """The local stack that the settings are of, which are then read from it; None where they are of another deployment.

    Where nothing says where a deployment is, a local stack is meant.
    """
    from infra.local.paths import Paths  # noqa: PLC0415  the wheel has no local stack

    paths = Paths.of(state_dir)
    if state_dir is not None and paths.settings.is_file():
        os.environ[FILE_ENV] = str(paths.settings)
    file = settings_file()
    if file is not None and file.absolute() == paths.settings:
        return paths
    elsewhere = file is not None or any(name.startswith(ENV_PREFIX) for name in os.environ)
    return None if elsewhere and state_dir is None else paths


def _text(document: dict[str, Any], services: Sequence[dict[str, Any]] | None) -> Group:
    parts: list[Any] = []
    if services:
        parts += [_table(["service", "state", "ready", "address", "version", "detail"], services), ""]
    parts += [_jobs(document), "", _roles(document), ""]
    age_s, drift = document["heartbeat_age_s"], document["drift_open"]
    parts.append(f"heartbeat in Redis: {'none' if age_s is None else f'{age_s:.0f} s old'}")
    parts.append(f"open drift: {'not known' if drift is None else sum(drift.values())}")
    refused = document["periods_refused"]
    causes = None if refused is None else ", ".join(f"{count} by {cause}" for cause, count in refused.items()) or "0"
    parts.append(f"periods due and refused: {causes or 'not known'}")
    parts += ["", *(f"! {line}" for line in document["problems"])] if document["problems"] else ["", "healthy"]
    return Group(*(one_line(part) if isinstance(part, str) else part for part in parts))


def _jobs(document: dict[str, Any]) -> Table:
    lags = document["lag"] or []
    rows = []
    for job in document["jobs"]:
        own = [lag for lag in lags if lag["job"] == job["job"]]
        seconds = [lag["seconds"] for lag in own if lag["seconds"] is not None]
        rows.append({
            "job": job["job"],
            "state": job["state"],
            "checkpoint": _seconds(job["checkpoint_age_s"]),
            "failed since": job["failed_checkpoints"],
            "restarts": "" if job["restarts"] is None else job["restarts"],
            "lag": f"{sum(lag['records'] for lag in own):,} records" if own else "not known",
            "age of it": _seconds(max(seconds)) if seconds else "",
        })  # fmt: skip
    return _table(["job", "state", "checkpoint", "failed since", "restarts", "lag", "age of it"], rows)


def _roles(document: dict[str, Any]) -> Table:
    rows = [
        {
            "role": one["role"],
            "state": one["state"] if one["ok"] else f"{one['state']} !",
            "last success": one["last_success"] or "",
            "processes": len([each for each in one["instances"] if each["state"] != "stopped"]),
            "waiting": _waiting(one),
            "reason": one["reason"],
        }
        for one in document["roles"] or ()
    ]
    return _table(["role", "state", "last success", "processes", "waiting", "reason"], rows)


def _waiting(role: dict[str, Any]) -> str:
    # What `health` sees is in the table of jobs.
    figures = {} if role["role"] == "health" else role["figures"]
    return ", ".join(f"{_short(name)} {count:,.0f}" for name, count in figures.items() if count)


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> Table:
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(("yes" if row[name] else "no") if name == "ready" else str(row[name]) for name in columns))
    return table


def _short(name: str) -> str:
    return name.removeprefix("tidemark_")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} s ago"
