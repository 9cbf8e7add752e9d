"""What is measured, in which unit, and how it is written."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Quantity:
    """A column: its heading with the unit, and the decimals that are worth writing."""

    heading: str
    decimals: int = 0


QUANTITIES = {
    "events_per_s": Quantity("events/s"),
    "warm_events_per_s": Quantity("events/s, warm part"),
    "ratio": Quantity("ratio", 2),
    "own_cpu_us": Quantity("own CPU, us/event", 1),
    "all_cpu_us": Quantity("CPU with services, us/event", 1),
    "core_events_per_s": Quantity("events per CPU second of it"),
    "cpu_us": Quantity("CPU, us/event", 2),
    "event_bytes": Quantity("bytes/event"),
    "p50_ms": Quantity("p50, ms"),
    "p95_ms": Quantity("p95, ms"),
    "p99_ms": Quantity("p99, ms"),
    "max_ms": Quantity("max, ms"),
    "sampled": Quantity("samples"),
    "p50_us": Quantity("p50, us"),
    "p99_us": Quantity("p99, us"),
    "lag_events": Quantity("lag at the end, events"),
    "rows_per_event": Quantity("rows/event", 3),
    "row_bytes": Quantity("bytes/row"),
    "counter_bytes": Quantity("bytes/counter"),
    "wal_bytes": Quantity("WAL, bytes/event"),
    "gib": Quantity("GiB", 2),
    "state_bytes": Quantity("bytes/id", 1),
    "slope": Quantity("slope", 3),
    "after_kill_s": Quantity("last row after the kill, s", 1),
    "seconds": Quantity("s", 2),
    "longest_s": Quantity("longest step, s", 2),
    "steps": Quantity("steps"),
    "deltas_per_event": Quantity("deltas/event", 3),
}


def written(quantity: str, value: float) -> str:
    """A value with the decimals of its quantity, thousands apart."""
    return f"{value:,.{QUANTITIES[quantity].decimals}f}".replace(",", " ")
