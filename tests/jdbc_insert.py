"""`python -m tests.jdbc_insert URL TABLE`: a row by the sink of the jobs, in a mini-cluster; 1 where it is refused."""

from __future__ import annotations

import sys

from pyflink.table import EnvironmentSettings, TableEnvironment

from jobs.flink.options import upserts
from tidemark.core.settings import Settings


def insert(url: str, table: str) -> None:
    """One row into a table with the columns k and v."""
    env = TableEnvironment.create(EnvironmentSettings.in_batch_mode())
    options = upserts(Settings(postgres={"url": url, "writer_url": url}), "rollup", flush_rows=1)
    env.execute_sql(
        "CREATE TABLE sink (k STRING, v BIGINT, PRIMARY KEY (k) NOT ENFORCED) WITH ("
        f"{options}, 'table-name' = '{table}')"
    )
    env.execute_sql("INSERT INTO sink VALUES ('by the sink', 1)").wait()


if __name__ == "__main__":
    try:
        insert(*sys.argv[1:])
    except Exception as error:  # noqa: BLE001 - whatever Flink raises: its causes are what is asked for
        sys.exit(str(error))
