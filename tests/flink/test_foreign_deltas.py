"""Foreign records in the topic of deltas, on a mini-cluster: the views let deltas through and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pyflink.table import TableEnvironment

from jobs.anomaly import job as anomaly
from jobs.flink.bounds import Bounds
from jobs.flink.statements import statement
from jobs.rollup import job as rollup
from tests.flink.environment import new_environment
from tests.unit.fuzz.records import corpus, good
from tidemark.core.settings import Settings

GOOD = good("usage.deltas")
DELTA = GOOD[0]
COLUMNS = """tenant_id STRING, customer_id STRING, meter STRING, dims STRING, part STRING, `minute` TIMESTAMP_LTZ(3),
    `day` STRING, period_start TIMESTAMP_LTZ(3), period_end TIMESTAMP_LTZ(3), n BIGINT, samples BIGINT,
    total DECIMAL(38, 9), lo DECIMAL(38, 9), hi DECIMAL(38, 9), latest STRING"""
FOREIGN: list[dict[str, Any]] = [
    *(DELTA | {name: None} for name in DELTA if name not in {"lo", "hi", "latest", "events"} and "source" not in name
      and "offset" not in name),
    *(DELTA | {name: f"a{odd}b"} for name in ("tenant_id", "customer_id", "meter") for odd in "\0\x1c\x1f\n\x7f"),
    *(DELTA | {name: "a\0"} for name in ("dims", "part", "latest")),
    *(DELTA | {name: "ü" * 3_000} for name in ("tenant_id", "dims")),
    DELTA | {"minute": "2013-01-01T10:17:01Z"}, DELTA | {"minute": "0001-01-01T10:17:00Z"}, DELTA | {"minute": "soon"},
    DELTA | {"minute": "9999-01-01T10:17:00Z"}, DELTA | {"day": "x"}, DELTA | {"day": "9999-12-31"},
    DELTA | {"period_end": DELTA["period_start"]}, DELTA | {"period_start": "2013-01-01T00:00:00.5Z"},
    DELTA | {"n": 0}, DELTA | {"n": -1}, DELTA | {"n": 2**62}, DELTA | {"n": 2**64}, DELTA | {"samples": 2**62},
    DELTA | {"n": [1]}, DELTA | {"total": "x"}, DELTA | {"total": "9" * 29}, DELTA | {"total": "1e40"},
    DELTA | {"lo": "2", "hi": "1"}, DELTA | {"lo": None}, DELTA | {"hi": "9" * 40},
]  # fmt: skip


def test_what_is_no_delta_reaches_no_total(env: TableEnvironment, tmp_path: Path) -> None:
    env.get_config().set("parallelism.default", "1")
    lines = [*(json.dumps(one).encode() for one in (*FOREIGN, *GOOD)), *corpus()]
    (file := tmp_path / "deltas.json").write_bytes(b"".join(line + b"\n" for line in lines))
    env.execute_sql(
        f"""CREATE TEMPORARY TABLE deltas_for_totals ({COLUMNS}) WITH (
            'connector' = 'filesystem', 'path' = 'file://{file}', 'format' = 'json',
            'json.timestamp-format.standard' = 'ISO-8601', 'json.ignore-parse-errors' = 'true')"""
    )
    changes = statement("rollup", "changes", valid=statement("flink", "valid_delta"))
    with env.execute_sql(f"SELECT meter, part, dims FROM ({changes})").collect() as rows:
        found = sorted(tuple(row) for row in rows)
    assert found == sorted((one["meter"], one["part"], one["dims"]) for one in GOOD)


@pytest.mark.parametrize("name", ["rollup", "anomaly"])
def test_what_is_not_json_ends_no_job_that_reads_an_internal_topic(name: str) -> None:
    settings = Settings()
    if name == "rollup":
        env = new_environment()
        rollup.declare(env, settings, Bounds())
        sources = ["deltas_for_totals", "deltas_for_sliding"]
    else:
        made = anomaly.environment()
        anomaly.declare(made, settings, Bounds())
        env, sources = made, ["deltas", "dead_letters"]
    for source in sources:
        declared = env.execute_sql(f"SHOW CREATE TABLE {source}")
        with declared.collect() as rows:
            assert "'json.ignore-parse-errors' = 'true'" in next(rows)[0]
