"""Decides what becomes of each dead letter when it is redriven: a pure function of letters, log, catalog and clock."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.core.times import given_ms
from tidemark.dead_letters.fixes import Edit, Fixes, Unfixable, read_object, write_object
from tidemark.dead_letters.log import RedriveLog, source_of
from tidemark.dead_letters.part import envelope_of, event_of, part_of
from tidemark.dead_letters.records import Letter, arrival_ms
from tidemark.dead_letters.validate import Judge, Verdict
from udfs.events.envelope import Envelope, wrap
from udfs.values import rfc3339

# Fields that say which event it is, in both forms: one that is changed makes another event of it.
IDENTITY = frozenset({"event_id", "tenant_id", "source", "voids", "id", "tenantid", "schema_version", "specversion"})
TIMES = frozenset({"timestamp", "time"})


class Fate(StrEnum):
    """What a redrive does with a dead letter."""

    SEND = "send"
    ALREADY = "already_redriven"
    COPY = "copy_in_selection"
    REFUSED = "refused"


@dataclass(slots=True)
class Item:
    """A dead letter of the plan, and what becomes of it.

    Parameters
    ----------
    letter:
        The dead letter.
    fate:
        What the redrive does with it.
    code, detail:
        Why it is refused, or what it will be rejected with although it is sent.
    value, arrival_ms, key:
        The event, repaired; its original arrival; the Kafka key.
    envelope:
        What goes around it, for a meter alone; None for a whole event.
    deadline_ms:
        Last instant at which it may be sent.
    edits:
        What the fixes did to it.
    meters:
        Meters that will count it.
    """

    letter: Letter
    fate: Fate = Fate.SEND
    code: str = ""
    detail: str = ""
    value: bytes = b""
    arrival_ms: int = 0
    key: bytes | None = None
    envelope: Envelope | None = None
    deadline_ms: int = 0
    edits: list[Edit] = field(default_factory=list)
    meters: tuple[str, ...] = ()

    @property
    def new_identity(self) -> bool:
        """Whether a fix replaced something that says which event it is."""
        return any(edit.before is not None and edit.path in IDENTITY for edit in self.edits)

    @property
    def record_value(self) -> bytes:
        """The value of the record to send."""
        return self.value if self.envelope is None else wrap(self.envelope._replace(event=self.value))

    def refuse(self, code: str, detail: str) -> None:
        """Take it out of what is sent."""
        self.fate, self.code, self.detail = Fate.REFUSED, code, detail


@dataclass(frozen=True, slots=True)
class Plan:
    """All selected dead letters in the order of arrival, and the log they were held against."""

    items: Sequence[Item]
    log: RedriveLog

    @property
    def sends(self) -> list[Item]:
        """Those to send."""
        return [item for item in self.items if item.fate is Fate.SEND]

    def count(self, fate: Fate) -> int:
        """How many have that fate."""
        return sum(item.fate is fate for item in self.items)

    def refused_by(self) -> dict[str, int]:
        """Refused ones by code, most frequent first."""
        codes = Counter(item.code for item in self.items if item.fate is Fate.REFUSED)
        return dict(codes.most_common())

    def warnings(self) -> list[str]:
        """What a person should know before it is sent."""
        texts = []
        if renamed := sum(item.new_identity for item in self.sends):
            texts.append(
                f"the fix gives {renamed} events another identity: each is a new event, counted also where one with "
                "the old identity was."
            )
        if copies := self.count(Fate.COPY):
            texts.append(f"{copies} have the identity of another one in the selection: only the first is sent.")
        if forced := sum(bool(item.code) for item in self.sends):
            texts.append(f"{forced} would be rejected again and are sent because of --force.")
        return texts


@dataclass(frozen=True, slots=True)
class Rules:
    """Until when an event may be redriven: its event time, and these two after it, in ms."""

    grace_ms: int
    window_ms: int

    def deadline_ms(self, event_ms: int) -> int:
        """Last instant at which an event of that time may be redriven."""
        return event_ms + self.grace_ms + self.window_ms


def rules_of(settings: Settings) -> Rules:
    """The rules of a run."""
    return Rules(settings.events.grace_s * 1_000, settings.events.redrive_window_s * 1_000)


def prepare(letters: Sequence[Letter], fixes: Fixes, log: RedriveLog) -> list[Item]:
    """Repair dead letters; those that cannot be sent at all are refused."""
    items = [Item(letter) for letter in letters]
    for item in items:
        at_ms = arrival_ms(item.letter)
        if at_ms is None or at_ms < 0:
            item.refuse("no_arrival", "its arrival is not known, and lateness is decided by it.")
            continue
        try:
            raw = event_of(item.letter, log.topic)
            document = read_object(raw)
            item.edits = fixes.apply(document)
            # What no fix touched is sent byte for byte.
            item.value = write_object(document) if item.edits else raw or b""
            item.arrival_ms = at_ms
            _enclose(item, raw or b"", log)
        except Unfixable as verdict:
            item.refuse(verdict.code, verdict.detail)
    return items


def _enclose(item: Item, raw: bytes, log: RedriveLog) -> None:
    """Put what one meter is missing into an envelope; `raw` are the event's bytes before the repair."""
    envelope = envelope_of(item.letter, log.topic, log.run_id)
    if envelope is None:
        return
    if changed := [edit.path for edit in item.edits if edit.path in IDENTITY]:
        raise Unfixable(
            "fix_conflict",
            f"{changed[0]} says which event it is, and other meters than {envelope.meter} have counted it as it was.",
        )
    first = envelope.original if envelope.original is not None else raw
    item.envelope = envelope._replace(original=None if first == item.value else first)


