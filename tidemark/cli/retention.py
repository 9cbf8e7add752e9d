"""`tidemark retention`: removes what is old enough in Postgres, Kafka and the archive, and shows what must stay."""

from __future__ import annotations

from typing import Annotated

import typer

from tidemark.archive.retention.plan import Plan, planned
from tidemark.cli.by import By
from tidemark.cli.output import Json, Table, emit
from tidemark.core.errors import UsageError
from tidemark.core.settings import load
from tidemark.core.settings.billing import RetentionPolicy
from udfs.values import rfc3339

Policy = Annotated[
    RetentionPolicy | None, typer.Option("--policy", help="With --dry-run: the plan if `retention.policy` were this.")
]
RunId = Annotated[str | None, typer.Option("--run-id", help="A run with tables and topics of its own.")]


def register(app: typer.Typer) -> None:
    """Add the command to the `tidemark` app."""
    app.command("retention")(retention)


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    policy: Policy = None,
    by: By = "",
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Execute the steps that the settings of `retention` define; exit code 1 if a step is refused."""
    if policy is not None and not dry_run:
        raise UsageError("--policy only shows what a policy would do.", "add --dry-run, or set `retention.policy`.")
    with planned(load(**{"run_id": run_id, "retention.policy": policy})) as plan:
        if not dry_run:
            plan.act(by)
        document = {"at": rfc3339(plan.at), "dry_run": dry_run, "bytes": plan.size,
                    "steps": [step.document() for step in plan.steps]}  # fmt: skip
        emit(document, _text(plan, dry_run=dry_run), as_json=as_json)
        plan.raise_if_refused()


def _text(plan: Plan, *, dry_run: bool) -> str | Table:
    if not plan.steps:
        return "no setting of `retention` is given: everything is kept"
    table = Table("target", "would" if dry_run else "did", "chunks, files", "bytes", "older than", "but")
    for step in plan.steps:
        before = "" if step.before is None else rfc3339(step.before)
        counts = (f"{step.count:,}", f"{step.size:,}") if step.before is not None else ("", "")
        but = f"refused: {step.refused}" if step.refused else f"limited: {step.limited}" if step.limited else ""
        table.add_row(step.target, step.does, *counts, before, but)
    table.add_row("in all", "", "", f"{plan.size:,}", "", "")
    return table
