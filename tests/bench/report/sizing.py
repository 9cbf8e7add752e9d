"""How much of each part a rate needs, worked out from the measured figures (docs/scaling.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tests.bench.report.results import Results, newest

RATES = (1_000, 20_000, 100_000, 1_000_000)
# A core that is busier than this has no reserve for a restart, a peak or compaction.
USE = 0.6
# Dedupe keys live so long: grace, tolerance, redrive window and outage, with their defaults.
DEDUPE_S = 172_800 + 300 + 86_400 + 86_400
# Rates of one writer that were not measured here, and where they come from, stand on docs/scaling.md.
DAY_S = 86_400


class Source(NamedTuple):
    """Where a measured figure is found."""

    measure: str
    subject: str
    quantity: str


SOURCES = {
    "meter_rate": Source("drain_keyed", "meter", "events_per_s"),
    "meter_cpu": Source("drain_keyed", "meter", "own_cpu_us"),
    "rows_rate": Source("contest", "meter + rollup", "events_per_s"),
    "rows_cpu": Source("contest", "meter + rollup", "own_cpu_us"),
    "all_cpu": Source("contest", "meter + rollup", "all_cpu_us"),
    "rows_per_event": Source("contest", "meter + rollup, storage", "rows_per_event"),
    "wal_bytes": Source("contest", "meter + rollup, storage", "wal_bytes"),
    "id_bytes": Source("ids", "10 000 000 ids", "state_bytes"),
}
_WORDS = {
    "meter_rate": ("`meter` works off, on the machine of the run", "events/s"),
    "meter_cpu": ("CPU of `meter`", "us/event"),
    "rows_rate": ("both jobs, to rows, on that machine", "events/s"),
    "rows_cpu": ("CPU of both jobs", "us/event"),
    "all_cpu": ("the same with Kafka, Postgres and Redis", "us/event"),
    "rows_per_event": ("rows of minutes to periods", "a source event"),
    "wal_bytes": ("WAL", "bytes/event"),
    "id_bytes": ("dedupe state", "bytes/id"),
}


@dataclass(frozen=True, slots=True)
class Size:
    """What a rate needs.

    Parameters
    ----------
    cores:
        For the jobs, at USE.
    slots:
        Subtasks of `meter`, each on a core of its own; partitions of the topic are at least as many.
    partitions:
        The next power of two, doubled: room to grow without moving customers.
    dedupe_gib:
        RocksDB, all dedupe keys; None: not measured.
    upserts_per_s, wal_mib_per_s:
        What one TimescaleDB writes.
    """

    rate: int
    cores: int
    slots: int
    partitions: int
    dedupe_gib: float | None
    upserts_per_s: int
    wal_mib_per_s: float


def size(rate: int, figures: Mapping[str, float]) -> Size:
    """Size of a rate; `figures` by the names of SOURCES, `id_bytes` may be missing."""
    per_core = 1e6 / figures["meter_cpu"] * USE
    slots = max(1, math.ceil(rate / per_core))
    id_bytes = figures.get("id_bytes")
    return Size(
        rate=rate,
        cores=max(1, math.ceil(rate * figures["rows_cpu"] / 1e6 / USE)),
        slots=slots,
        partitions=2 * 2 ** math.ceil(math.log2(max(2, slots))),
        dedupe_gib=None if id_bytes is None else rate * DEDUPE_S * id_bytes / 2**30,
        upserts_per_s=math.ceil(rate * figures["rows_per_event"]),
        wal_mib_per_s=rate * figures["wal_bytes"] / 2**20,
    )


def measured(results: Sequence[Results], sources: Mapping[str, Source] = SOURCES) -> dict[str, float]:
    """Medians by name, of those that were measured."""
    found = {}
    for name, source in sources.items():
        there = newest(results, source.measure)
        spread = there[1].spread(source.subject, source.quantity) if there else None
        if spread is not None:
            found[name] = spread.median
    return found


def blocks(results: Sequence[Results]) -> dict[str, str]:
    """Content of the blocks of docs/scaling.md by name."""
    figures = measured(results)
    return {"figures": "\n".join(_figures(figures)) + "\n", "sizes": "\n".join(_sizes(figures)) + "\n"}


def _figures(figures: Mapping[str, float]) -> Iterator[str]:
    yield "| what | measured (median) | unit |"
    yield "|---|---|---|"
    for name, (what, unit) in _WORDS.items():
        value = number(figures[name]) if name in figures else "not measured yet"
        yield f"| {what} | {value} | {unit} |"


def _sizes(figures: Mapping[str, float]) -> Iterator[str]:
    if not figures.keys() >= SOURCES.keys() - {"id_bytes"}:
        yield "Not measured yet."
        return
    yield "| events/s | cores of jobs | slots of `meter` | partitions | dedupe state, GiB | upserts/s | WAL, MiB/s |"
    yield "|---|---|---|---|---|---|---|"
    for rate in RATES:
        found = size(rate, figures)
        dedupe = "not measured yet" if found.dedupe_gib is None else number(found.dedupe_gib)
        yield (
            f"| {number(rate)} | {found.cores} | {found.slots} | {found.partitions} | {dedupe} |"
            f" {number(found.upserts_per_s)} | {number(found.wal_mib_per_s)} |"
        )


def number(value: float) -> str:
    """A figure with as many decimals as are worth it, thousands apart."""
    decimals = 0 if value >= 100 else 1 if value >= 1 else 3
    return f"{value:,.{decimals}f}".replace(",", " ")
