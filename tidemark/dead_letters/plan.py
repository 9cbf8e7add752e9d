"""Decides the outcome of each dead letter in a redrive: a pure function of dead letters, log, catalog and clock."""

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
from tidemark.dead_letters.records import DeadLetter, arrival_ms
from tidemark.dead_letters.validate import Validation, Validator
from udfs.events.envelope import Envelope, wrap
from udfs.events.reasons import Reason
from udfs.values import rfc3339

# Fields that identify the event, in both forms: a change of such a field makes another event of it.
IDENTITY = frozenset({"event_id", "tenant_id", "source", "voids", "id", "tenantid", "schema_version", "specversion"})
TIMES = frozenset({"timestamp", "time"})


class Outcome(StrEnum):
    """What a redrive does with a dead letter."""

    SEND = "send"
    ALREADY = "already_redriven"
    COPY = "copy_in_selection"
    REFUSED = "refused"


@dataclass(slots=True)
class Item:
    """A dead letter of the plan, and its outcome.

    Parameters
    ----------
    dead_letter:
        The dead letter.
    outcome:
        What the redrive does with it.
    code, detail:
        Why it is refused, or why it will be rejected although it is sent.
    value, arrival_ms, key:
        The repaired event; its original arrival, or that of the fixes; the Kafka key.
    envelope:
        The envelope of an event for one meter alone; None for a whole event.
    deadline_ms:
        Last instant at which it may be sent.
    edits:
        What the fixes did to it.
    meters:
        Meters that will count it.
    """

    dead_letter: DeadLetter
    outcome: Outcome = Outcome.SEND
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
        """Whether a fix replaced a field that identifies the event."""
        return any(edit.before is not None and edit.path in IDENTITY for edit in self.edits)

    @property
    def record_value(self) -> bytes:
        """The value of the record to send."""
        return self.value if self.envelope is None else wrap(self.envelope._replace(event=self.value))

    def refuse(self, code: str, detail: str) -> None:
        """Exclude it from what is sent."""
        self.outcome, self.code, self.detail = Outcome.REFUSED, code, detail


@dataclass(frozen=True, slots=True)
class Plan:
    """All selected dead letters in the order of arrival, and the log they were compared with."""

    items: Sequence[Item]
    log: RedriveLog

    @property
    def sends(self) -> list[Item]:
        """Items to send."""
        return [item for item in self.items if item.outcome is Outcome.SEND]

    def count(self, outcome: Outcome) -> int:
        """Number of items with that outcome."""
        return sum(item.outcome is outcome for item in self.items)

    def refused_by(self) -> dict[str, int]:
        """Numbers of refused items by code, most frequent first."""
        codes = Counter(item.code for item in self.items if item.outcome is Outcome.REFUSED)
        return dict(codes.most_common())

    def warnings(self) -> list[str]:
        """What a person should know before the plan is sent."""
        texts = []
        if renamed := sum(item.new_identity for item in self.sends):
            texts.append(
                f"the fix gives {renamed} events another identity: each is a new event, counted also where one with "
                "the old identity was counted."
            )
        if copies := self.count(Outcome.COPY):
            texts.append(f"{copies} have the identity of another record in the selection: only the first is sent.")
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


def prepare(dead_letters: Sequence[DeadLetter], fixes: Fixes, log: RedriveLog) -> list[Item]:
    """Repair dead letters; refuse those that cannot be sent at all."""
    items = [Item(dead_letter) for dead_letter in dead_letters]
    for item in items:
        at_ms = arrival_ms(item.dead_letter)
        if at_ms is None or at_ms < 0:
            item.refuse("no_arrival", "its arrival is not known, and decides whether it is late.")
            continue
        try:
            raw = event_of(item.dead_letter, log.topic)
            document = read_object(raw)
            item.edits = fixes.apply(document)
            # An event that no fix touched is sent byte for byte.
            item.value = write_object(document) if item.edits else raw or b""
            item.arrival_ms = at_ms
            _enclose(item, raw or b"", log)
        except Unfixable as error:
            item.refuse(error.code, error.detail)
    return items


