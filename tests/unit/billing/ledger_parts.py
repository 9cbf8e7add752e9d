"""Ledgers for tests: hypothesis strategies of periods and lines, and a ledger kept by true_up alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from tidemark.billing.lines import Line, LineKey, Lines, PeriodKey
from tidemark.billing.messages import Context, LedgerReader, close_message, correction_message
from tidemark.billing.true_up import Entry, TrueUp, true_up

AT = datetime(2024, 3, 3, 12, 0, 0, 123_000, tzinfo=UTC)
CONTEXT = Context(AT, "test", "", {"usage.events": {"0": 7}}, AT, 3)
START = datetime(2024, 1, 1, tzinfo=UTC)

# Two customers, four days each, and periods of two days that lie across them.
PERIODS = [
    PeriodKey("t", customer, START + timedelta(days=day), START + timedelta(days=day + length))
    for customer in ("a", "b")
    for day, length in ((0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (2, 2))
]
LINE_KEYS = [LineKey("calls", ""), LineKey("bytes", '{"region":"eu"}'), LineKey("bytes", '{"region":"us"}')]

values = st.decimals(-(10**12), 10**12, places=9) | st.integers(-5, 5).map(Decimal)
lines_of = st.dictionaries(
    st.sampled_from(LINE_KEYS),
    st.builds(Line, st.just("sum"), st.sampled_from(["calls", "GB"]), st.integers(0, 9), st.integers(-2, 9), values),
)
states = st.dictionaries(st.sampled_from(PERIODS), lines_of)


@dataclass
class Kept:
    """A ledger, and what a consumer of its messages knows."""

    entries: dict[PeriodKey, Entry] = field(default_factory=dict)
    first: dict[PeriodKey, Lines] = field(default_factory=dict)
    deltas: dict[tuple[PeriodKey, LineKey], Decimal] = field(default_factory=dict)
    closes: list[str] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)

    def bring_to(self, wanted: Mapping[PeriodKey, Lines]) -> TrueUp:
        """Add what is due so that the ledger equals `wanted` for all its periods and those given."""
        due = true_up(self.entries, wanted)
        for close in due.closes:
            self.entries[close.key] = Entry(close.lines)
            self.first[close.key] = close.lines
            self.closes.append(close_message(close, CONTEXT))
        for correction in due.corrections:
            self.entries[correction.key] = Entry(correction.lines, correction.number, correction.is_current)
            for at, change in correction.changes.items():
                place = correction.key, at
                self.deltas[place] = self.deltas.get(place, Decimal(0)) + change.delta
            self.corrections.append(correction_message(correction, CONTEXT, "late_events", None))
        return due

    def summed(self, key: PeriodKey, at: LineKey) -> Decimal:
        """Close and all deltas of a line."""
        line = self.first[key].get(at)
        return (line.value if line else Decimal(0)) + self.deltas.get((key, at), Decimal(0))

    def reader(self) -> LedgerReader:
        """What a consumer makes of the messages, all closes first."""
        reader = LedgerReader()
        for text in self.closes:
            reader.close(text)
        for text in self.corrections:
            reader.correct(text)
        return reader
