"""Reads the dead-letter topic: what was not counted, and why."""

from __future__ import annotations

import base64
import heapq
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, TypedDict, Unpack

from tidemark.core.errors import UsageError
from tidemark.core.kafka import Record, dump, read_one
from tidemark.core.settings import Settings
from tidemark.core.times import given_ms

PREVIEW_CHARS = 120

_FIELDS = (
    ("reason", "reason"), ("tenant", "tenant_id"), ("customer", "customer_id"), ("meter", "meter"),
    ("partial", "partial"),
)  # fmt: skip

# A record of the topic as its JSON says, and `at`: its own position in the dead-letter topic as partition:offset.
Letter = dict[str, Any]


class Position(NamedTuple):
    """Where a record stands in a topic."""

    partition: int
    offset: int

    def __str__(self) -> str:
        """Text as `position_of` takes it."""
        return f"{self.partition}:{self.offset}"


class Wanted(TypedDict, total=False):
    """Which dead letters; what is absent or None takes all.

    `reason`, `tenant`, `customer`, `meter` and `partial` are equal to the record's. `since_ms` <= arrival < `until_ms`,
    in UTC epoch ms; a record whose arrival no date can say is in no such range. `at` are positions in the dead-letter
    topic.
    """

    reason: str | None
    tenant: str | None
    customer: str | None
    meter: str | None
    partial: bool | None
    since_ms: int | None
    until_ms: int | None
    at: Collection[Position] | None


def dead_letters(settings: Settings) -> Iterator[Letter]:
    """Dead-letter records of the run as a `read_committed` consumer sees them, in order per partition."""
    for record in dump(settings.kafka, settings.names.dlq):
        if record.value is not None:
            yield _letter(record)


def dead_letter(settings: Settings, position: Position) -> Letter:
    """The one dead letter at a position of the dead-letter topic.

    Raises
    ------
    UsageError
        There is none.
    """
    topic = settings.names.dlq
    record = read_one(settings.kafka, topic, *position)
    if record is None or record.value is None:
        raise UsageError(f"{topic} has no record at {position}.", "take a position of `tidemark dlq list`.")
    return _letter(record)


def _letter(record: Record) -> Letter:
    return {"at": str(Position(record.partition, record.offset)), **json.loads(record.value or b"{}")}


def takes(letter: Letter, **wanted: Unpack[Wanted]) -> bool:
    """Whether a dead letter is one of those wanted."""
    for option, field in _FIELDS:
        if wanted.get(option) is not None and letter.get(field) != wanted.get(option):
            return False
    at = wanted.get("at")
    return (at is None or position_of(letter["at"]) in at) and _in_range(letter, wanted)


def _in_range(letter: Letter, wanted: Wanted) -> bool:
    since_ms, until_ms = wanted.get("since_ms"), wanted.get("until_ms")
    if since_ms is None and until_ms is None:
        return True
    at_ms = arrival_ms(letter)
    if at_ms is None:
        return False
    return (since_ms is None or since_ms <= at_ms) and (until_ms is None or at_ms < until_ms)


def select(letters: Iterable[Letter], limit: int | None = None, **wanted: Unpack[Wanted]) -> list[Letter]:
    """The newest `limit` of those wanted (None: all), in the order of arrival."""
    return newest((letter for letter in letters if takes(letter, **wanted)), limit)


class Survey(NamedTuple):
    """Dead letters that are shown, the count of all those wanted by reason, and how many of all are partial."""

    letters: list[Letter]
    by_reason: dict[str, int]
    partial: int


def survey(letters: Iterable[Letter], limit: int, **wanted: Unpack[Wanted]) -> Survey:
    """What `select` gives, and what all those wanted come to; keeps no more than `limit` in memory."""
    counts: Counter[str] = Counter()
    partial = 0

    def counted() -> Iterator[Letter]:
        nonlocal partial
        for letter in letters:
            if takes(letter, **wanted):
                counts[letter["reason"]] += 1
                partial += bool(letter.get("partial"))
                yield letter

    shown = newest(counted(), limit)
    return Survey(shown, dict(counts.most_common()), partial)


def newest(letters: Iterable[Letter], limit: int | None = None) -> list[Letter]:
    """The last `limit` by arrival, oldest first; where arrivals are equal, the source position decides."""
    if limit is None:
        return sorted(letters, key=_order)
    # The running number keeps equals in the order they came, as the sort above does.
    numbered = heapq.nlargest(limit, enumerate(letters), key=lambda pair: (_order(pair[1]), pair[0]))
    return [letter for _, letter in reversed(numbered)]


def _order(letter: Letter) -> tuple[str, str, int, int]:
    """Arrivals are text of one form, so they sort as text; one that no date can say comes first."""
    source = letter.get("topic", ""), letter.get("partition", 0), letter.get("offset", 0)
    return letter.get("arrival") or "", *source


def count_by_reason(letters: Iterable[Letter]) -> dict[str, int]:
    """Count records by reason, most frequent first."""
    return dict(Counter(letter["reason"] for letter in letters).most_common())


def whole_and_partial(letters: Iterable[Letter]) -> tuple[dict[str, int], dict[str, int]]:
    """Count records by reason: of events that are not counted, and of what single meters refused of counted ones."""
    counts: tuple[Counter[str], Counter[str]] = Counter(), Counter()
    for letter in letters:
        counts[bool(letter.get("partial"))][letter["reason"]] += 1
    return dict(counts[0].most_common()), dict(counts[1].most_common())


def raw_of(letter: Letter) -> bytes | None:
    """The original bytes; None for a null value."""
    return None if letter["raw"] is None else base64.b64decode(letter["raw"])


def arrival_ms(letter: Letter) -> int | None:
    """Arrival in UTC epoch ms; None when no date can say it."""
    text = letter.get("arrival")
    return None if text is None else given_ms(text)


def preview(letter: Letter, chars: int | None = PREVIEW_CHARS) -> str:
    """Show the original bytes as text fit for a terminal: at most `chars` (None: all), escaped where not printable."""
    raw = raw_of(letter)
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
        raise UsageError(f"{text!r} is no position.", "write PARTITION:OFFSET as `tidemark dlq list` shows it: 0:17.")
    return Position(int(partition), int(offset))
