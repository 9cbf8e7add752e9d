"""Dead letters on a mini-cluster: whole ones each, partial ones of the first of all copies, a record for each meter."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from pyflink.table import TableEnvironment

from jobs.flink.statements import statement
from jobs.meter.job import LAYOUTS
from tests.unit.strategies import decoded, decoder, meters_of, raw_event
from udfs.events.dead_letter import DlqRecord, from_json
from udfs.meters.meter import Meter

RAWS = [raw_event(), raw_event(), b"{", raw_event(event_id='e"2', properties={"a": 1}), raw_event(event_id="e-3")]


def written(env: TableEnvironment, file: Path) -> list[DlqRecord]:
    """What the views make of the decoded rows, as records of the topic."""
    env.get_config().set("parallelism.default", "1")
    env.execute_sql(
        f"""CREATE TEMPORARY TABLE decoded (
            decoded_event ROW<dedupe_key BYTES, measurements STRING, backlog BOOLEAN, reject STRING>,
            source_partition INT, source_offset BIGINT, arrival TIMESTAMP_LTZ(3), proc_time AS PROCTIME()
        ) WITH ('connector' = 'filesystem', 'path' = 'file://{file}', 'format' = 'json')"""
    )
    for name in ("first_seen", "dead_letters"):
        env.create_temporary_view(name, env.sql_query(statement("meter", name, **LAYOUTS)))
    with env.from_path("dead_letters").execute().collect() as rows:
        return [from_json(row[0]) for row in rows]


def test_partial_dead_letters_are_written_once_beside_the_whole_ones(env: TableEnvironment, tmp_path: Path) -> None:
    meters = (Meter("count", ("call",), "count"), *(Meter(name, ("call",), "sum", value=name) for name in "ab"))
    batch = decoded(RAWS, by=decoder(meters_of(*meters)))
    rows = zip(batch.keys, batch.measurements, batch.rejects, strict=True)
    lines = [
        {
            "decoded_event": {
                "dedupe_key": key and base64.b64encode(key).decode(), "measurements": text,
                "backlog": False, "reject": reject,
            },
            "source_partition": 3, "source_offset": 100 + offset,
        }
        for offset, (key, text, reject) in enumerate(rows)
    ]  # fmt: skip
    file = tmp_path / "decoded.json"
    file.write_text("\n".join(map(json.dumps, lines)))

    result = written(env, file)

    assert sorted((item.offset, item.meter or "", item.reason, item.partial) for item in result) == [
        (100, "a", "missing_value", True), (100, "b", "missing_value", True), (102, "", "truncated_json", False),
        (103, "b", "missing_value", True), (104, "a", "missing_value", True), (104, "b", "missing_value", True),
    ]  # fmt: skip
    assert all(item.raw == RAWS[item.offset - 100] for item in result)
