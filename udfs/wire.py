"""Columns that travel as one text between Python, Flink SQL and Redis: each layout is declared here, once.

A layout is a NamedTuple. Its order is the order of the text; it packs and unpacks in Python, and writes the expressions
that unpack and pack it in SQL, which the statements of the jobs take as template variables. One packed column is much
cheaper to hand between Python and the JVM than its fields are.

Control characters are rejected in ids and escaped in JSON, so none can occur inside a field. A field may hold a text of
another layout with another separator; only the last one may hold the separator itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, NamedTuple, NewType, TypeVar, get_type_hints

# Between fields, between records with fields of their own, between lists of those, and what is filled in later.
FIELD, RECORD, GROUP, PLACEHOLDER = "\x1f", "\x1e", "\x1d", "\x1c"

# Plain decimal text here, DECIMAL(38, 9) in SQL.
Number = NewType("Number", str)
_SQL_TYPES: dict[Any, str] = {str: "STRING", int: "BIGINT", Number: "DECIMAL(38, 9)"}

T = TypeVar("T", bound=tuple[Any, ...])


class Latest(NamedTuple):
    """The newest event of a `latest` meter: the order of the texts is the order of the events.

    Parameters
    ----------
    time_ns:
        Event time, 21 digits of nanoseconds.
    source, event_id, value:
        As in the event; the source is empty where it has none.
    """

    time_ns: str
    source: str
    event_id: str
    value: str


class Bounds(NamedTuple):
    """A billing period, half-open, UTC epoch ms."""

    period_start_ms: int
    period_end_ms: int


class Stamp(NamedTuple):
    """Where in time a measurement belongs: the start of its minute in UTC epoch ms, its local date as ISO text."""

    minute_ms: int
    local_day: str
    period: Bounds


class Series(NamedTuple):
    """What deltas are added up by.

    Parameters
    ----------
    dims:
        Canonical JSON of the group-by values, empty for none.
    part:
        Which component of a total that is kept in components, empty for the others.
    stamp:
        Its fields follow one by one.
    """

    tenant_id: str
    customer_id: str
    meter: str
    dims: str
    part: str
    stamp: Stamp


class Measurement(NamedTuple):
    """What an event adds to one series.

    Parameters
    ----------
    series:
        Text of a Series.
    samples:
        Values it stands for: 1, -1 for one taken back, 0 for none.
    latest:
        Text of a Latest, or empty.
    """

    amount: Number
    series: str
    samples: int = 1
    latest: str = ""


class LiveChange(NamedTuple):
    """A running total of a billing period, and what led to it; a row of the view `period_totals`.

    Parameters
    ----------
    lo, hi:
        Empty where there is none.
    added:
        What the change added; zero for a reevaluation.
    at_ms:
        How far the event time of the counter has come, UTC epoch ms.
    latest:
        Text of a Latest, or empty; last, because it holds separators of its own.
    """

    tenant_id: str
    customer_id: str
    meter: str
    period_start_ms: int
    period_end_ms: int
    n: int
    samples: int
    total: Number
    added: Number
    at_ms: int
    dims: str
    lo: Number = Number("")
    hi: Number = Number("")
    latest: str = ""


class Candidate(NamedTuple):
    """A possible alert: the condition and its status, whose it is, and the alert as JSON without its id."""

    fingerprint: str
    status: str
    tenant_id: str
    body: str


class PartialRejects(NamedTuple):
    """What single meters refused of an event: the head of each dead letter, and the rest that all have in common."""

    heads: str
    common: str


class WatchedSeries(NamedTuple):
    """What the anomaly detectors watch: a kind, and whose; customer and meter are empty where the kind has none."""

    kind: str
    tenant_id: str
    customer_id: str
    meter: str


class CounterWrite(NamedTuple):
    """The figures of one write of a live counter, for its script in Redis.

    Parameters
    ----------
    now_ms, ttl_ms:
        When it is written, and for how long it lives.
    strict:
        1: an equal n is refused too, unless limits are newer.
    revision:
        Of the catalog that the limit status rests on, -1 while it is unknown.
    """

    period_start: int
    period_end: int
    n: int
    samples: int
    total: Number
    lo: Number
    hi: Number
    now_ms: int
    ttl_ms: int
    strict: str
    revision: int


class LimitStatus(NamedTuple):
    """How a total compares with its limit, as the fields of a live counter.

    Parameters
    ----------
    rule:
        Version of the limit.
    denied:
        1: a reader must refuse more.
    projected_exhaustion_at:
        UTC epoch ms, or empty.
    """

    limit: Number
    mode: str
    on_unknown: str
    rule: str
    remaining: Number
    denied: str
    projected_exhaustion_at: str


@dataclass(frozen=True)
class Layout(Generic[T]):
    """A record as text, its fields in their declared order with a separator between them.

    Parameters
    ----------
    record:
        A NamedTuple of `str`, `int` and `Number`; the last field may be another such record, whose fields follow. The
        default of a field stands for NULL in SQL, and fields with one may be missing at the end of a text.
    separator:
        Between fields, one character.
    between:
        Between several records in one text, one character; empty where there is but one.
    open_ended:
        Whether the last field may hold the separator.
    """

    record: type[T]
    separator: str = FIELD
    between: str = ""
    open_ended: bool = False

    @cached_property
    def pack(self) -> Callable[..., str]:
        """A function of the fields of the record, a nested record as its text, to the text."""
        return _packer(self.names, self._template(self.names))

    @cached_property
    def pack_required(self) -> Callable[..., str]:
        """As `pack`, without the fields that have a default."""
        return _packer(self._required, self._template(self._required))

    def pack_required_with(self, name: str, layout: Layout[Any]) -> Callable[..., str]:
        """As `pack_required`, with the fields of another layout in the place of the field that holds its text."""
        fields = [inner for field in self._required for inner in (layout.names if field == name else [field])]
        template = self._template(self._required).replace(f"{{{name}}}", layout._template(layout.names))
        return _packer(fields, template)

    def unpack(self, text: str) -> T:
        """The record of a text, a nested one with its fields.

        Raises
        ------
        ValueError
            It has too few or too many fields, or one is not an integer.
        """
        try:
            return self._unpacker(*text.split(self.separator, self._most_splits))
        except TypeError:
            fields, expected = text.count(self.separator) + 1, ", ".join(self._columns)
            raise ValueError(f"{fields} fields are not a {self.record.__name__} ({expected}).") from None

    def split(self, text: str) -> list[T]:
        """The records of a text of several; ValueError as in `unpack`."""
        return [self.unpack(record) for record in text.split(self.between)]

    def rows(self, text: str) -> str:
        """The SQL expression of a column of several records as an array of texts, for UNNEST."""
        return rows(text, self.between)

    def columns(self, text: str) -> str:
        """The select list that unpacks a column of such texts in SQL: each field under its name."""
        return ",\n    ".join(f"{self.column(name, text)} AS {name}" for name in self._columns)

    def column(self, name: str, text: str) -> str:
        """The SQL expression of one field of a column of such texts."""
        kind, default = self._columns[name], self._defaults.get(name)
        expression = f"SPLIT_INDEX({text}, {literal(self.separator)}, {[*self._columns].index(name)})"
        if default == "":
            expression = f"NULLIF({expression}, '')"
        if kind is not str:
            expression = f"CAST({expression} AS {_SQL_TYPES[kind]})"
        return f"COALESCE({expression}, {default})" if default else expression

    def packed(self, **expressions: str) -> str:
        """The SQL expression that packs columns named as the fields, or instead the expressions given for some."""
        fields = ", ".join(self._as_text(name, expressions.get(name, name)) for name in self._columns)
        return f"CONCAT_WS({literal(self.separator)}, {fields})"

    @property
    def names(self) -> tuple[str, ...]:
        """Fields of the record in their order; a nested record is one."""
        fields: tuple[str, ...] = self.record._fields  # type: ignore[attr-defined]
        return fields

    @property
    def lua_pattern(self) -> str:
        """The pattern by which Lua's `string.match` returns all fields of a text, or nil for any other text."""
        code = f"\\{ord(self.separator)}"
        return f"^{code.join([f'([^{code}]*)'] * len(self._columns))}$"

    def _as_text(self, name: str, expression: str) -> str:
        text = expression if self._columns[name] is str else f"CAST({expression} AS STRING)"
        # CONCAT_WS leaves NULL out, and the fields behind it would move up.
        return f"COALESCE({text}, '{self._defaults[name]}')" if name in self._defaults else text

    @cached_property
    def _columns(self) -> dict[str, Any]:
        """Types by field, with those of a nested record in its place."""
        return dict(_flattened(self.record))

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        defaults: dict[str, Any] = self.record._field_defaults  # type: ignore[attr-defined]
        return defaults

    @cached_property
    def _required(self) -> Sequence[str]:
        return [name for name in self.names if name not in self._defaults]

    def _template(self, fields: Sequence[str]) -> str:
        return self.separator.join(f"{{{name}}}" for name in fields)

    @cached_property
    def _unpacker(self) -> Callable[..., T]:
        """A function of the texts of all fields to the record, compiled as `_packer` does."""
        records: dict[str, Any] = {}
        texts = [f"{name}={str(self._defaults[name])!r}" if name in self._defaults else name for name in self._columns]
        made = _construction(self.record, records)
        unpacker: Callable[..., T] = eval(f"lambda {', '.join(texts)}: {made}", records)  # noqa: S307
        return unpacker

    @cached_property
    def _most_splits(self) -> int:
        return len(self._columns) - 1 if self.open_ended else -1


