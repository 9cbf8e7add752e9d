"""Percentiles of the demo: from the bins of `dep_delay`, beside exact quantiles of the raw events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tidemark.core.terminal import Table
from tidemark.oracle.oracle import Oracle

METER = "dep_delay"
SHARES = ("0.5", "0.95", "0.99")
# The guarantee of a percentile meter.
MOST_OFF = Decimal("0.01")

Query = Callable[[str], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """An airport: percentiles from bins, and exact ones, in the order of SHARES, in minutes."""

    tenant: str
    stored: tuple[Decimal, ...]
    exact: tuple[Decimal, ...]

    @property
    def off(self) -> Decimal:
        """The greatest relative error."""
        return max(
            abs(stored - exact) / abs(exact) if exact else abs(stored)
            for stored, exact in zip(self.stored, self.exact, strict=True)
        )


def compare(query: Query, oracle: Oracle) -> list[Percentiles]:
    """Stored and exact percentiles of each airport over all that is stored.

    Parameters
    ----------
    query:
        Queries the database, with the tables of the run in its search path.
    oracle:
        The oracle of the same records.
    """
    binned = ", ".join(f"histogram_percentile(array_agg((part, samples, lo, hi)::histogram_bin), {p})" for p in SHARES)
    stored = query(f"""
        SELECT tenant_id, {binned} FROM usage_period WHERE meter = '{METER}' AND part LIKE 'b%'
        GROUP BY tenant_id ORDER BY tenant_id""")
    disc = ", ".join(f"quantile_disc(amount, {p})" for p in SHARES)
    exact = oracle.db.execute(
        f"SELECT tenant_id, {disc} FROM usage WHERE meter = '{METER}' GROUP BY tenant_id ORDER BY tenant_id"
    ).fetchall()
    return [
        Percentiles(tenant, tuple(binned_values), tuple(exact_values))
        for (tenant, *binned_values), (_, *exact_values) in zip(stored, exact, strict=True)
    ]


def drawn(airports: Sequence[Percentiles]) -> Table:
    """The comparison as a table."""
    table = Table("delay in minutes", "p50 / p95 / p99 stored", "exact", "at most off")
    for airport in airports:
        sides = (" / ".join(f"{value:.2f}" for value in side) for side in (airport.stored, airport.exact))
        table.add_row(airport.tenant, *sides, f"{airport.off:.2%}")
    return table
