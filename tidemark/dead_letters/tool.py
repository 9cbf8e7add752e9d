"""Sends dead letters again: repaired, validated by the current catalog, with their original arrival, counted once.

An event is counted once however often it is redriven, because

1. the job drops every event whose dedupe key it has seen, and keeps a key until its event's redrive window is over;
2. after that window nothing is sent: the job may have forgotten a copy it counted, so only a replay is exact;
3. an event that stands in the redrive topic already is not sent again, unless it was rejected there too.

What one meter is missing of an event that others counted goes into an envelope (`udfs.events.envelope`), with a dedupe
key of its own: the same three hold for it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from tidemark.core import audit
from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.kafka import Sender
from tidemark.core.settings import Settings
from tidemark.core.user import stated
from tidemark.dead_letters.fixes import Fixes
from tidemark.dead_letters.log import (
    HEADER,
    Marker,
    RedriveLog,
    collecting_rejected,
    marker_at,
    read_log,
    rejected_again,
    source_of,
    source_of_dead_letter,
)
from tidemark.dead_letters.part import Part, event_of
from tidemark.dead_letters.plan import Item, Plan, make_plan, rules_of
from tidemark.dead_letters.records import (
    DeadLetter,
    Position,
    Wanted,
    arrival_ms,
    position_of,
    read_dead_letter,
    read_dead_letters,
    select,
)
from tidemark.dead_letters.validate import open_validator, read_event
from udfs.decode.decoder import key_of
from udfs.events.envelope import part_key
from udfs.values import rfc3339

Clock = Callable[[], int]
# Dead letters, and different edits, that an entry of the audit lists.
MOST_LISTED = 1_000


def wall_clock_ms() -> int:
    """Now, in UTC epoch ms."""
    return time.time_ns() // 1_000_000


def load_plan(
    settings: Settings,
    wanted: Wanted,
    fixes: Fixes,
    *,
    limit: int | None = None,
    force: bool = False,
    clock: Clock = wall_clock_ms,
) -> Plan:
    """Read the dead letters wanted and the redrive topic, and plan.

    Parameters
    ----------
    settings:
        Settings of the run of the dead letters.
    wanted, limit:
        As for `tidemark.dead_letters.records.select`.
    fixes, force:
        As for `make_plan`.
    clock:
        The wall clock.

    Raises
    ------
    UnavailableError
        Kafka or the catalog cannot be read.
    UsageError
        A position of `at` has no dead letter.
    """
    rejected: set[Position] = set()
    every = collecting_rejected(read_dead_letters(settings), settings.topics.redrive, rejected)
    dead_letters = select(every, limit, **wanted)
    _check_positions(dead_letters, wanted, settings)
    log = read_log(settings, rejected)
    with open_validator(settings) as validator:
        return make_plan(dead_letters, log, validator, rules_of(settings), fixes, force=force, now_ms=clock())


def _check_positions(dead_letters: Sequence[DeadLetter], wanted: Wanted, settings: Settings) -> None:
    """A position that was named and has no dead letter is a mistake, and must not be ignored."""
    missing = set(wanted.get("at") or ()) - {position_of(dead_letter["at"]) for dead_letter in dead_letters}
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        raise UsageError(
            f"{settings.names.dlq} has no such dead letter at {listed}.",
            "take positions of `tidemark dlq list`, and no other condition that excludes them.",
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """Number of records that all replicas acknowledged, and of those that were not sent because their window ended."""

    sent: int
    expired: int


def send(settings: Settings, plan: Plan, clock: Clock = wall_clock_ms, *, by: str) -> Sent:
    """Send the items of the plan; returns when the brokers have all of them.

    Safe to interrupt: the next plan leaves out what was sent. The audit has it before the first is sent.

    Raises
    ------
    UnavailableError
        The brokers did not accept a record, or the audit cannot be written.
    """
    expired, who = 0, stated(by)
    entry = audit.record_before(settings, "dlq.redrive", settings.topics.redrive, by=who, **_summary(plan))
    with Sender(settings.kafka) as sender:
        for item in plan.sends:
            # A plan may have waited long for its confirmation.
            if (now_ms := clock()) > item.deadline_ms:
                expired += 1
                continue
            sender.send(
                settings.topics.redrive, item.record_value, key=item.key, timestamp_ms=item.arrival_ms,
                headers=[(HEADER, msgspec.json.encode(_marker(item, plan.log, settings, now_ms, who, entry)))],
            )  # fmt: skip
    return Sent(len(plan.sends) - expired, expired)


@dataclass(frozen=True, slots=True)
class Status:
    """A dead letter, and the outcome that a redrive had or would have.

    Parameters
    ----------
    dead_letter:
        The dead letter.
    already_redriven, marker:
        Position of its event in the redrive topic, and the header there; None when it was not redriven, or not by
        this tool.
    failures:
        Positions there of earlier attempts that were rejected again.
    item:
        Outcome of a redrive without repairs now; None when the catalog cannot be read: `unknown` is the reason.
    """

    dead_letter: DeadLetter
    already_redriven: Position | None
    marker: Marker | None
    failures: list[Position]
    item: Item | None
    unknown: str = ""


def status(settings: Settings, position: Position, clock: Clock = wall_clock_ms) -> Status:
    """Read one dead letter, and what a redrive would do with it.

    Raises
    ------
    UnavailableError
        Kafka cannot be read.
    UsageError
        There is no dead letter at that position.
    """
    dead_letter = read_dead_letter(settings, position)
    log = read_log(settings, rejected_again(settings))
    source, part = source_of(dead_letter), log.part_of(dead_letter)
    already_redriven = log.already_redriven(source, _key(dead_letter, part, settings), part)
    item, unknown = None, ""
    try:
        with open_validator(settings) as validator:
            plan = make_plan([dead_letter], log, validator, rules_of(settings), Fixes(), force=False, now_ms=clock())
        item = plan.items[0]
    except UnavailableError as error:
        unknown = error.what
    marker = None if already_redriven is None else marker_at(settings, already_redriven)
    return Status(dead_letter, already_redriven, marker, log.failures(source, part), item, unknown)


def _key(dead_letter: DeadLetter, part: Part, settings: Settings) -> bytes | None:
    """Dedupe key of the part that the dead letter is about; None when its event cannot be read."""
    event = read_event(
        event_of(dead_letter, settings.topics.redrive), arrival_ms(dead_letter) or 0, settings.events.default_tenant
    )
    if event is None:
        return None
    return part_key(part.meter, key_of(event)) if part.meter else key_of(event)


def _summary(plan: Plan) -> dict[str, Any]:
    """The plan for the audit: what is sent, and every edit of it once; each record has its own in its header."""
    edits = Counter((edit.path, edit.before, edit.after) for item in plan.sends for edit in item.edits)
    return {
        "events": len(plan.sends),
        "dead_letters": [str(position_of(item.dead_letter["at"])) for item in plan.sends[:MOST_LISTED]],
        "edits": [
            {"path": path, "before": before, "after": after, "events": count}
            for (path, before, after), count in edits.most_common(MOST_LISTED)
        ],
        "different_edits": len(edits),
    }


def _marker(item: Item, log: RedriveLog, settings: Settings, now_ms: int, by: str, entry: int) -> Marker:
    source = source_of(item.dead_letter)
    return Marker(
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        origin=log.origin_of(source),
        dead_letter=source_of_dead_letter(item.dead_letter, settings),
        redriven_at=rfc3339(now_ms) or "",
        redriven_by=by,
        audit_entry=entry,
        edits=tuple(item.edits),
    )
