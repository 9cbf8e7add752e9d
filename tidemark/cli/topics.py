"""`tidemark topics`: the Kafka topics."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from tidemark.cli.output import Json, emit, say
from tidemark.cli.run_id import RunId
from tidemark.core import acls, topics
from tidemark.core.errors import UsageError
from tidemark.core.settings import load

CreateTime = Annotated[
    bool, typer.Option("--create-time", help="For loading history: arrival is the timestamp the producer sets.")
]


Acls = Annotated[bool, typer.Option("--acls", help="Also give the roles of schemas/kafka/acls.yaml their rights.")]
Users = Annotated[
    list[str] | None, typer.Option("--user", help="With --acls: ROLE=USER; a role's user is tidemark-ROLE when absent.")
]


def register(app: typer.Typer) -> None:
    """Add the commands to the `tidemark` app."""
    group = typer.Typer(help="Kafka topics.", no_args_is_help=True)
    group.command("apply")(apply)
    group.command("grow")(grow)
    app.add_typer(group, name="topics")


def apply(
    create_time: CreateTime = False,
    with_acls: Acls = False,
    user: Users = None,
    run_id: RunId = None,
    as_json: Json = False,
) -> None:
    """Create the topics that are missing; existing topics are left alone."""
    settings, users = load(run_id=run_id), _users(user or [])
    if users and not with_acls:
        raise UsageError("--user is about --acls.", "give --acls too, or leave it out.")
    say(f"checking topics of {settings.kafka.bootstrap} …")
    applied = topics.apply(settings, create_time=create_time)
    lines = [f"{result.topic}: {'created' if result.created else 'unchanged'}" for result in applied]
    document: dict[str, object] = {"topics": [asdict(result) for result in applied]}
    if with_acls:
        given = acls.apply(settings, users)
        document["rights"] = [asdict(right) for right in given]
        lines.append(f"{len(given)} rights of {len({right.role for right in given})} roles: given")
    emit(document, lines, as_json=as_json)


def grow(run_id: RunId = None, as_json: Json = False) -> None:
    """Give the topics of events and deltas as many partitions as `topics.partitions` says, while the jobs run."""
    settings = load(run_id=run_id)
    grown, wanted = topics.grow(settings), settings.topics.partitions
    lines = [f"{topic}: {before} → {wanted} partitions" for topic, before in grown.items()]
    emit({"partitions": wanted, "before": grown}, lines or f"all have {wanted} partitions", as_json=as_json)


def _users(texts: list[str]) -> dict[str, str]:
    pairs = {text: text.partition("=") for text in texts}
    wrong = [text for text, (role, _, user) in pairs.items() if not role or not user]
    if wrong:
        raise UsageError(f"--user {wrong[0]!r} is not valid.", "write ROLE=USER, for example meter=svc-meter.")
    return {role: user for role, _, user in pairs.values()}
