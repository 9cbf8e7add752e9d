"""Job `meter`: events to exactly-once deltas, dead letters, live counters and alerts (docs/architecture.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyflink.table import TableEnvironment

from jobs.flink import options
from jobs.flink.bounds import Bounds
from jobs.flink.entry import run
from jobs.flink.plans import compile_plan, with_ttls
from jobs.flink.statements import interval, statement
from tidemark.core.policy import policy_of
from tidemark.core.settings import Settings
from udfs.flink import BatchOptions, CatalogOptions, DecodeEvents, PublishLive, decode_events, publish_live
from udfs.live.publisher import LiveSettings
from udfs.values import MAX_RFC3339_MS, MIN_RFC3339_MS
from udfs.wire import CANDIDATE, HEADS, LIVE_CHANGE, MEASUREMENT, PARTIAL_REJECTS, SERIES, rows

SINKS = ("dlq", "deltas", "alerts")
VIEWS = (
    "decoded", "first_seen", "dead_letters", "measurements", "live_measurements", "backlog_measurements",
    "live_ticks", "backlog_ticks", "ticks", "deltas", "first_values", "counted", "backlog_changes", "live_changes",
    "period_totals", "alert_candidates", "alert_statuses", "alert_news",
)  # fmt: skip
# Views of lanes: the statement that they share, and its values.
LANES = {
    "live_measurements": ("lane_measurements", {"lane": "NOT backlog"}),
    "backlog_measurements": ("lane_measurements", {"lane": "backlog"}),
    "live_ticks": ("lane_ticks", {"lane": "live_measurements", "lane_tick": "tick"}),
    "backlog_ticks": ("lane_ticks", {"lane": "backlog_measurements", "lane_tick": "backlog_tick"}),
}


# What the views say of packed columns, from their layouts.
LAYOUTS = {
    "measurement_rows": MEASUREMENT.rows("measurements"),
    "measurement_columns": MEASUREMENT.columns("measurement"),
    "measurement_samples": MEASUREMENT.column("samples", "measurement"),
    "series_columns": SERIES.columns("series"),
    "partial_heads": rows(PARTIAL_REJECTS.column("heads", "partial_rejects"), HEADS),
    "partial_common": PARTIAL_REJECTS.column("common", "partial_rejects"),
    "live_change": LIVE_CHANGE.packed(),
    "candidate_rows": CANDIDATE.rows("candidates"),
    "candidate_columns": CANDIDATE.columns("candidate"),
}


def configure(env: TableEnvironment, settings: Settings, name: str = "meter") -> None:
    """Options of the job, beside those of the cluster; `name` is another one where it is not `meter` itself."""
    own = {
        "python.fn-execution.bundle.time": settings.meter.bundle_ms,
        # Several batches a bundle: the source goes on while Python works, and waits for it less often.
        "python.fn-execution.bundle.size": settings.meter.bundle_size,
        "python.fn-execution.arrow.batch.size": settings.meter.batch_size,
        "execution.buffer-timeout.interval": f"{settings.meter.buffer_timeout_ms} ms",
    }
    parallelism, checkpoint_ms = settings.meter.parallelism, settings.meter.checkpoint_interval_ms
    options.configure(env, settings, name, parallelism=parallelism, checkpoint_ms=checkpoint_ms, own=own)


def source_topics(settings: Settings, bounds: Bounds) -> str:
    """The topics that are read, with `;` between them: offsets name places of one topic, so only one has them."""
    topics = (settings.topics.events,) if bounds.by_offset else (settings.topics.events, settings.topics.redrive)
    return ";".join(topics)


def declare(env: TableEnvironment, settings: Settings, bounds: Bounds) -> None:
    """Functions, sources, views and sinks, in the order the data flows."""
    declare_functions(env, settings, bounds)
    values = template_values(settings, bounds)
    env.execute_sql(statement("meter", "raw_events", **values))
    if not bounds.bounded:
        group = settings.names.group("meter-reevaluations")
        env.execute_sql(statement("meter", "reevaluations", **{**values, "group": group}))
    declare_views(env, values)
    declare_sinks(env, settings)


def declare_functions(env: TableEnvironment, settings: Settings, bounds: Bounds) -> None:
    """What runs in Python."""
    redis_url, password_file = settings.redis.of_meter
    live = LiveSettings(
        redis_url=redis_url,
        prefix=settings.names.redis_prefix,
        grace_ms=settings.events.grace_s * 1_000,
        timeout_ms=settings.redis.timeout_ms,
        retry_ms=settings.redis.retry_ms,
        password_file=str(password_file or ""),
    )
    catalog = CatalogOptions(
        settings.postgres.writer.url,
        settings.catalog.refresh_s,
        settings.catalog.max_age_s,
        settings.catalog.customer_cache_size,
        settings.catalog.schema_name,
        settings.meter.limits_wait_ms,
    )
    decoder = DecodeEvents(policy_of(settings), catalog, batches(settings, bounds))
    env.create_temporary_function("decode_events", decode_events(decoder))
    env.create_temporary_function("publish_live", publish_live(PublishLive(live, catalog)))


def template_values(settings: Settings, bounds: Bounds) -> dict[str, Any]:
    """What the statements of sources and views are filled in with."""
    return {
        "events_topic": settings.topics.events,
        "redrive_topic": settings.topics.redrive,
        "source_topics": source_topics(settings, bounds),
        "kafka": options.kafka(settings.kafka, "meter"),
        "group": settings.names.group("meter"),
        "range": bounds.options(),
        "bounded_disorder": interval(settings.meter.bounded_disorder_s),
        **ticks(settings, bounds),
        "reevaluations_topic": settings.names.reevaluations,
        "reevaluation_rows": "" if bounds.bounded else reevaluation_rows(settings),
        **LAYOUTS,
    }


def declare_views(env: TableEnvironment, values: Mapping[str, Any]) -> None:
    """Everything between the sources and the sinks.

    A view made of a Table is one object to the planner, so what two sinks share is planned once; a view made by CREATE
    VIEW is expanded anew for each sink.
    """
    for view in VIEWS:
        env.create_temporary_view(view, env.sql_query(view_statement(view, **values)))


def declare_sinks(env: TableEnvironment, settings: Settings) -> None:
    """The three topics that are written."""
    names = settings.names
    topics = {"dlq": names.dlq, "deltas": names.deltas, "alerts": names.alerts}
    for sink in SINKS:
        exactly_once = options.exactly_once(settings, "meter", names.transactions(sink))
        env.execute_sql(statement("meter", f"{sink}_sink", topic=topics[sink], exactly_once=exactly_once))


def inserts(settings: Settings, into: str = "") -> list[str]:
    """The statements of the job, into its sinks; `into` is put before their names."""
    topics = {"events_topic": settings.topics.events, "redrive_topic": settings.topics.redrive}
    return [statement("meter", f"insert_{sink}", into=into, **topics) for sink in SINKS]


def batches(settings: Settings, bounds: Bounds) -> BatchOptions:
    """How workers treat batches. A bounded run ticks on arrival time, so none of its events is a backlog's."""
    return BatchOptions(
        events_per_s=settings.replay.events_per_s / settings.meter.parallelism,
        backlog_after_ms=None if bounds.bounded else settings.meter.backlog_after_ms,
    )


