"""The report at the end of the demo: stored totals beside the oracle's, live counters, dead letters, next steps."""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any

import yaml

from tidemark.core import postgres
from tidemark.core.errors import DifferenceError, UnavailableError
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.core.terminal import Table, draw, one_line
from tidemark.dead_letters.records import read_dead_letters, whole_and_partial
from tidemark.demo.percentiles import MOST_OFF, Percentiles, compare, drawn
from tidemark.oracle.alerts import AlertCheck, committed_alerts
from tidemark.oracle.compare import Difference, compare_postgres, compare_redis, live_rows
from tidemark.oracle.oracle import Counts, Oracle, Rules
from tidemark.oracle.relations import GRAINS

LIVE_SHOWN = ("JFK/B6", "EWR/UA", "LGA/DL", "JFK/HA", "LGA/F9")
# Meters whose value is the total of the counter.
LIVE_METERS = ("flights", "miles", "tailnums")
# The last deltas pass a tick, a checkpoint and a mini-batch: about 15 s; a restart in between adds 45 s.
SETTLE_S = 300.0
_POLL_S = 1.0

Totals = dict[str, tuple[int, Decimal]]


@dataclass(frozen=True, slots=True)
class Report:
    """The demo's result.

    Parameters
    ----------
    stored, oracle:
        Flights and miles by carrier, as stored in `usage_period` and as recomputed.
    counts:
        Numbers of offsets of the source topic by outcome, from the oracle.
    differences:
        Rows of the four grains and of the live counters that only one side has.
    live:
        Live counters by tenant/customer.
    dead_letters, partial:
        Dead letters by reason: of events that are not counted, and refusals of single meters for counted events.
    percentiles:
        Percentiles of the delay by airport, from bins and exact.
    alerts:
        Alerts about limits, compared with the thresholds that were reached.

    """

    stored: Totals
    oracle: Totals
    counts: Counts
    differences: list[Difference]
    live: list[dict[str, Any]]
    dead_letters: dict[str, int]
    partial: dict[str, int]
    percentiles: list[Percentiles]
    alerts: AlertCheck

    @property
    def equal(self) -> bool:
        """Whether everything stored, live and rejected equals the oracle's result."""
        within = all(airport.off <= MOST_OFF for airport in self.percentiles)
        rejected = self.dead_letters == dict(self.counts.rejected) and self.partial == dict(self.counts.partial)
        same = not self.differences and rejected
        return same and within and self.alerts.equal

    def raise_if_different(self) -> None:
        """Raise DifferenceError unless everything is equal."""
        if not self.equal:
            raise DifferenceError(
                f"the stored usage differs from the oracle in at least {len(self.differences)} rows; dead letters are "
                f"{self.dead_letters}, expected {dict(self.counts.rejected)}; partial ones {self.partial}, expected "
                f"{dict(self.counts.partial)}; alerts: {self.alerts}.",
                "`tidemark status` shows the jobs; run the demo again to compare again.",
            )


def demo_catalog() -> dict[str, Any]:
    """Read the demo's catalog as plain data; it is valid for all time."""
    loaded: dict[str, Any] = yaml.safe_load(
        importlib.resources.files("tidemark.demo").joinpath("catalog.yaml").read_text()
    )
    return {name: entries for name, entries in loaded.items() if name != "valid_from"}


def recompute(settings: Settings, catalog: dict[str, Any], progress: Callable[[int], None] | None = None) -> Oracle:
    """Recompute usage from all records of the source and redrive topics, read back from Kafka; close it after use."""
    # The oracle knows partition p of the redrive topic as -1 - p.
    records = chain(
        (
            (r.partition, r.offset, r.timestamp_ms, r.value)
            for r in dump(settings.kafka, settings.topics.events, progress=progress)
        ),
        ((-1 - r.partition, r.offset, r.timestamp_ms, r.value) for r in dump(settings.kafka, settings.topics.redrive)),
    )
    rules = Rules(
        grace_ms=settings.events.grace_s * 1_000,
        future_tolerance_ms=settings.events.future_tolerance_s * 1_000,
        default_tenant=settings.events.default_tenant,
    )
    return Oracle(catalog, records, rules)


def wait_until_counted(
    settings: Settings, oracle: Oracle, settle_s: float = SETTLE_S, progress: Callable[[str], None] | None = None
) -> None:
    """Wait until every grain holds as many applied events as the oracle expects, or more.

    Raises
    ------
    UnavailableError
        The tables did not grow for `settle_s`.

    """
    expected = {grain: oracle.number(f"SELECT coalesce(sum(n), 0)::BIGINT FROM {grain}") for grain in GRAINS}
    deadline = time.monotonic() + settle_s
    last: dict[str, int] = {}
    while True:
        stored = applied(settings)
        if all(stored[grain] >= expected[grain] for grain in GRAINS):
            return
        if stored != last:
            deadline, last = time.monotonic() + settle_s, stored
        elif time.monotonic() > deadline:
            raise UnavailableError(
                f"the rollups stopped growing at {stored}; expected {expected}.", "see `tidemark status`."
            )
        if progress is not None:
            progress(", ".join(f"{grain} {stored[grain]:,}/{expected[grain]:,}" for grain in GRAINS))
        time.sleep(_POLL_S)


def applied(settings: Settings) -> dict[str, int]:
    """Sum of `n`, the measurements applied, of each grain."""
    columns = ", ".join(f"(SELECT coalesce(sum(n), 0)::bigint FROM {grain})" for grain in GRAINS)
    row = query(settings, f"SELECT {columns}")[0]
    return dict(zip(GRAINS, map(int, row), strict=True))


