"""Dead letters sent once more: repaired, judged by the present catalog, with their original arrival, counted once.

An event is counted once however often it is redriven, because

1. the job drops every event whose dedupe key it has seen, and keeps a key until its event's redrive window is over;
2. after that window nothing is sent: the job may have forgotten a copy it counted, so only a replay is exact;
3. an event that stands in the redrive topic already is not sent again, unless it was rejected there too.

What one meter is missing of an event that others counted goes into an envelope (`udfs.events.envelope`), with a dedupe
key of its own: the same three hold for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from psycopg import sql

from tidemark.core.errors import UnavailableError, UsageError
from tidemark.core.kafka import Sender
from tidemark.core.migrate import connect
from tidemark.core.settings import Settings
from tidemark.dead_letters.fixes import Fixes
from tidemark.dead_letters.log import (
    HEADER,
    Mark,
    RedriveLog,
    mark_at,
    noting_rejected,
    own_source,
    read_log,
    rejected_again,
    source_of,
)
from tidemark.dead_letters.part import Part, event_of
from tidemark.dead_letters.plan import Item, Plan, make_plan, rules_of
from tidemark.dead_letters.records import (
    Letter,
    Position,
    Wanted,
    arrival_ms,
    dead_letter,
    dead_letters,
    position_of,
    select,
)
from tidemark.dead_letters.validate import judging, read_event
from udfs.decode.decoder import key_of
from udfs.events.envelope import part_key
from udfs.values import rfc3339

# A worker looks for a newer catalog with the first batch after `catalog.refresh_s`; this is for that look itself.
_CATALOG_MARGIN_S = 3.0

Clock = Callable[[], int]


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
        Of the run whose dead letters are meant.
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
    every = noting_rejected(dead_letters(settings), settings.topics.redrive, rejected)
    letters = select(every, limit, **wanted)
    _check_positions(letters, wanted, settings)
    log = read_log(settings, rejected)
    with judging(settings) as judge:
        return make_plan(letters, log, judge, rules_of(settings), fixes, force=force, now_ms=clock())


def _check_positions(letters: Sequence[Letter], wanted: Wanted, settings: Settings) -> None:
    """A position that was named and is not there is a slip, and not to be passed over."""
    missing = set(wanted.get("at") or ()) - {position_of(letter["at"]) for letter in letters}
    if missing:
        listed = ", ".join(map(str, sorted(missing)))
        raise UsageError(
            f"{settings.names.dlq} has no such dead letter at {listed}.",
            "take positions of `tidemark dlq list`, and no other condition that excludes them.",
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """How many were sent and acknowledged by all replicas, and how many were not because their window ended."""

    sent: int
    expired: int


def send(settings: Settings, plan: Plan, clock: Clock = wall_clock_ms) -> Sent:
    """Send what the plan says; returns when the brokers have it all.

    Safe to interrupt: the next plan leaves out what was sent.

    Raises
    ------
    UnavailableError
        A record was not taken.
    """
    expired = 0
    with Sender(settings.kafka) as sender:
        for item in plan.sends:
            # A plan may have waited for its confirmation.
            if (now_ms := clock()) > item.deadline_ms:
                expired += 1
                continue
            sender.send(
                settings.topics.redrive, item.record_value, key=item.key, timestamp_ms=item.arrival_ms,
                headers=[(HEADER, msgspec.json.encode(_mark(item, plan.log, settings, now_ms)))],
            )  # fmt: skip
    return Sent(len(plan.sends) - expired, expired)


@dataclass(frozen=True, slots=True)
class Status:
    """A dead letter, and what a redrive did or would do with it.

    Parameters
    ----------
    letter:
        The dead letter.
    standing, mark:
        Where its event stands in the redrive topic, and the header there; None when it was not redriven, or not by
        this tool.
    failures:
        Positions there of earlier attempts that were rejected again.
    item:
        What a redrive without repairs would do now; None when the catalog cannot be read, which `unknown` then says.
    """

    letter: Letter
    standing: Position | None
    mark: Mark | None
    failures: list[Position]
    item: Item | None
    unknown: str = ""


def status(settings: Settings, position: Position, clock: Clock = wall_clock_ms) -> Status:
    """Look at one dead letter.

    Raises
    ------
    UnavailableError
        Kafka cannot be read.
    UsageError
        There is no dead letter at that position.
    """
    letter = dead_letter(settings, position)
    log = read_log(settings, rejected_again(settings))
    source, part = source_of(letter), log.part_of(letter)
    standing = log.standing(source, _key(letter, part, settings), part)
    item, unknown = None, ""
    try:
        with judging(settings) as judge:
            plan = make_plan([letter], log, judge, rules_of(settings), Fixes(), force=False, now_ms=clock())
        item = plan.items[0]
    except UnavailableError as error:
        unknown = error.what
    mark = None if standing is None else mark_at(settings, standing)
    return Status(letter, standing, mark, log.failures(source, part), item, unknown)


def _key(letter: Letter, part: Part, settings: Settings) -> bytes | None:
    """Dedupe key of what the dead letter stands for; None when its event cannot be read."""
    event = read_event(
        event_of(letter, settings.topics.redrive), arrival_ms(letter) or 0, settings.events.default_tenant
    )
    if event is None:
        return None
    return part_key(part.meter, key_of(event)) if part.meter else key_of(event)


def _mark(item: Item, log: RedriveLog, settings: Settings, now_ms: int) -> Mark:
    source = source_of(item.letter)
    return Mark(
        topic=source.topic,
        partition=source.partition,
        offset=source.offset,
        origin=log.origin_of(source),
        dead_letter=own_source(item.letter, settings),
        redriven_at=rfc3339(now_ms) or "",
    )


def catalog_settles_in_s(settings: Settings) -> float:
    """Seconds until every worker has the newest catalog: events sent before may meet the rules that rejected them.

    Raises
    ------
    UnavailableError
        Postgres cannot be reached.
    """
    with connect(settings.postgres, statement_timeout_s=10) as connection:
        revision = sql.Identifier(settings.catalog.schema_name, "revision")
        row = connection.execute(
            sql.SQL("SELECT extract(epoch FROM clock_timestamp() - applied_at)::float8 FROM {}").format(revision)
        ).fetchone()
    age_s = float(row[0]) if row else 0.0
    return max(0.0, settings.catalog.refresh_s + _CATALOG_MARGIN_S - age_s)
