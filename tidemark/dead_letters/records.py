"""Reads the dead-letter topic: the events that were not counted, and why."""

from __future__ import annotations

import base64
import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypedDict, Unpack

from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka import Record, dump, read_one
from tidemark.core.settings import Settings
from tidemark.core.times import given_ms
from udfs.events.dead_letter import from_json

PREVIEW_CHARS = 120

_FIELDS = (
    ("reason", "reason"), ("tenant", "tenant_id"), ("customer", "customer_id"), ("meter", "meter"),
    ("partial", "partial"),
)  # fmt: skip

# The JSON of a record of the topic, with `at`: its own position in the dead-letter topic as partition:offset.
DeadLetter = dict[str, Any]


class Position(NamedTuple):
    """Position of a record in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Text as `position_of` takes it."""
        return f"{self.partition}:{self.offset}"


class Wanted(TypedDict, total=False):
    """A selection of dead letters; an absent or None condition selects all.

    `reason`, `tenant`, `customer`, `meter` and `partial` are equal to the record's. `since_ms` <= arrival < `until_ms`,
    in UTC epoch ms; a record whose arrival no date can express is in no such range. `at` are positions in the
    dead-letter topic.
    """

    reason: str | None
    tenant: str | None
    customer: str | None
    meter: str | None
    partial: bool | None
    since_ms: int | None
    until_ms: int | None
    at: Collection[Position] | None


def read_dead_letters(settings: Settings, unreadable: list[Position] | None = None) -> Iterator[DeadLetter]:
    """Dead-letter records of the run as a `read_committed` consumer sees them, in order per partition.

    A record that is no dead letter, whoever wrote it, is left out; its position is added to `unreadable`.
    """
    for record in dump(settings.kafka, settings.names.dlq):
        if record.value is None:
            continue
        dead_letter = parsed(record)
        if dead_letter is not None:
            yield dead_letter
        elif unreadable is not None:
            unreadable.append(Position(record.partition, record.offset))


def read_dead_letter(settings: Settings, position: Position) -> DeadLetter:
    """The dead letter at a position of the dead-letter topic.

    Raises
    ------
    UsageError
        There is no record at that position, or it is no dead letter.
    """
    topic = settings.names.dlq
    record = read_one(settings.kafka, topic, *position)
    if record is None or record.value is None:
        raise UsageError(f"{topic} has no record at {position}.", "take a position of `tidemark dlq list`.")
    dead_letter = parsed(record)
    if dead_letter is None:
        raise UsageError(
            f"the record at {position} of {topic} is not a dead letter: Tidemark did not write it.",
            "see who may write to the topic.",
        )
    return dead_letter


def parsed(record: Record) -> DeadLetter | None:
    """A record of the topic; None where it is not one that `meter` writes."""
    value = record.value or b""
    try:
        from_json(value)
        dead_letter: DeadLetter = json.loads(value) | {"at": str(Position(record.partition, record.offset))}
        arrival_ms(dead_letter)
    except (ValueError, TidemarkError, RecursionError):
        return None
    return dead_letter


def takes(dead_letter: DeadLetter, **wanted: Unpack[Wanted]) -> bool:
    """Whether a dead letter is in the selection."""
    for option, field in _FIELDS:
        if wanted.get(option) is not None and dead_letter.get(field) != wanted.get(option):
            return False
    at = wanted.get("at")
    return (at is None or position_of(dead_letter["at"]) in at) and _in_range(dead_letter, wanted)


def _in_range(dead_letter: DeadLetter, wanted: Wanted) -> bool:
    since_ms, until_ms = wanted.get("since_ms"), wanted.get("until_ms")
    if since_ms is None and until_ms is None:
        return True
    at_ms = arrival_ms(dead_letter)
    if at_ms is None:
        return False
    return (since_ms is None or since_ms <= at_ms) and (until_ms is None or at_ms < until_ms)


