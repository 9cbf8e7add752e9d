"""Rights in Postgres by role, from schemas/postgres/grants.yaml: what each may do with each table and view."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import NamedTuple

import yaml

OWNER = "tidemark_owner"
WRITER = "tidemark_writer"
LEDGER = "tidemark_ledger"
OPS = "tidemark_ops"
# May read the views for finance and nothing else.
READER = "tidemark_reader"
# May read what the views show of its own tenants.
TENANT = "tidemark_tenant"
ROLES = (OWNER, WRITER, LEDGER, OPS, READER, TENANT)
# Not among all tables: who is to read it is named.
_NAMED = "schema_migration"

# Tables and views of a schema, by privilege and role.
Grants = Mapping[str, Mapping[str, Mapping[str, list[str]]]]


class Right(NamedTuple):
    """A privilege of a role on a table or view; Postgres's name of the privilege."""

    role: str
    privilege: str
    schema: str
    relation: str


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema and what is in it.

    Parameters
    ----------
    kind:
        catalog, api, usage, billing or report.
    name:
        Of the run.
    relations:
        Its tables and views.
    """

    kind: str
    name: str
    relations: tuple[str, ...]


def read() -> Grants:
    """The file."""
    grants: Grants = yaml.safe_load(files("schemas").joinpath("postgres/grants.yaml").read_text("utf-8"))
    return grants


def rights(grants: Grants, schemas: Iterable[Schema]) -> set[Right]:
    """All rights that the file gives on these schemas."""
    return {right for schema in schemas for right in _on(grants, schema)}


def users(grants: Grants, kind: str) -> list[str]:
    """Roles that have rights in schemas of a kind."""
    return sorted(role for role, kinds in grants.items() if kind in kinds)


def unmatched(grants: Grants, schemas: Iterable[Schema]) -> list[str]:
    """Names of the file that no table or view has; schemas of every kind are expected."""
    relations = {schema.kind: schema.relations for schema in schemas}
    return sorted(
        f"{role}: {kind}.{pattern}"
        for role, kinds in grants.items()
        for kind, privileges in kinds.items()
        for pattern in {pattern for patterns in privileges.values() for pattern in patterns}
        if not any(fnmatchcase(relation, pattern) for relation in relations[kind])
    )


def _on(grants: Grants, schema: Schema) -> Iterator[Right]:
    for role, kinds in grants.items():
        for privilege, patterns in kinds.get(schema.kind, {}).items():
            for relation in schema.relations:
                if any(_is_meant(relation, pattern) for pattern in patterns):
                    yield Right(role, privilege.upper(), schema.name, relation)


def _is_meant(relation: str, pattern: str) -> bool:
    return relation == pattern or (relation != _NAMED and fnmatchcase(relation, pattern))
