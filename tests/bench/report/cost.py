"""What events, series and a month of them cost in CPU, memory and bytes, from the measured figures (docs/cost.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.report.results import Results
from tests.bench.report.sizing import DAY_S, DEDUPE_S, USE, Source, measured, number
from tidemark.core.settings.billing import POLICIES

EVENTS = 4_200_000_000
MONTH_DAYS = 30
# Traffic has hours: the busiest second of a month is taken as so many times the mean one.
PEAK = 3
REPLICAS = 3
MILLION, GB, GIB = 1e6, 1e9, 2**30
TIERED = POLICIES["tiered"]
GRAINS = ("minute", "hour", "day", "period")
SOURCES = {
    "own_cpu": Source("contest", "meter + rollup", "own_cpu_us"),
    "all_cpu": Source("contest", "meter + rollup", "all_cpu_us"),
    "wal": Source("contest", "meter + rollup, storage", "wal_bytes"),
    "memory": Source("memory_load", "all, under load", "gib"),
    "id": Source("ids", "10 000 000 ids", "state_bytes"),
    "events_topic": Source("storage", "topic of events", "event_bytes"),
    "deltas_topic": Source("storage", "topic of deltas", "event_bytes"),
    "archive": Source("storage", "archive", "event_bytes"),
    "counter": Source("storage", "counters in Redis", "counter_bytes"),
    **{f"{grain}_row": Source("storage", f"rows of {grain}s", "row_bytes") for grain in GRAINS},
    **{f"{grain}_rows": Source("storage", f"rows of {grain}s", "rows_per_event") for grain in GRAINS},
}
# What a million events cost: name of the figure, words, unit, and what the figure is multiplied by.
_MILLION = (
    ("own_cpu", "CPU of both jobs", "CPU seconds", 1.0),
    ("all_cpu", "CPU with Kafka, Postgres and Redis", "CPU seconds", 1.0),
    ("wal", "WAL of Postgres", "GB", MILLION / GB),
    ("events_topic", "topic of events, one replica", "GB", MILLION / GB),
    ("deltas_topic", "topic of deltas, one replica", "GB", MILLION / GB),
    ("archive", "archive (Parquet)", "GB", MILLION / GB),
    ("minute_rows", "rows of minutes", "rows", MILLION),
    ("hour_rows", "rows of hours", "rows", MILLION),
    ("id", "dedupe keys in RocksDB, for their life of days", "GB", MILLION / GB),
)
# How a series is used: rows of minutes, hours and days a month.
_USED = {
    "every minute": (MONTH_DAYS * 1_440, MONTH_DAYS * 24, MONTH_DAYS),
    "once an hour": (MONTH_DAYS * 24, MONTH_DAYS * 24, MONTH_DAYS),
    "once a day": (MONTH_DAYS, MONTH_DAYS, MONTH_DAYS),
}
# An example, no offer: put in your own. USD a month.
PRICES = {"core": 25.0, "GiB of memory": 3.0, "GB of disk": 0.10, "GB of object storage": 0.023}
UNMEASURED = "not measured yet"


@dataclass(frozen=True, slots=True)
class Need:
    """One line of a month: what it is, how much, and in which unit of `PRICES` it is paid; empty: it is not paid."""

    what: str
    amount: float | None
    unit: str
    paid_as: str = ""

    @property
    def price(self) -> float | None:
        """USD a month at the example prices."""
        return None if self.amount is None or not self.paid_as else self.amount * PRICES[self.paid_as]


def series_bytes(rows: tuple[int, int, int], figures: Mapping[str, float]) -> tuple[float, float, float]:
    """Bytes of a series and month in Postgres: with minutes, without, and without hours too."""
    minutes, hours, days = rows
    coarse = days * figures["day_row"] + figures["period_row"]
    middle = coarse + hours * figures["hour_row"]
    return middle + minutes * figures["minute_row"], middle, coarse


def month(figures: Mapping[str, float], events: int = EVENTS) -> list[Need]:
    """What a month of events needs once the policy `tiered` has reached its steady state."""
    mean = events / (MONTH_DAYS * DAY_S)
    return [
        Need("cores in the mean", _cores(figures, mean), "cores"),
        Need(f"cores for a peak of {PEAK} times the mean", _cores(figures, PEAK * mean), "cores", "core"),
        Need("memory of one machine of the benchmark", figures.get("memory"), "GiB", "GiB of memory"),
        Need("WAL written", _gb(figures, events, "wal"), "GB a month"),
        Need(
            f"topic of events, {TIERED['events_days']} days, {REPLICAS} replicas",
            _gb(figures, events * TIERED["events_days"] / MONTH_DAYS * REPLICAS, "events_topic"), "GB", "GB of disk",
        ),
        Need(
            f"dedupe keys, {DEDUPE_S / DAY_S:.0f} days",
            _gb(figures, events * DEDUPE_S / (MONTH_DAYS * DAY_S), "id"), "GB", "GB of disk",
        ),
        Need(f"minutes, {TIERED['minute_days']} days", _rows_gb(figures, events, "minute"), "GB", "GB of disk"),
        Need(f"hours, {TIERED['hour_days']} days", _rows_gb(figures, events, "hour"), "GB", "GB of disk"),
        Need("days and periods, a year of them", _coarse_gb(figures, events), "GB", "GB of disk"),
        Need("archive, a year of it", _gb(figures, 12 * events, "archive"), "GB", "GB of object storage"),
    ]  # fmt: skip


def _cores(figures: Mapping[str, float], rate: float) -> int | None:
    return math.ceil(rate * figures["all_cpu"] / MILLION / USE) if "all_cpu" in figures else None


def _gb(figures: Mapping[str, float], events: float, name: str) -> float | None:
    return events * figures[name] / GB if name in figures else None


def _rows_gb(figures: Mapping[str, float], events: float, grain: str) -> float | None:
    """GB of the rows of a grain that the policy keeps."""
    if not figures.keys() >= {f"{grain}_row", f"{grain}_rows"}:
        return None
    kept = events * TIERED[f"{grain}_days"] / MONTH_DAYS
    return kept * figures[f"{grain}_rows"] * figures[f"{grain}_row"] / GB


def _coarse_gb(figures: Mapping[str, float], events: float) -> float | None:
    wanted = {f"{grain}_{kind}" for grain in ("day", "period") for kind in ("row", "rows")}
    if not figures.keys() >= wanted:
        return None
    each = sum(figures[f"{grain}_rows"] * figures[f"{grain}_row"] for grain in ("day", "period"))
    return 12 * events * each / GB


def blocks(results: Sequence[Results]) -> dict[str, str]:
    """Content of the blocks of docs/cost.md by name."""
    figures = measured(results, SOURCES)
    made = {"million": _million(figures), "series": _series(figures), "month": _month(figures), "prices": _prices()}
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def _million(figures: Mapping[str, float]) -> Iterator[str]:
    yield "| what a million events cost | | unit |"
    yield "|---|---|---|"
    for name, what, unit, factor in _MILLION:
        yield f"| {what} | {_shown(figures[name] * factor if name in figures else None)} | {unit} |"


def _series(figures: Mapping[str, float]) -> Iterator[str]:
    if not figures.keys() >= {f"{grain}_row" for grain in GRAINS}:
        yield "Not measured yet."
        return
    yield "| a series that is used | with minutes, kB | without minutes, kB | without hours, kB |"
    yield "|---|---|---|---|"
    for used, rows in _USED.items():
        yield f"| {used} | " + " | ".join(_shown(size / 1_000) for size in series_bytes(rows, figures)) + " |"
    yield ""
    yield f"A counter in Redis: {_shown(figures.get('counter'))} bytes."


def _month(figures: Mapping[str, float]) -> Iterator[str]:
    needs = month(figures)
    yield f"| {number(EVENTS)} events a month | | unit | USD a month, by the example |"
    yield "|---|---|---|---|"
    for need in needs:
        price = "" if need.price is None else _shown(need.price)
        yield f"| {need.what} | {_shown(need.amount)} | {need.unit} | {price} |"
    paid = [need for need in needs if need.paid_as]
    if all(need.price is not None for need in paid):
        total = sum(need.price or 0.0 for need in paid)
        yield f"| in all | | | {_shown(total)} |"
        yield f"| a million events | | | {_shown(total / EVENTS * MILLION)} |"


def _prices() -> Iterator[str]:
    yield "| example of a price (an assumption) | USD a month |"
    yield "|---|---|"
    for unit, price in PRICES.items():
        yield f"| {unit} | {price:g} |"


def _shown(value: float | None) -> str:
    if value is None:
        return UNMEASURED
    return str(value) if isinstance(value, int) else number(value)
