"""The yardstick of the drain benchmark: the same counting in plain Flink SQL, which drops bad lines unseen.

`format=json`, ROW_NUMBER, TUMBLE, the same exactly-once Kafka sink; no DLQ, no catalog, no calendars, no Redis.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyflink.table import EnvironmentSettings, TableEnvironment

from jobs.flink.options import exactly_once
from jobs.flink.plans import compile_plan, execute_plan
from jobs.flink.statements import interval
from jobs.meter.job import configure
from tidemark.core.settings import load

SOURCE = """
CREATE TEMPORARY TABLE events (
    event_id STRING, tenant_id STRING, customer_id STRING, event_type STRING,
    `timestamp` TIMESTAMP_LTZ(3), quantity DECIMAL(38, 9),
    arrival TIMESTAMP_LTZ(3) METADATA FROM 'timestamp' VIRTUAL, proc_time AS PROCTIME()
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
    'properties.group.id' = '{group}', 'scan.startup.mode' = 'earliest-offset', 'format' = 'json',
    'json.ignore-parse-errors' = 'true', 'json.timestamp-format.standard' = 'ISO-8601'
)
"""
SINK = """
CREATE TEMPORARY TABLE deltas (
    tenant_id STRING, customer_id STRING, event_type STRING, `minute` TIMESTAMP_LTZ(3), n BIGINT, total STRING
) WITH (
    'topic' = '{topic}', 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601', {exactly_once}
)
"""
INSERT = """
INSERT INTO deltas
SELECT tenant_id, customer_id, event_type, `minute`, COUNT(*), CAST(SUM(quantity) AS STRING)
FROM TABLE(TUMBLE(TABLE counted, DESCRIPTOR(proc_time), {tick}))
GROUP BY window_start, window_end, tenant_id, customer_id, event_type, `minute`
"""
COUNTED = """
SELECT tenant_id, customer_id, event_type, FLOOR(`timestamp` TO MINUTE) AS `minute`, quantity, proc_time
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY tenant_id, event_id ORDER BY proc_time ASC) AS occurrence FROM events
    WHERE `timestamp` >= arrival - {grace}
)
WHERE occurrence = 1
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Submit the yardstick job under a run id of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run-id", required=True)
    settings = load(run_id=parser.parse_args(argv).run_id)
    names = settings.names
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    configure(env, settings)
    # The key's life that `meter` gives its dedupe state.
    env.get_config().set("table.exec.state.ttl", f"{settings.events.dedupe_ttl_ms} ms")
    where = {"topic": settings.topics.events, "kafka": settings.kafka.bootstrap, "group": names.group("meter")}
    env.execute_sql(SOURCE.format(**where))
    deltas = exactly_once(settings, "meter", names.transactions("deltas"))
    env.execute_sql(SINK.format(topic=names.deltas, exactly_once=deltas))
    env.create_temporary_view("counted", env.sql_query(COUNTED.format(grace=interval(settings.events.grace_s))))
    execute_plan(env, compile_plan(env, [INSERT.format(tick=interval(settings.meter.tick_ms / 1_000))]))


if __name__ == "__main__":
    main()
