"""Percentiles of the demo: what the bins of `dep_delay` say, beside exact quantiles of the raw events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tidemark.core.terminal import Table
from tidemark.oracle.oracle import Oracle

METER = "dep_delay"
SHARES = ("0.5", "0.95", "0.99")
# What a percentile meter promises.
MOST_OFF = Decimal("0.01")

Query = Callable[[str], Sequence[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True)
class Percentiles:
    """One airport: percentiles from bins and exactly, in the order of SHARES, in minutes."""

    tenant: str
    stored: tuple[Decimal, ...]
    exact: tuple[Decimal, ...]

    @property
    def off(self) -> Decimal:
        """The greatest relative error."""
        return max(
            abs(one - other) / abs(other) if other else abs(one)
            for one, other in zip(self.stored, self.exact, strict=True)
        )


def compare(query: Query, oracle: Oracle) -> list[Percentiles]:
    """Stored and exact percentiles of each airport over all that is stored.

    Parameters
    ----------
    query:
        Asks the database, with the tables of the run in its path.
    oracle:
        Of the same records.
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
        Percentiles(tenant, tuple(one), tuple(other)) for (tenant, *one), (_, *other) in zip(stored, exact, strict=True)
    ]


def drawn(found: Sequence[Percentiles]) -> Table:
    """The comparison as a table."""
    table = Table("delay in minutes", "p50 / p95 / p99 stored", "exact", "at most off")
    for one in found:
        sides = (" / ".join(f"{value:.2f}" for value in side) for side in (one.stored, one.exact))
        table.add_row(one.tenant, *sides, f"{one.off:.2%}")
    return table
