"""`tidemark schemas`: the contracts of the topics in a schema registry."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from tidemark.cli.output import Json, Table, emit
from tidemark.core.settings import load
from tidemark.registry import registering
from tidemark.registry.client import Registry
from tidemark.registry.registering import Status
from tidemark.registry.subjects import subjects

RunId = Annotated[str | None, typer.Option("--run-id", help="A run with topics of its own.")]
Where = Annotated[
    str, typer.Option("--registry", help="URL of Confluent's API; of Apicurio it ends in /apis/ccompat/v7.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Contracts of the topics in a schema registry.", no_args_is_help=True)
    group.command("register")(register_all)
    group.command("check")(check)
    app.add_typer(group, name="schemas")


def register_all(registry: Where, run_id: RunId = None, as_json: Json = False) -> None:
    """Register the contract of each topic as PREFIX-value; all of them, or none if one is not compatible."""
    found = registering.register(Registry(registry), subjects(load(run_id=run_id)))
    emit(_document(found), _text(found), as_json=as_json)


def check(registry: Where, run_id: RunId = None, as_json: Json = False) -> None:
    """Show what the registry has of each topic and would take; exit code 1 if it would refuse one."""
    found = registering.check(Registry(registry), subjects(load(run_id=run_id)))
    emit(_document(found), _text(found), as_json=as_json)
    registering.raise_if_refused(found)


def _document(found: Sequence[Status]) -> dict[str, Any]:
    return {
        "subjects": [
            {"subject": one.subject.name, "contract": one.subject.contract, "state": one.state, "version": one.version,
             "differences": list(one.differences)}
            for one in found
        ]
    }  # fmt: skip


def _text(found: Sequence[Status]) -> Table:
    table = Table("subject", "contract", "state", "version")
    for one in found:
        table.add_row(
            one.subject.name, one.subject.contract, one.state, "" if one.version is None else str(one.version)
        )
    return table