def make_report(settings: Settings, oracle: Oracle) -> Report:
    """Compare everything that is stored with the oracle."""
    carriers = """
        SELECT customer_id,
               sum(CASE WHEN meter = 'flights' THEN total ELSE 0 END),
               sum(CASE WHEN meter = 'miles' THEN total ELSE 0 END)
        FROM usage_period GROUP BY customer_id ORDER BY customer_id"""
    names = (
        "tenant_id", "customer_id", "meter", "period_start", "period_end", "n", "samples", "total", "lo", "hi",
        "latest",
    )  # fmt: skip
    whole, partial_ones = whole_and_partial(read_dead_letters(settings))
    differences = compare_postgres(oracle, settings) + compare_redis(oracle, settings)
    live = [dict(zip(names, row, strict=True)) for row in live_rows(settings)]
    return Report(
        stored=_totals(query(settings, carriers)),
        oracle=_totals(oracle.db.execute(carriers).fetchall()),
        counts=oracle.counts(),
        differences=differences,
        live=sorted(filter(_is_shown, live), key=lambda row: (row["tenant_id"], row["customer_id"], row["meter"])),
        dead_letters=whole,
        partial=partial_ones,
        percentiles=compare(partial(query, settings), oracle),
        alerts=committed_alerts(oracle, settings),
    )


def show(report: Report, settings: Settings) -> None:
    """Draw the report."""
    draw(_carriers(report))
    c = report.counts
    rejected = sum(c.rejected.values())
    draw(f"{c.offsets_in:,} records = {c.counted:,} counted + {c.duplicates:,} duplicates + {rejected:,} dead")
    draw(drawn(report.percentiles))
    draw(_live(report))
    draw(f"limits: {report.alerts.begun:,} caps and thresholds reached, each published once")
    draw(_closed(settings))
    for reason, count in report.dead_letters.items():
        draw(f"dead letters: {reason} {count:,}")
    for reason, count in report.partial.items():
        draw(f"partial dead letters: {reason} {count:,}")
    draw(_next_steps(settings))
    for difference in report.differences:
        draw([f"only in {difference.side}: {difference.relation} {difference.row}"])
    draw(one_line("oracle: equal", "bold green") if report.equal else one_line("oracle: different", "bold red"))


def _is_shown(row: dict[str, Any]) -> bool:
    return f"{row['tenant_id']}/{row['customer_id']}" in LIVE_SHOWN and row["meter"] in LIVE_METERS


def _carriers(report: Report) -> Table:
    table = Table("carrier", "flights stored", "flights oracle", "miles stored", "miles oracle", "")
    for name in sorted(report.stored.keys() | report.oracle.keys()):
        stored, oracle = report.stored.get(name, (0, Decimal(0))), report.oracle.get(name, (0, Decimal(0)))
        figures = (stored[0], oracle[0], stored[1], oracle[1])
        table.add_row(name, *(f"{figure:,.0f}" for figure in figures), "=" if stored == oracle else "differs")
    return table


def _live(report: Report) -> Table:
    table = Table("live counter", "meter", "period from (UTC)", "total")
    for row in report.live:
        start = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row["period_start"] // 1_000))
        table.add_row(f"{row['tenant_id']}/{row['customer_id']}", row["meter"], start, f"{row['total']:,.0f}")
    return table


def _closed(settings: Settings) -> str:
    periods = f"""
        SELECT count(*), count(*) FILTER (WHERE lines = 0), max(period_end)::date
        FROM {settings.names.billing_schema}.period_close"""
    closed, empty, last = query(settings, periods)[0]
    return f"closed: {closed:,} billing periods, {empty:,} of them without usage, the last up to {last}"


def _next_steps(settings: Settings) -> str:
    schema = settings.names.billing_schema
    return f"""
Three queries to try (psql "{settings.postgres.ops.url}"):
  SELECT meter, first_day, last_day, value, unit, status FROM {settings.names.report_schema}.invoice_line
   WHERE tenant_id = 'LGA' AND customer_id = 'DL' ORDER BY meter, first_day;                   -- billed from the 31st
  SELECT tenant_id, sum(value) AS flights FROM {schema}.usage_day_value
   WHERE meter = 'flights' AND day = '2013-02-08' GROUP BY tenant_id;                          -- the day of a blizzard
  SELECT {schema}.usage_percentile('JFK', 'B6', 'dep_delay', '2013-03-01', '2013-04-01', 0.99); -- 1 flight in 100
{_pages(settings)}Flink: {settings.flink.rest_url}
Stop with `make down`; `make clean` removes the demo's data.
"""


def _pages(settings: Settings) -> str:
    if settings.web.address is None:
        return ""
    return f"""What LGA's carriers see: http://{settings.web.listen}/usage?customer=DL
  signed in by the key that is printed by `.venv/bin/tidemark keys create LGA --scope admin`
"""


def query(settings: Settings, text: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the rollups of the run.

    Raises
    ------
    UnavailableError
        The database cannot be reached.

    """
    with postgres.connect(settings.postgres.ops) as connection:
        postgres.use_schema(connection, settings.names.usage_schema)
        return connection.execute(text.encode()).fetchall()


def _totals(rows: Sequence[tuple[Any, ...]]) -> Totals:
    return {name: (int(flights), Decimal(miles)) for name, flights, miles in rows}
