"""Job `rollup`: committed deltas to stored totals per minute, hour, day and period, and to sliding windows."""

from __future__ import annotations

from typing import Any

from pyflink.table import TableEnvironment

from jobs.flink import options
from jobs.flink.bounds import Bounds
from jobs.flink.entry import run
from jobs.flink.plans import TtlRule, compile_plan, with_ttls
from jobs.flink.statements import interval, statement
from tidemark.core.settings import Settings

GRAINS = ("minute", "hour", "day", "period")
# The longest of the sliding windows.
LONGEST_WINDOW_S = 7 * 86_400
# Longer than the time since any event that can be counted.
ALWAYS = "INTERVAL '999' YEAR(3)"
# The minutes that windows are added up from are per customer only where customers have windows: a minute per tenant is
# a fraction of the state.
TENANT_KEYS = "tenant_id, meter"
CUSTOMER_KEYS = "tenant_id, customer_id, meter"
# Column that names the bucket in the plan, and the longest the bucket lasts; a local day has up to 25 hours, and one
# more day covers the widest zone.
BUCKETS_S = {"minute_start": 60, "hour_start": 3_600, "local_day": 2 * 86_400}


def configure(env: TableEnvironment, settings: Settings) -> None:
    """Options of the job, beside those of the cluster."""
    own = {
        # Many deltas of one bucket become one upsert.
        "table.exec.mini-batch.enabled": "true",
        "table.exec.mini-batch.allow-latency": f"{settings.rollup.minibatch_ms} ms",
        "table.exec.mini-batch.size": "50000",
    }
    parallelism, checkpoint_ms = settings.rollup.parallelism, settings.rollup.checkpoint_interval_ms
    options.configure(env, settings, "rollup", parallelism=parallelism, checkpoint_ms=checkpoint_ms, own=own)


def tables(settings: Settings) -> tuple[str, ...]:
    """Names of the stored tables, without `usage_`; each has a sink and an INSERT of its own."""
    return (*GRAINS, "sliding", *(["sliding_customer"] if settings.rollup.customer_windows else []))


def declare(env: TableEnvironment, settings: Settings, bounds: Bounds) -> None:
    """Source, views and sinks, in the order the data flows."""
    names = settings.names
    watermark = f", WATERMARK FOR `minute` AS `minute` - {interval(settings.rollup.sliding_disorder_s)}"
    for source, declared in (("deltas_for_totals", ""), ("deltas_for_sliding", watermark)):
        env.execute_sql(
            statement(
                "rollup",
                "deltas_source",
                source=source,
                watermark=declared,
                deltas_topic=names.deltas,
                kafka=options.kafka(settings.kafka, "rollup"),
                group=names.group(f"rollup-{source}"),
                source_idle_s=settings.flink.source_idle_s,
                range=bounds.options(),
            )
        )
    keys = CUSTOMER_KEYS if settings.rollup.customer_windows else TENANT_KEYS
    recent = _within(settings, "`minute`", LONGEST_WINDOW_S)
    valid = statement("flink", "valid_delta")
    for view in ("changes", "recent_deltas", "minutes", *(table for table in tables(settings) if table not in GRAINS)):
        env.create_temporary_view(view, env.sql_query(statement("rollup", view, keys=keys, recent=recent, valid=valid)))
    for table in tables(settings):
        env.execute_sql(
            statement(
                "rollup",
                f"usage_{table}_sink",
                schema=names.usage_schema,
                jdbc=options.upserts(settings, "rollup", flush_rows=5_000),
            )
        )


def plan(env: TableEnvironment, settings: Settings, bounds: Bounds) -> dict[str, Any]:
    """The whole job as a compiled plan."""
    configure(env, settings)
    declare(env, settings, bounds)
    # A condition on the end alone would be pushed below the windows, and each minute would be copied into all of them;
    # `n` is known behind them.
    recent = _within(settings, "CASE WHEN n IS NOT NULL THEN window_end END")
    compiled = compile_plan(env, [statement("rollup", f"insert_{table}", recent=recent) for table in tables(settings)])
    return with_ttls(compiled, [_bucket_ttl(settings, column, size_s) for column, size_s in BUCKETS_S.items()])


def _within(settings: Settings, column: str, more_s: int = 0) -> str:
    """The condition that a time lies within the history that is kept, and `more_s` seconds before it.

    A minute is asked before its windows are: it came in before they ended, so all minutes of a window that is written
    were let in.
    """
    history_s = settings.rollup.sliding_history_s
    # Without a bound it is the same condition with a length that always holds: the job has the same operators with and
    # without. A constant would be pushed below the windows.
    return f"{column} > LOCALTIMESTAMP - {interval(history_s + more_s) if history_s else ALWAYS}"


def _bucket_ttl(settings: Settings, column: str, size_s: int) -> TtlRule:
    """A bucket changes until its last event is too late; the outage is on top, as for the dedupe keys."""

    def rule(node: dict[str, Any]) -> int | None:
        matches = "group-aggregate" in node["type"] and f"{column}]" in node["description"].split("select=")[0]
        return size_s * 1_000 + settings.events.dedupe_ttl_ms if matches else None

    return rule


if __name__ == "__main__":
    run(plan)