def ticks(settings: Settings, bounds: Bounds) -> dict[str, str]:
    """What the windows tick on, and how often."""
    if bounds.bounded:
        # A processing-time window is not fired at the end of its input.
        tick = interval(settings.meter.bounded_tick_s)
        return {"tick_on": "arrival", "tick": tick, "backlog_tick": tick}
    live_s, backlog_s = settings.meter.tick_ms / 1_000, settings.meter.backlog_tick_ms / 1_000
    return {"tick_on": "proc_time", "tick": interval(live_s), "backlog_tick": interval(backlog_s)}


def view_statement(view: str, **values: Any) -> str:
    """The statement of a view; those of lanes share theirs."""
    if view not in LANES:
        return statement("meter", view, **values)
    name, own = LANES[view]
    tick = {"lane_tick": values[own["lane_tick"]]} if "lane_tick" in own else {}
    return statement("meter", name, **{**values, **own, **tick})


def reevaluation_rows(settings: Settings) -> str:
    """The part of the view `live_changes` that a live run alone has: valid requests, as changes that add nothing."""
    future_ms = settings.events.future_tolerance_s * 1_000
    bounds = {"min_ms": MIN_RFC3339_MS, "max_ms": MAX_RFC3339_MS}
    return statement("meter", "reevaluation_rows", future_tolerance_ms=future_ms, **bounds)


def plan(env: TableEnvironment, settings: Settings, bounds: Bounds) -> dict[str, Any]:
    """The whole job as a compiled plan."""
    configure(env, settings)
    declare(env, settings, bounds)
    compiled = compile_plan(env, inserts(settings))

    def dedupe(node: dict[str, Any]) -> int | None:
        # The other one keeps the values of unique meters, which live as long as the totals of their period.
        is_of_events = "deduplicate" in node["type"] and "key=[tenant_id" not in node["description"]
        return settings.events.dedupe_ttl_ms if is_of_events else None

    return with_ttls(compiled, [dedupe])


if __name__ == "__main__":
    run(plan)
