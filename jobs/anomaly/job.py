"""Job `anomaly`: committed deltas and dead letters to anomalies, on the topic of alerts and in the table `anomaly`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyflink.common import Types
from pyflink.datastream import StreamExecutionEnvironment
from pyflink.table import EnvironmentSettings, StatementSet, StreamTableEnvironment, Table

from jobs.flink import options
from jobs.flink.bounds import Bounds
from jobs.flink.entry import parse
from jobs.flink.statements import interval, statement
from tidemark.core.settings import Settings
from udfs.anomaly.tuning import Tuning
from udfs.anomaly.zones import zones_of
from udfs.flink_anomaly import ALERT_ROW, DetectAnomalies
from udfs.wire import WATCHED_SERIES

JOB = "anomaly"
INSERTS = ("insert_alerts", "insert_anomaly")
# The state of the detectors is found by this when the job is restored.
DETECTOR_UID = "detect-anomalies"
# Keys of the series that are watched, as SQL.
SERIES = {
    "customer_series": WATCHED_SERIES.packed(kind="'customer'"),
    "meter_series": WATCHED_SERIES.packed(kind="'meter'", customer_id="''"),
    "tenant_series": WATCHED_SERIES.packed(kind="'tenant'", customer_id="''", meter="''"),
}


def configure(env: StreamTableEnvironment, settings: Settings) -> None:
    """Options of the job, beside those of the cluster."""
    own = {
        # Operators of the tables get ids from their place in the plan, so that a savepoint finds them again.
        "table.exec.uid.generation": "ALWAYS",
        # Rows come a minute's worth at a time, and a watermark waits until its bundle is through.
        "python.fn-execution.bundle.time": 200,
        "python.fn-execution.bundle.size": 5_000,
        "python.state.cache-size": settings.anomaly.cached_series,
    }
    parallelism, checkpoint_ms = settings.anomaly.parallelism, settings.anomaly.checkpoint_interval_ms
    options.configure(env, settings, JOB, parallelism=parallelism, checkpoint_ms=checkpoint_ms, own=own)


def declare(env: StreamTableEnvironment, settings: Settings, bounds: Bounds) -> Table:
    """Sources and views up to the minutes of all series, and the sinks."""
    names = settings.names
    # Nothing but the end of its topics may end a bounded run.
    clock = settings.anomaly.clock and not bounds.bounded
    values = {
        "disorder": interval(settings.anomaly.disorder_s),
        "deltas_topic": names.deltas,
        "dlq_topic": names.dlq,
        "alerts_topic": names.alerts,
        "kafka": options.kafka(settings.kafka, JOB),
        "group": names.group(JOB),
        "source_idle_s": settings.flink.source_idle_s,
        "range": bounds.options(),
        # Offsets name places of the deltas; all dead letters there are belong to the run.
        "dlq_range": _of_dead_letters(bounds).options(),
        "clock_rows": statement(JOB, "clock_rows") if clock else "",
        "schema": names.usage_schema,
        "jdbc": options.upserts(settings, JOB, flush_rows=500),
        "exactly_once": options.exactly_once(settings, JOB, f"{names.job(JOB)}-alerts"),
    }
    sources = ("deltas_source", "dead_letters_source", *(["clock_source"] if clock else []))
    for table in (*sources, "alerts_sink", "anomaly_sink"):
        env.execute_sql(statement(JOB, table, **values))
    env.create_temporary_view("happenings", env.sql_query(statement(JOB, "happenings", **values)))
    return env.sql_query(statement(JOB, "minutes", **SERIES))


def _of_dead_letters(bounds: Bounds) -> Bounds:
    return replace(bounds, start="", end="latest" if bounds.bounded else "") if bounds.by_offset else bounds


def build(env: StreamTableEnvironment, settings: Settings, bounds: Bounds) -> StatementSet:
    """The whole job: minutes in SQL, detectors in Python, alerts and rows in SQL."""
    configure(env, settings)
    minutes = declare(env, settings, bounds)
    detect = DetectAnomalies(Tuning(), zones_of(settings.anomaly.zones), settings.flink.state_ttl_days)
    changes = (
        env.to_data_stream(minutes)
        .key_by(lambda row: row[0], key_type=Types.STRING())
        .process(detect, output_type=ALERT_ROW)
        .name("detect anomalies")
        .uid(DETECTOR_UID)
    )
    env.create_temporary_view("changes", env.from_data_stream(changes))
    inserts = env.create_statement_set()
    for name in INSERTS:
        inserts.add_insert_sql(statement(JOB, name))
    return inserts


def environment() -> StreamTableEnvironment:
    """An empty environment in streaming mode."""
    return StreamTableEnvironment.create(
        StreamExecutionEnvironment.get_execution_environment(), EnvironmentSettings.in_streaming_mode()
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Submit the job; the options are those `tidemark submit` passes on."""
    settings, bounds = parse(argv)
    build(environment(), settings, bounds).execute()


if __name__ == "__main__":
    main()
