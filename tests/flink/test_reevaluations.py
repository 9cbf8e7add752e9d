"""Requests for reevaluations on a mini-cluster: what is not an id or an instant never meets the packed columns."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pyflink.table import TableEnvironment

from jobs.flink.statements import statement
from jobs.meter.job import LAYOUTS, reevaluation_rows
from tidemark.core.settings import Settings

JAN, FEB = 1_356_998_400_000, 1_359_676_800_000
REQUEST = {
    "tenant_id": "acme", "customer_id": "c-7", "meter": "calls", "period_start_ms": JAN, "period_end_ms": FEB,
    "at_ms": JAN + 1,
}  # fmt: skip
# The rest of a row with a total of 10^18 and n = 2^52, behind the customer.
FORGED = f"c-7\x1fcalls\x1f{JAN}\x1f{FEB}\x1f{2**52}\x1f1\x1f{10**18}\x1f{10**18}\x1f{JAN}\x1f\x1f1\x1f1\x1f"
COUNTED = """CREATE TEMPORARY TABLE {name} (
    tenant_id STRING, customer_id STRING, meter STRING, period_start_ms BIGINT, period_end_ms BIGINT, n BIGINT,
    samples BIGINT, total DECIMAL(38, 9), lo DECIMAL(38, 9), hi DECIMAL(38, 9), latest STRING, dims STRING,
    at_ms BIGINT, backlog BOOLEAN, tick_time AS PROCTIME()
) WITH ('connector' = 'filesystem', 'path' = 'file://{path}', 'format' = 'json')"""
REQUESTS = """CREATE TEMPORARY TABLE reevaluations (
    tenant_id STRING, customer_id STRING, meter STRING, period_start_ms BIGINT, period_end_ms BIGINT, at_ms BIGINT,
    tick_time AS PROCTIME()
) WITH ('connector' = 'filesystem', 'path' = 'file://{path}', 'format' = 'json', 'json.ignore-parse-errors' = 'true')"""


def passed(env: TableEnvironment, folder: Path, requests: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    """Tenant, customer and meter of the live changes that requests make."""
    env.get_config().set("parallelism.default", "1")
    counted, file = folder / "counted.json", folder / "requests.json"
    counted.write_text("")
    file.write_text("".join(json.dumps(request) + "\n" for request in requests))
    for name in ("counted", "backlog_changes"):
        env.execute_sql(COUNTED.format(name=name, path=counted))
    env.execute_sql(REQUESTS.format(path=file))
    changes = statement("meter", "live_changes", reevaluation_rows=reevaluation_rows(Settings()), **LAYOUTS)
    env.create_temporary_view("live_changes", env.sql_query(changes))
    with env.execute_sql("SELECT tenant_id, customer_id, meter FROM live_changes").collect() as rows:
        return [tuple(row) for row in rows]  # type: ignore[misc]


@pytest.fixture
def now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_requests_that_are_not_valid_are_left_out(env: TableEnvironment, tmp_path: Path, now_ms: int) -> None:
    good = [REQUEST, REQUEST | {"tenant_id": "", "customer_id": "", "meter": "tidemark.heartbeat", "at_ms": now_ms}]
    bad = [
        *(REQUEST | {name: FORGED} for name in ("tenant_id", "customer_id", "meter")),
        *(REQUEST | {"customer_id": f"a{character}"} for character in "\x00\x1c\x1d\x1e\x1f\n\x7f"),
        *({name: value for name, value in REQUEST.items() if name != missing} for missing in REQUEST),
        REQUEST | {"at_ms": 9 * 10**18},
        REQUEST | {"at_ms": now_ms + 86_400_000},
        REQUEST | {"at_ms": -(10**15)},
        REQUEST | {"period_end_ms": 9 * 10**18},
        REQUEST | {"period_start_ms": FEB},
        {"at_ms": "x"},
    ]
    found = passed(env, tmp_path, [*bad, *good])
    assert sorted(found) == [("", "", "tidemark.heartbeat"), ("acme", "c-7", "calls")]