def _enclose(item: Item, raw: bytes, log: RedriveLog) -> None:
    """Put an event that one meter is missing into an envelope; `raw` are the event's bytes before the repair."""
    envelope = envelope_of(item.dead_letter, log.topic, log.run_id)
    if envelope is None:
        return
    if changed := [edit.path for edit in item.edits if edit.path in IDENTITY]:
        raise Unfixable(
            "fix_conflict",
            f"{changed[0]} identifies the event, and other meters than {envelope.meter} have counted it as it was.",
        )
    first = envelope.original if envelope.original is not None else raw
    item.envelope = envelope._replace(original=None if first == item.value else first)


def make_plan(
    dead_letters: Sequence[DeadLetter],
    log: RedriveLog,
    validator: Validator,
    rules: Rules,
    fixes: Fixes,
    *,
    force: bool,
    now_ms: int,
) -> Plan:
    """Decide the outcome of every dead letter.

    1. Repair it; refuse it if it has no value, no arrival or no JSON object.
    2. Validate it as the job would, with its original arrival, or that of the fixes.
    3. Leave it out if it was redriven already, or is a copy of an earlier record in the selection.
    4. Refuse it if it would be rejected again (unless `force`), or if its window is over.

    Parameters
    ----------
    dead_letters:
        Dead letters in the order to send them.
    log:
        Contents of the redrive topic.
    validator, rules, fixes:
        See the classes.
    force:
        Send also events that would be rejected again, if their event time can be read.
    now_ms:
        The wall clock, UTC epoch ms.
    """
    items = prepare(dead_letters, fixes, log)
    open_items = [item for item in items if item.outcome is Outcome.SEND]
    validations = _validated(open_items, validator)
    if fixes.by_event_time and _move_arrivals(open_items, validations, now_ms):
        validations = _validated(open_items, validator)
    chosen: dict[bytes, Item] = {}
    for item, validation in zip(open_items, validations, strict=True):
        _decide(item, validation, log, chosen)
        if item.outcome is Outcome.SEND:
            _check(item, validation, rules, force, now_ms)
        if item.outcome is Outcome.SEND and validation.key is not None and validation.reject is None:
            chosen[validation.key] = item
    return Plan(items, log)


def _validated(items: Sequence[Item], validator: Validator) -> list[Validation]:
    return [*validator.validate([item.record_value for item in items], [item.arrival_ms for item in items])]


def _move_arrivals(items: Sequence[Item], validations: Sequence[Validation], now_ms: int) -> bool:
    """Let events from the future arrive at their event time, once that has come; whether there are any."""
    moved = False
    for item, validation in zip(items, validations, strict=True):
        event_ms = validation.event_ms
        if (
            validation.reject
            and validation.reject[0] == Reason.IN_FUTURE
            and event_ms is not None
            and event_ms <= now_ms
        ):
            before, after = (json.dumps(rfc3339(at_ms)) for at_ms in (item.arrival_ms, event_ms))
            item.edits.append(Edit("(arrival)", before, after))
            item.arrival_ms, moved = event_ms, True
    return moved


def _decide(item: Item, validation: Validation, log: RedriveLog, chosen: dict[bytes, Item]) -> None:
    already_redriven = log.already_redriven(source_of(item.dead_letter), validation.key, part_of(item.envelope))
    if already_redriven is not None:
        item.outcome, item.detail = Outcome.ALREADY, f"{log.topic} holds it at {already_redriven}."
    elif validation.key is not None and validation.key in chosen:
        item.outcome, item.detail = Outcome.COPY, f"the same event as {chosen[validation.key].dead_letter['at']}."


def _check(item: Item, validation: Validation, rules: Rules, force: bool, now_ms: int) -> None:
    item.key, item.meters = validation.owner, validation.meters
    if validation.reject is not None:
        item.code, item.detail = "still_rejected", ": ".join(validation.reject)
        if not force:
            item.refuse(item.code, item.detail)
            return
    if validation.reject is None and not validation.meters:
        item.refuse("nothing_to_add", "its meter no longer measures anything of it: a filter, or on_missing: skip.")
        return
    if validation.event_ms is None:
        item.refuse("no_event_time", f"the end of its window cannot be known: {item.detail}")
        return
    # A copy that was counted had the time from before the repair: its key is forgotten when that window ends.
    times = [validation.event_ms, *_former_times(item.edits)]
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