def select(dead_letters: Iterable[DeadLetter], limit: int | None = None, **wanted: Unpack[Wanted]) -> list[DeadLetter]:
    """The newest `limit` dead letters of the selection (None: all), in the order of arrival."""
    return newest((dead_letter for dead_letter in dead_letters if takes(dead_letter, **wanted)), limit)


class Survey(NamedTuple):
    """Dead letters to show, the numbers of all in the selection by reason, and the number of partial ones."""

    dead_letters: list[DeadLetter]
    by_reason: dict[str, int]
    partial: int


def survey(dead_letters: Iterable[DeadLetter], limit: int, **wanted: Unpack[Wanted]) -> Survey:
    """The dead letters of `select`, and counts of the whole selection; keeps at most `limit` in memory."""
    counts: Counter[str] = Counter()
    partial = 0

    def counted() -> Iterator[DeadLetter]:
        nonlocal partial
        for dead_letter in dead_letters:
            if takes(dead_letter, **wanted):
                counts[dead_letter["reason"]] += 1
                partial += bool(dead_letter.get("partial"))
                yield dead_letter

    # Of none shown, all are counted.
    shown = newest(counted(), max(limit, 1))[:limit]
    return Survey(shown, dict(counts.most_common()), partial)


def newest(dead_letters: Iterable[DeadLetter], limit: int | None = None) -> list[DeadLetter]:
    """The last `limit` by arrival, oldest first; equal arrivals are in the order of their source positions."""
    if limit is None:
        return sorted(dead_letters, key=_order)
    # The running number keeps equal records in the order they came, as the sort above does.
    numbered = heapq.nlargest(limit, enumerate(dead_letters), key=lambda pair: (_order(pair[1]), pair[0]))
    return [dead_letter for _, dead_letter in reversed(numbered)]


def _order(dead_letter: DeadLetter) -> tuple[str, str, int, int]:
    """Arrivals are text of one form, so they sort as text; an arrival that no date can express comes first."""
    source = dead_letter.get("topic", ""), dead_letter.get("partition", 0), dead_letter.get("offset", 0)
    return dead_letter.get("arrival") or "", *source


def count_by_reason(dead_letters: Iterable[DeadLetter]) -> dict[str, int]:
    """Count records by reason, most frequent first."""
    return dict(Counter(dead_letter["reason"] for dead_letter in dead_letters).most_common())


def whole_and_partial(dead_letters: Iterable[DeadLetter]) -> tuple[dict[str, int], dict[str, int]]:
    """Count records by reason: events that are not counted, and refusals of single meters for counted events."""
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for dead_letter in dead_letters:
        counts[bool(dead_letter.get("partial"))][dead_letter["reason"]] += 1
    return dict(counts[0].most_common()), dict(counts[1].most_common())


def raw_of(dead_letter: DeadLetter) -> bytes | None:
    """The original bytes; None for a null value."""
    return None if dead_letter["raw"] is None else base64.b64decode(dead_letter["raw"])


def arrival_ms(dead_letter: DeadLetter) -> int | None:
    """Arrival in UTC epoch ms; None when no date can express it."""
    text = dead_letter.get("arrival")
    return None if text is None else given_ms(text)


def preview(dead_letter: DeadLetter, chars: int | None = PREVIEW_CHARS) -> str:
    """Show the original bytes as text fit for a terminal: at most `chars` (None: all), escaped where not printable."""
    raw = raw_of(dead_letter)
    if raw is None:
        return "(null)"
    text = (raw if chars is None else raw[: chars * 4]).decode("utf-8", "backslashreplace")
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if chars is None or len(safe) <= chars else safe[: chars - 1] + "…"


def position_of(text: str) -> Position:
    """A position from `partition:offset`.

    Raises
    ------
    UsageError
        It is not of that form.
    """
    partition, colon, offset = text.partition(":")
    if not (colon and partition.isdecimal() and offset.isdecimal()):
        raise UsageError(f"{text!r} is not a position.", "write PARTITION:OFFSET as `tidemark dlq list` does: 0:17.")
    return Position(int(partition), int(offset))
