"""Plain Flink SQL to rows: `format=json`, ROW_NUMBER, two GROUP BY with mini-batches, upserts by JDBC."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pyflink.table import EnvironmentSettings, TableEnvironment

from jobs.flink.options import configure, upserts
from jobs.flink.plans import compile_plan, execute_plan
from jobs.flink.statements import interval
from tests.bench.contestants.flink_sql.meter import SOURCE
from tidemark.core.settings import load

FLUSH_ROWS = 5_000
COUNTED = """
SELECT customer_id, event_type, CAST(`timestamp` AS TIMESTAMP(3)) AS happened, quantity
FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY tenant_id, event_id ORDER BY proc_time ASC) AS occurrence FROM events
    WHERE `timestamp` >= arrival - {grace}
)
WHERE occurrence = 1
"""
SINK = """
CREATE TEMPORARY TABLE {grain}_rows (
    customer STRING, meter STRING, bucket TIMESTAMP(3), n BIGINT, total DECIMAL(38, 9),
    PRIMARY KEY (customer, meter, bucket) NOT ENFORCED
) WITH ('table-name' = '{schema}.{grain}', {upserts})
"""
BUCKETS = {
    "minute": "FLOOR(happened TO MINUTE)",
    "period": "FLOOR(happened TO MONTH)",
}
INSERT = """
INSERT INTO {grain}_rows
SELECT customer_id, event_type, bucket, COUNT(*), SUM(quantity)
FROM (SELECT customer_id, event_type, {bucket} AS bucket, quantity FROM counted)
GROUP BY customer_id, event_type, bucket
"""


def main(argv: Sequence[str] | None = None) -> None:
    """Submit the job under a run id of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run-id", required=True)
    parser.add_argument("--schema", required=True)
    asked = parser.parse_args(argv)
    settings = load(run_id=asked.run_id)
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    own = {
        "table.exec.mini-batch.enabled": "true", "table.exec.mini-batch.allow-latency": "1 s",
        "table.exec.mini-batch.size": "50000",
    }  # fmt: skip
    checkpoint_ms = settings.rollup.checkpoint_interval_ms
    # As the yardstick of `meter`, it has the job name that the settings of its run give.
    configure(env, settings, "meter", parallelism=1, checkpoint_ms=checkpoint_ms, own=own)
    env.get_config().set("table.exec.state.ttl", f"{settings.events.dedupe_ttl_ms} ms")
    where = {"topic": settings.topics.events, "kafka": settings.kafka.bootstrap, "group": settings.names.group("rows")}
    env.execute_sql(SOURCE.format(**where))
    sink = upserts(settings, "meter", flush_rows=FLUSH_ROWS)
    for grain in BUCKETS:
        env.execute_sql(SINK.format(grain=grain, schema=asked.schema, upserts=sink))
    counted = COUNTED.format(grace=interval(settings.events.grace_s))
    env.create_temporary_view("counted", env.sql_query(counted))
    inserts = [INSERT.format(grain=grain, bucket=bucket) for grain, bucket in BUCKETS.items()]
    execute_plan(env, compile_plan(env, inserts))


if __name__ == "__main__":
    main()
