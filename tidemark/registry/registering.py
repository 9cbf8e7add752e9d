"""Registers the contracts of a run: all of them, or none where one would be refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from schemas.compatibility import breaking_changes
from tidemark.registry.client import FIX, RefusedError, Registry
from tidemark.registry.subjects import Subject

ONLY_THERE = (
    "by the comparison here older records pass it, and the registry cannot tell: give this subject the level NONE, "
    "register it, and give it BACKWARD again."
)
State = Literal["current", "new", "changed", "refused"]


@dataclass(frozen=True, slots=True)
class Status:
    """What a registry has of a subject.

    Parameters
    ----------
    state:
        `current`: it has this schema; `new`: it has none; `changed`: it would take this one as a further version;
        `refused`: it would not, for the reasons in `differences`.
    version:
        Of a current one.
    """

    subject: Subject
    state: State
    version: int | None = None
    differences: tuple[str, ...] = ()


def status(registry: Registry, subject: Subject) -> Status:
    """Compare one subject; nothing is written."""
    if registry.is_new(subject):
        return Status(subject, "new")
    version = registry.version(subject)
    if version is not None:
        return Status(subject, "current", version)
    refused = registry.differences(subject)
    if not refused:
        return Status(subject, "changed")
    return Status(subject, "refused", differences=(*compared_here(registry.latest(subject), subject), *refused))


def compared_here(latest: dict[str, Any], subject: Subject) -> list[str]:
    """What older records do not pass, each with its path, by the comparison that guards the released contracts.

    A registry may say less, or refuse what it cannot compare, such as a condition.
    """
    try:
        return breaking_changes(latest, json.loads(subject.schema), "accepted") or [ONLY_THERE]
    except ValueError:
        # Of somebody else, with references that are not followed here.
        return []


def check(registry: Registry, subjects: Sequence[Subject]) -> list[Status]:
    """Compare all subjects; nothing is written."""
    return [status(registry, subject) for subject in subjects]


def raise_if_refused(found: Sequence[Status]) -> None:
    """Raise RefusedError that names each difference with its path."""
    lines = [f"{one.subject.name}: {line}" for one in found for line in one.differences]
    if lines:
        raise RefusedError("the registry refuses what older records do not pass:\n" + "\n".join(lines), FIX)


def register(registry: Registry, subjects: Sequence[Subject]) -> list[Status]:
    """Register what is new or changed; the status of each afterwards.

    A new subject is given the level BACKWARD; one that is there keeps the level that it has.

    Raises
    ------
    RefusedError
        One is not compatible; then none was registered.
    """
    found = check(registry, subjects)
    raise_if_refused(found)
    for one in found:
        if one.state != "current":
            registry.register(one.subject)
        if one.state == "new":
            registry.set_compatibility(one.subject, "BACKWARD")
    return check(registry, subjects)
