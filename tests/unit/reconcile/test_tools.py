"""The tools of reconciliation without services: catalog for the oracle, whose events are read, files, alert."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import schemas
from tidemark.core.errors import UsageError
from tidemark.reconcile.files import Column, count, decimal, hour, instant, read_rows, text
from udfs.alerts import pipeline as alerts
from udfs.alerts.event import Status, to_json

ROOT = Path(__file__).parents[3]

COLUMNS = {"id": Column(text), "at": Column(instant, required=False), "value": Column(decimal, required=False)}


@pytest.mark.parametrize("name", ["rows.csv", "rows.ndjson"])
def test_rows_are_read_from_csv_and_json_lines_alike(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(
        "id,at,value,other\na,2024-03-01T01:00:00+01:00,1.50,x\nb,,,\n"
        if name.endswith("csv")
        else '{"id": "a", "at": "2024-03-01T01:00:00+01:00", "value": 1.50, "other": 1}\n\n{"id": "b"}\n'
    )
    (one, other) = read_rows(file, COLUMNS)
    assert (one["id"], one["at"].isoformat(), str(one["value"])) == ("a", "2024-03-01T00:00:00+00:00", "1.50")
    assert other == {"id": "b", "at": None, "value": None}


@pytest.mark.parametrize(
    ("read", "wrong"),
    [
        (instant, "2024-03-01T00:00:00"),
        (instant, "yesterday"),
        (hour, "2024-03-01T00:00:01Z"),
        (decimal, "NaN"),
        (decimal, "1e30"),
        (decimal, "0.0000000001"),
        (decimal, "1,5"),
        (count, "-1"),
        (count, "1.5"),
    ],
)
def test_a_cell_that_says_nothing_exact_is_refused(tmp_path: Path, read: Any, wrong: str) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_text(json.dumps({"cell": wrong}))
    with pytest.raises(UsageError, match=r"line 1: cell: "):
        read_rows(file, {"cell": Column(read)})


@pytest.mark.parametrize("line", ["[1]", "{", "1"])
def test_a_line_that_is_no_json_object_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "rows.ndjson"
    file.write_text(line)
    with pytest.raises(UsageError, match=r"line 1 is not (a )?JSON"):
        read_rows(file, COLUMNS)


@pytest.mark.parametrize("status", ["firing", "resolved"])
def test_the_alert_fits_the_schema_and_names_a_runbook_that_exists(status: Status) -> None:
    evidence = {"open": 3, "by_check": {"live": 3}} if status == "firing" else {"open": 0}
    alert = alerts.reconcile(status, evidence=evidence, at_ms=1_357_035_420_123, event_id="one")
    document = json.loads(to_json(alert))
    validator = Draft202012Validator(schemas.topic_schema("usage.alerts"))
    assert [error.message for error in validator.iter_errors(document)] == []
    path, _, anchor = alert.runbook.partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / path).read_text(), re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}
