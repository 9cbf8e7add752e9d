"""Rights on Kafka by role, from schemas/kafka/acls.yaml: what a principal may read, write, join and create."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import yaml
from kafka.admin import ACL, ACLOperation, ACLPermissionType, ACLResourcePatternType, ResourcePattern, ResourceType
from kafka.errors import KafkaError

from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka import clients
from tidemark.core.settings import Settings

USER_PREFIX = "tidemark-"
_TIMEOUT_MS = 15_000
# Of these the name is whole: a replay reads the same events.
_SHARED = ("events", "redrive")


@dataclass(frozen=True, order=True, slots=True)
class Right:
    """One right of one role.

    Parameters
    ----------
    role:
        As in the file.
    operation:
        Kafka's name of it.
    resource:
        TOPIC, GROUP, TRANSACTIONAL_ID or CLUSTER.
    name:
        Of the resource, or what its name begins with.
    prefixed:
        Whether `name` is a beginning.
    """

    role: str
    operation: str
    resource: str
    name: str
    prefixed: bool = True


def rights(settings: Settings) -> list[Right]:
    """All rights of the file, with the names of topics that the settings say."""
    roles: Mapping[str, Mapping[str, Any]] = yaml.safe_load(files("schemas").joinpath("kafka/acls.yaml").read_text())
    return sorted({right for role, grants in roles.items() for right in _of_role(settings, role, grants)})


def _of_role(settings: Settings, role: str, grants: Mapping[str, Any]) -> Iterator[Right]:
    for operation in ("read", "write"):
        for topic in grants.get(operation, ()):
            name = _topic(settings, topic)
            yield Right(role, operation.upper(), "TOPIC", name, prefixed=topic not in _SHARED)
    for topic in grants.get("configs_of", ()):
        yield Right(role, "DESCRIBE_CONFIGS", "TOPIC", _topic(settings, topic), prefixed=topic not in _SHARED)
    for group in grants.get("groups", ()):
        yield Right(role, "READ", "GROUP", group)
    for group in grants.get("offsets_of", ()):
        yield Right(role, "DESCRIBE", "GROUP", group)
    for transaction in grants.get("transactions_of", ()):
        yield Right(role, "DESCRIBE", "TRANSACTIONAL_ID", transaction)
    for transaction in grants.get("transactions", ()):
        yield Right(role, "WRITE", "TRANSACTIONAL_ID", transaction)
    if grants.get("topics"):
        yield from _topic_rights(settings, role)


def _topic_rights(settings: Settings, role: str) -> Iterator[Right]:
    """Create topics, read and change their options, and remove topics and records (replays, retention, erasure)."""
    names = {settings.topics.events, settings.topics.redrive, settings.names.deltas.partition(".")[0] + "."}
    for name in names:
        for operation in ("CREATE", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "DELETE"):
            yield Right(role, operation, "TOPIC", name)
    yield Right(role, "DESCRIBE_CONFIGS", "CLUSTER", "kafka-cluster", prefixed=False)


def _topic(settings: Settings, topic: str) -> str:
    return str(getattr(settings.topics if topic in _SHARED else settings.names, topic))


def apply(settings: Settings, users: Mapping[str, str] | None = None) -> list[Right]:
    """Give every role of the file its rights; what a user has beside them stays, and to repeat it is safe.

    Parameters
    ----------
    settings:
        Kafka, as somebody who may alter the cluster; names of topics.
    users:
        Principal of a role as Kafka names it, without `User:`; `tidemark-ROLE` where it is absent.

    Raises
    ------
    UsageError
        There is no such role.
    UnavailableError
        Kafka does not answer, or has no authorizer.
    TidemarkError
        Kafka refused a right.
    """
    given = rights(settings)
    roles = {right.role for right in given}
    unknown = (users or {}).keys() - roles
    if unknown:
        raise UsageError(f"there is no role {min(unknown)}.", f"the roles: {', '.join(sorted(roles))}.")
    with clients.admin(settings.kafka, request_timeout_ms=_TIMEOUT_MS) as admin:
        result = admin.create_acls([_acl(right, (users or {}).get(right.role)) for right in given])
    if result["failed"]:
        refused: type[KafkaError] = result["failed"][0]
        raise TidemarkError(
            f"Kafka refused {len(result['failed'])} of {len(given)} rights: {refused.__name__}.",
            "do it as a user that may alter the cluster, on brokers with an authorizer.",
        )
    return given


def _acl(right: Right, user: str | None) -> ACL:
    kind = ACLResourcePatternType.PREFIXED if right.prefixed else ACLResourcePatternType.LITERAL
    pattern = ResourcePattern(ResourceType[right.resource], right.name, kind)
    principal = f"User:{user or USER_PREFIX + right.role}"
    return ACL(principal, "*", ACLOperation[right.operation], ACLPermissionType.ALLOW, pattern)
