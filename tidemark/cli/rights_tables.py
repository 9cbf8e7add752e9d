"""Tables of who may do what, for docs/reference.md: rights in Kafka, Postgres and Redis, from their files."""

from __future__ import annotations

from collections.abc import Iterator

from infra import redis_users
from tidemark.core import acls, grants
from tidemark.core.settings import Settings

ABOUT = """From `schemas/kafka/acls.yaml` (`tidemark topics apply --acls`), `schemas/postgres/grants.yaml`
(`tidemark db migrate`) and `schemas/redis/users.acl`; [security](security.md) says who is given which."""


def tables() -> Iterator[str]:
    """The lines of all tables."""
    yield from ("**Kafka.** A `*` at the end: what begins so.", "", "| role | right | on |", "|---|---|---|", *_kafka())
    yield from ("", "**Postgres.** `tidemark_owner` owns all of it.", "")
    yield from ("| role | schema | right | tables and views |", "|---|---|---|---|", *_postgres())
    yield from ("", "**Redis.**", "", "| user | keys | commands |", "|---|---|---|", *_redis())


def _kafka() -> Iterator[str]:
    found: dict[tuple[str, str, str], list[str]] = {}
    for right in acls.rights(Settings()):
        kind = right.resource.lower().replace("_", " ")
        name = f"`{right.name}{'*' if right.prefixed else ''}`"
        found.setdefault((right.role, right.operation.lower().replace("_", " "), kind), []).append(name)
    for (role, operation, kind), names in found.items():
        yield f"| `{role}` | {operation} | {kind} {', '.join(names)} |"


def _postgres() -> Iterator[str]:
    for role, kinds in grants.read().items():
        for kind, privileges in kinds.items():
            for privilege, relations in privileges.items():
                names = ", ".join("all" if relation == "*" else f"`{relation}`" for relation in relations)
                yield f"| `{role}` | {kind} | {privilege} | {names} |"


def _redis() -> Iterator[str]:
    for user, right in redis_users.rules().items():
        words = right.split()
        keys = ", ".join(f"`{word}`" for word in words if word.startswith(("~", "%")))
        given = ", ".join(f"`{word}`" for word in words if word[0] in "+-" and word != "-@all").replace("|", "\\|")
        if user != redis_users.ADMIN:
            yield f"| `{user}` | {keys or 'none'} | {given or 'none'} |"
