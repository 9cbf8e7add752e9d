"""Whether a job that Flink does not know is one that it has lost, or one that should not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tidemark.core.audit import Entry


@dataclass(frozen=True, slots=True)
class Lost:
    """A job that should run and that Flink has forgotten."""


@dataclass(frozen=True, slots=True)
class Left:
    """A job that is left alone, and why."""

    why: str


Outcome = Lost | Left
NEVER_SUBMITTED = Left("nobody has submitted it")
STOPPED = Left("somebody has stopped it")
BOUNDED = Left("it was submitted to end by itself")
KNOWN = "Flink knows it"


def known(states: Sequence[str]) -> Left | None:
    """What becomes of a job that Flink knows, by the states of all that have its name; None where it knows none.

    Also one that has failed for good, or was cancelled, is left alone: Flink has not forgotten it, somebody is to look.
    """
    return Left(f"{KNOWN}: {', '.join(dict.fromkeys(states))}") if states else None


def outcome(newest: Entry | None, stopped_at: float | None) -> Outcome:
    """What becomes of a job that Flink does not know.

    Parameters
    ----------
    newest:
        The last time that somebody submitted or stopped it, by the audit.
    stopped_at:
        When its newest state was written (epoch seconds), if that is a savepoint, as `tidemark stop` leaves; else None.
    """
    if newest is None:
        return NEVER_SUBMITTED
    # A stop is done also while Postgres is away, and then the audit does not have it.
    if newest.action == "job.stop" or (stopped_at is not None and stopped_at > newest.at.timestamp()):
        return STOPPED
    return BOUNDED if _end(newest.detail) else Lost()


def _end(detail: Mapping[str, Any]) -> str:
    return str(detail.get("end") or "")
