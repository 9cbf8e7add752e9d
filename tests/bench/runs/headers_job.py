"""The jobs of the headers benchmark: the payload alone, or with six headers, through a function that does nothing."""

from __future__ import annotations

import argparse

import pandas as pd
from pyflink.table import DataTypes, EnvironmentSettings, TableEnvironment
from pyflink.table.udf import udf

from tidemark.core.settings import load

TOPIC = "bench.headers"
HEADERS = ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_subject", "ce_time")
SOURCE = """
CREATE TEMPORARY TABLE events (
    payload BYTES, headers MAP<STRING NOT NULL, BYTES> METADATA FROM 'headers' VIRTUAL
) WITH (
    'connector' = 'kafka', 'topic' = '{topic}', 'properties.bootstrap.servers' = '{kafka}',
    'properties.group.id' = 'bench-headers', 'scan.startup.mode' = 'earliest-offset',
    'scan.bounded.mode' = 'latest-offset', 'format' = 'raw'
)
"""


def lengths(payload: pd.Series, *_headers: pd.Series) -> pd.Series:
    """Touch nothing but the sizes."""
    return payload.str.len()


def job(variant: str) -> None:
    """Submit one bounded job: `payload` or `headers`."""
    settings = load()
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    env.get_config().set("pipeline.name", f"bench-{variant}")
    env.get_config().set("parallelism.default", "1")
    env.get_config().set("pipeline.object-reuse", "true")
    env.get_config().set("python.fn-execution.arrow.batch.size", "5000")
    env.create_temporary_function("lengths", udf(lengths, result_type=DataTypes.BIGINT(), func_type="pandas"))
    env.execute_sql(SOURCE.format(topic=TOPIC, kafka=settings.kafka.bootstrap))
    env.execute_sql("CREATE TEMPORARY TABLE nowhere (size BIGINT) WITH ('connector' = 'blackhole')")
    extra = "".join(f", CAST(headers['{name}'] AS STRING)" for name in HEADERS) if variant == "headers" else ""
    env.execute_sql(f"INSERT INTO nowhere SELECT lengths(payload{extra}) FROM events")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", choices=("payload", "headers"), required=True)
    job(parser.parse_args().variant)
