"""`tidemark keys`: keys of the HTTP API."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated, Any

import typer

from tidemark.api import key_store
from tidemark.api.keys import SCOPES, NewKey
from tidemark.cli.by import By
from tidemark.cli.known import known
from tidemark.cli.output import Json, Table, emit
from tidemark.core.errors import UsageError
from tidemark.core.postgres import run_once
from tidemark.core.settings import PostgresSettings, load
from tidemark.core.user import stated
from udfs.values import rfc3339

PART = "keys"
KeyId = Annotated[str, typer.Argument(help="Id of the key, as `list` shows it.")]


def register(app: typer.Typer) -> None:
    """Add the group to the `tidemark` app."""
    keys = typer.Typer(help="Keys of the HTTP API.", no_args_is_help=True)
    for command in (create, list_, revoke, rotate):
        keys.command(command.__name__.rstrip("_"))(command)
    app.add_typer(keys, name="keys")


def create(
    tenant: Annotated[str, typer.Argument(help="The one tenant that it may send and read usage of.")],
    scope: Annotated[list[str], typer.Option(help=f"One of {', '.join(SCOPES)}; may be given again.")],
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    expires_days: Annotated[int | None, typer.Option(min=1, max=3_650, help="It ends after so long.")] = None,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make a key and print it; it is not stored, so nobody can print it again."""
    unknown = sorted(set(scope) - set(SCOPES))
    if unknown:
        raise UsageError(f"there is no scope {', '.join(unknown)}.", f"give some of {', '.join(SCOPES)}.")
    settings = load()
    known(settings, tenant)
    lives = None if expires_days is None else timedelta(days=expires_days)
    _show(
        run_once(
            settings.postgres.ops, PART, lambda db: key_store.create(db, tenant, scope, name, stated(by), lives),
            key_store.SCHEMA,
        ),
        as_json,
    )  # fmt: skip


def list_(
    tenant: Annotated[str | None, typer.Argument(help="Only its keys.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also revoked and expired ones.")] = False,
    as_json: Json = False,
) -> None:
    """List keys: whose they are, what they allow, and when they were last used."""
    keys = run_once(
        load().postgres.ops, PART, lambda db: key_store.listed(db, tenant, everything=everything), key_store.SCHEMA
    )
    table = Table("id", "tenant", "name", "scopes", "created", "by", "ends", "last used")
    for key in keys:
        ends = "revoked" if key.revoked_at else _instant(key.expires_at)
        table.add_row(
            key.key_id, key.tenant_id, key.name, ", ".join(key.scopes), _instant(key.created_at), key.created_by, ends,
            _instant(key.last_used_at),
        )  # fmt: skip
    emit([asdict(key) for key in keys], table if keys else "there is no key", as_json=as_json)


def revoke(key_id: KeyId, by: By = "", as_json: Json = False) -> None:
    """End a key; processes that know it refuse it after `api.key_cache_s` at most."""
    settings = load()
    run_once(settings.postgres.ops, PART, lambda db: key_store.revoke(db, key_id, by), key_store.SCHEMA)
    text = f"{key_id} is revoked; it is refused everywhere after {settings.api.key_cache_s} s at most"
    emit({"revoked": key_id}, text, as_json=as_json)


def rotate(
    key_id: KeyId,
    overlap_hours: Annotated[int, typer.Option(min=0, max=8_760, help="How long the old key stays valid.")] = 24,
    by: By = "",
    as_json: Json = False,
) -> None:
    """Make a key with the tenant, name and scopes of another, which ends after the overlap, and print it."""
    postgres: PostgresSettings = load().postgres.ops
    overlap = timedelta(hours=overlap_hours)
    who = stated(by)
    _show(run_once(postgres, PART, lambda db: key_store.rotate(db, key_id, overlap, who), key_store.SCHEMA), as_json)


def _show(made: NewKey, as_json: bool) -> None:
    text = f"{made.text}\nkeep it now: it is shown this once; its id is {made.key_id}"
    emit({"id": made.key_id, "key": made.text}, text, as_json=as_json)


def _instant(at: Any) -> str:
    return "" if at is None else rfc3339(at)