def make_plan(
    letters: Sequence[Letter], log: RedriveLog, judge: Judge, rules: Rules, fixes: Fixes, *, force: bool, now_ms: int
) -> Plan:
    """Decide about every dead letter.

    1. Repair it; refuse what has no value, no arrival or no JSON object.
    2. Judge it as the job would, with its original arrival.
    3. Leave out what was redriven already, or is a copy of an earlier one in the selection.
    4. Refuse what would be rejected again (unless `force`), and what is past its window.

    Parameters
    ----------
    letters:
        Dead letters in the order to send them.
    log:
        What the redrive topic holds.
    judge, rules, fixes:
        See there.
    force:
        Send also what would be rejected again, if only its event time can be read.
    now_ms:
        The wall clock, UTC epoch ms.
    """
    items = prepare(letters, fixes, log)
    open_items = [item for item in items if item.fate is Fate.SEND]
    verdicts = judge.verdicts([item.record_value for item in open_items], [item.arrival_ms for item in open_items])
    chosen: dict[bytes, Item] = {}
    for item, verdict in zip(open_items, verdicts, strict=True):
        _decide(item, verdict, log, chosen)
        if item.fate is Fate.SEND:
            _check(item, verdict, rules, force, now_ms)
        if item.fate is Fate.SEND and verdict.key is not None and verdict.reject is None:
            chosen[verdict.key] = item
    return Plan(items, log)


def _decide(item: Item, verdict: Verdict, log: RedriveLog, chosen: dict[bytes, Item]) -> None:
    standing = log.standing(source_of(item.letter), verdict.key, part_of(item.envelope))
    if standing is not None:
        item.fate, item.detail = Fate.ALREADY, f"{log.topic} holds it at {standing}."
    elif verdict.key is not None and verdict.key in chosen:
        item.fate, item.detail = Fate.COPY, f"the same event as {chosen[verdict.key].letter['at']}."


def _check(item: Item, verdict: Verdict, rules: Rules, force: bool, now_ms: int) -> None:
    item.key, item.meters = verdict.owner, verdict.meters
    if verdict.reject is not None:
        item.code, item.detail = "still_rejected", ": ".join(verdict.reject)
        if not force:
            item.refuse(item.code, item.detail)
            return
    if verdict.reject is None and not verdict.meters:
        item.refuse("nothing_to_add", "its meter measures nothing of it by now: a filter, or on_missing: skip.")
        return
    if verdict.event_ms is None:
        item.refuse("no_event_time", f"the end of its window cannot be known: {item.detail}")
        return
    # A copy that was counted carried the time from before the repair: its key is forgotten by that one's window.
    times = [verdict.event_ms, *_former_times(item.edits)]
    item.deadline_ms = rules.deadline_ms(min(times))
    if now_ms > item.deadline_ms:
        over = f"the window of its event time ended {rfc3339(item.deadline_ms)}"
        item.refuse(
            "window_over", f"{over}; the job may have forgotten a copy that it counted, so only a replay is exact."
        )


def _former_times(edits: Sequence[Edit]) -> Iterator[int]:
    """Event times that a repair replaced, as far as they can be read."""
    for edit in edits:
        if edit.path in TIMES and edit.before is not None and edit.before.startswith('"'):
            with contextlib.suppress(UsageError):
                yield given_ms(json.loads(edit.before))
