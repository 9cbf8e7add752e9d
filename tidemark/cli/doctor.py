"""`tidemark doctor`: checks what Tidemark needs, and gives a fix for each failure."""

from __future__ import annotations

from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.cli.status import StateDir, stack_of_settings
from tidemark.core.errors import UnavailableError
from tidemark.core.settings import load
from tidemark.health import checks
from tidemark.health.checks import Finding


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("doctor")(doctor)


def doctor(state_dir: StateDir = None, as_json: Json = False) -> None:
    """Check machine and local stack, or the deployment of the settings; each failing line has its fix.

    Exit code 0 when all is right; 1: something is wrong; 3: a service does not answer.
    """
    findings = _findings(state_dir)
    ok = all(finding.ok for finding in findings)
    emit({"ok": ok, "checks": [asdict(finding) for finding in findings]}, _table(findings), as_json=as_json)
    if not all(finding.answers for finding in findings):
        raise typer.Exit(UnavailableError.exit_code)
    if not ok:
        raise typer.Exit(1)


def _findings(state_dir: Path | None) -> list[Finding]:
    """Of this machine and its stack, where the settings are those of one or of nothing; else of the deployment."""
    paths = stack_of_settings(state_dir) if find_spec("infra") is not None else None
    if paths is None:
        return checks.examine(load())
    from tidemark.cli.doctor_local import examine  # noqa: PLC0415  the wheel has no local stack

    return examine(paths)


def _table(findings: list[Finding]) -> Table:
    table = Table("", "check", "found", "fix", box=None, pad_edge=False)
    for finding in findings:
        table.add_row("ok" if finding.ok else "FAIL", finding.check, finding.found, "" if finding.ok else finding.fix)
    return table