def rows(text: str, between: str) -> str:
    """The SQL expression of a column of several texts as an array, for UNNEST."""
    return f"SPLIT({text}, {literal(between)})"


def literal(separator: str) -> str:
    """A control character as a SQL literal."""
    return f"U&'\\{ord(separator):04x}'"


def _flattened(record: Any) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(record).items():
        if hasattr(kind, "_fields"):
            yield from _flattened(kind)
        else:
            yield name, kind


def _construction(record: Any, records: dict[str, Any]) -> str:
    """The expression that makes a record of names of its fields; the records it calls are put into `records`."""
    records[record.__name__] = record
    arguments = []
    for name, kind in get_type_hints(record).items():
        if hasattr(kind, "_fields"):
            arguments.append(_construction(kind, records))
        else:
            arguments.append(f"int({name})" if kind is int else name)
    return f"{record.__name__}({', '.join(arguments)})"


def _packer(fields: Sequence[str], template: str) -> Callable[..., str]:
    """An f-string as a function, compiled as NamedTuple compiles its own: the hot path affords nothing slower."""
    packer: Callable[..., str] = eval(f"lambda {', '.join(fields)}: f{template!r}")  # noqa: S307  our own field names
    return packer


LATEST = Layout(Latest)
PERIOD = Layout(Bounds)
STAMP = Layout(Stamp)
SERIES = Layout(Series)
# In one text: the measurements of an event.
MEASUREMENT = Layout(Measurement, RECORD, GROUP)
LIVE_CHANGE = Layout(LiveChange, open_ended=True)
# In one text: the candidates of one change.
CANDIDATE = Layout(Candidate, FIELD, RECORD)
PARTIAL_REJECTS = Layout(PartialRejects, GROUP)
# Between the heads of PARTIAL_REJECTS.
HEADS = RECORD
WATCHED_SERIES = Layout(WatchedSeries)
COUNTER_WRITE = Layout(CounterWrite, " ")
LIMIT_STATUS = Layout(LimitStatus)
