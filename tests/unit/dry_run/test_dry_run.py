"""`tidemark dry-run`: what it prints for a catalog and a file of events, worked out by hand."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tidemark.cli.main import main
from udfs.values import plain

CATALOG = """
calendars:
  ny-31st: {anchor: "2024-01-31", interval: P1M, timezone: America/New_York}
tenants:
  acme:
    customers: {alice: {calendar: ny-31st}}
meters:
  calls: {event_types: call, aggregation: count, unit: calls, group_by: [region, http.method]}
  latency: {event_types: call, aggregation: percentile, value: ms, on_missing: skip, unit: ms}
  users: {event_types: call, aggregation: unique, value: user_id, on_missing: skip, unit: users}
  slow: {event_types: call, aggregation: count, filter: {property: ms, gte: 100}, unit: calls}
  disk: {event_types: resize, aggregation: weighted_sum, per: hour, unit: GB-hours}
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, stdout and stderr of a dry run; `stdin` instead of a file when given."""
    # Beside no local stack, whose settings would be read.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIDEMARK_CONFIG", raising=False)

    def dry_run(
        *options: str, lines: Sequence[Any] = (), catalog: str = CATALOG, stdin: bool = False
    ) -> tuple[int, str, str]:
        text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        Path("catalog.yaml").write_text(catalog)
        Path("events.ndjson").write_text(text)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        events = "-" if stdin else "events.ndjson"
        monkeypatch.setattr(
            sys, "argv", ["tidemark", "dry-run", "--catalog", "catalog.yaml", "--events", events, *options]
        )
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return dry_run


def document(run: Run, *options: str, **more: Any) -> dict[str, Any]:
    code, out, _ = run("--json", *options, **more)
    assert code == 0
    return json.loads(out)


def call(event_id: str, at: str = "2024-03-01T04:30:10Z", **fields: Any) -> dict[str, Any]:
    found = {"event_id": event_id, "tenant_id": "acme", "customer_id": "alice", "event_type": "call", "timestamp": at}
    return found | fields


EVENTS = [
    call("1", properties={"region": "eu", "http": {"method": "GET"}, "ms": 12.5}, user_id="u1"),
    call("2", properties={"region": "eu", "http": {"method": "GET"}, "ms": "250"}, user_id="u2"),
    "",
    call("1", properties={"region": "us"}),
    "nonsense",
    call("3", event_type="resize", quantity="1.50"),
]


def usage(found: dict[str, Any], grain: str, meter: str) -> list[dict[str, Any]]:
    return [row for row in found["usage"][grain] if row["meter"] == meter]


def test_the_document_says_where_every_event_went(run: Run) -> None:
    found = document(run, lines=EVENTS)
    assert found["counts"] == {
        "read": 5, "counted": 3, "duplicates": 1, "unmeasured": 0, "rejected": {"malformed_json": 1},
        "partly_rejected": {},
    }  # fmt: skip
    assert found["rejects"] == [
        {
            "line": 5,
            "reason": "malformed_json",
            "detail": "Expecting value at character 0 of 8.",
            "meter": None,
            "partial": False,
        }
    ]
    assert found["voids"] == {"applied": 0, "without_original": [], "with_other_values": [], "unmatched": []}
    assert list(found["usage"]) == ["minute", "hour", "day", "period"]


def test_usage_has_a_row_per_group_and_bucket(run: Run) -> None:
    found = document(run, lines=EVENTS)
    series = {"tenant_id": "acme", "customer_id": "alice"}
    assert usage(found, "minute", "calls") == [
        {
            **series, "meter": "calls", "aggregation": "count", "unit": "calls",
            "dims": {"region": "eu", "http.method": "GET"},
            "start": "2024-03-01T04:30:00Z", "end": "2024-03-01T04:31:00Z", "value": "2", "samples": 2,
        }
    ]  # fmt: skip
    assert [(row["start"], row["end"]) for row in usage(found, "hour", "slow")] == [
        ("2024-03-01T04:00:00Z", "2024-03-01T05:00:00Z")
    ]
    # 04:30Z on 1 March is 23:30 on 29 February in New York: the first day of the period that 31 January makes.
    assert usage(found, "day", "users") == [
        {
            **series, "meter": "users", "aggregation": "unique", "unit": "users", "dims": {},
            "day": "2024-02-29", "value": "2", "samples": 2,
        }
    ]  # fmt: skip
    assert usage(found, "period", "latency") == [
        {
            **series, "meter": "latency", "aggregation": "percentile", "unit": "ms", "dims": {},
            "start": "2024-02-29T05:00:00Z", "end": "2024-03-31T04:00:00Z", "value": "12.5", "samples": 2,
            "percentiles": {"p50": "12.5", "p95": "250", "p99": "250"},
        }
    ]  # fmt: skip
    assert usage(found, "minute", "users") == usage(found, "hour", "disk") == []
    # 29 minutes and 50 seconds of a level of 1.5, in hours.
    (day,) = usage(found, "day", "disk")
    assert (day["value"], day["samples"]) == (str(round(Decimal("1.5") * 1_790 / 3_600, 9)), 1)


def test_grains_can_be_chosen(run: Run) -> None:
    found = document(run, "--grain", "day", "--grain", "minute", lines=EVENTS)
    assert list(found["usage"]) == ["minute", "day"]
    code, _, err = run("--grain", "year", lines=EVENTS)
    assert code == 2
    assert "grain 'year' is not known" in err


def test_standard_input_is_read(run: Run) -> None:
    assert document(run, lines=EVENTS, stdin=True) == document(run, lines=EVENTS)


def test_without_arrival_every_event_is_in_time_and_with_it_the_settings_decide(run: Run) -> None:
    # Grace is 48 hours, and clocks may be 5 minutes ahead.
    old, edge, new = (
        call("1", "2024-02-28T00:00:00Z"),
        call("2", "2024-02-29T12:00:00Z"),
        call("3", "2024-03-02T12:06:00Z"),
    )
    assert document(run, lines=[old, edge, new])["counts"]["counted"] == 3
    found = document(run, "--arrival", "2024-03-02T13:00:00+01:00", lines=[old, edge, new])
    assert [(item["line"], item["reason"]) for item in found["rejects"]] == [(1, "too_late"), (3, "in_future")]
    assert found["counts"]["counted"] == 1
    for wrong in ("noon", "2024-03-02T13:00:00", "beginning"):
        assert run("--arrival", wrong)[0] == 2


def cloud(event_id: str, **fields: Any) -> dict[str, Any]:
    found = {"specversion": "1.0", "id": event_id, "source": "s", "subject": "alice", "type": "call"}
    return found | {"time": "2024-03-01T04:30:10Z"} | fields


def test_cloud_events_without_tenant_belong_to_the_only_one_or_to_the_one_named(run: Run) -> None:
    two = CATALOG.replace("  acme:\n", "  globex:\n  acme:\n")
    assert document(run, lines=[cloud("1")])["usage"]["period"][0]["tenant_id"] == "acme"
    unknown = document(run, lines=[cloud("1")], catalog=two)
    assert unknown["counts"]["rejected"] == {"missing_field": 1}
    named = document(run, "--tenant", "globex", lines=[cloud("1"), cloud("2", tenantid="acme")], catalog=two)
    assert {row["tenant_id"] for row in named["usage"]["period"]} == {"acme", "globex"}
    code, _, err = run("--tenant", "nobody", lines=[cloud("1")])
    assert code == 2
    assert "tenant 'nobody' is not in the catalog" in err


def test_a_cloud_event_without_time_needs_an_arrival(run: Run) -> None:
    event = cloud("1")
    del event["time"]
    assert document(run, lines=[event])["counts"]["rejected"] == {"missing_field": 1}
    found = document(run, "--arrival", "2024-03-02T12:00:00Z", lines=[event])
    assert usage(found, "day", "calls")[0]["day"] == "2024-03-02"


def test_voids_are_reported(run: Run) -> None:
    lines = [
        EVENTS[5],
        call("v1", event_type="resize", quantity="1.5", voids="3"),
        call("v2", event_type="resize", quantity="1.5", voids="3"),
        call("v3", event_type="resize", quantity=2, voids="4"),
        call("4", event_type="resize", quantity=3),
        call("v4", event_type="resize", quantity=3, voids="never"),
    ]
    found = document(run, lines=lines)
    pair = {"tenant_id": "acme", "customer_id": "alice"}
    assert found["voids"] == {
        "applied": 3, "without_original": ["never"], "with_other_values": ["4"], "unmatched": [
            {**pair, "event_id": "v3", "voids": "4", "why": "other_values"},
            {**pair, "event_id": "v4", "voids": "never", "why": "no_original"},
        ],
    }  # fmt: skip
    # 1.5 - 1.5 - 2 + 3 - 3
    assert usage(found, "day", "disk")[0]["value"] == str(round(Decimal(-2) * 1_790 / 3_600, 9))


def test_entries_hold_from_their_valid_from_on(run: Run) -> None:
    later = CATALOG.replace("unit: calls, group_by", 'valid_from: "2024-03-01T00:00:00Z", unit: calls, group_by')
    early, late = call("1", "2024-02-29T23:59:59Z"), call("2", "2024-03-01T00:00:00Z")
    found = document(run, lines=[early, late], catalog=later)
    assert [row["value"] for row in usage(found, "period", "calls")] == ["1"]
    assert [row["value"] for row in usage(document(run, lines=[early, late]), "period", "calls")] == ["2"]


def test_what_no_meter_measures_is_counted_apart(run: Run) -> None:
    only = CATALOG.replace("  calls:", "  unused:").replace(
        "event_types: call, aggregation: count, unit", "event_types: x, aggregation: count, unit"
    )
    found = document(run, lines=[call("1"), call("2", properties={"ms": 7})], catalog=only)
    assert found["counts"]["unmeasured"] == 1
    (row,) = usage(found, "day", "tidemark.unmeasured")
    assert (row["aggregation"], row["unit"], row["value"]) == ("count", "events", "1")


def test_all_faults_of_a_catalog_are_named_and_nothing_is_counted(run: Run) -> None:
    wrong = CATALOG.replace("P1M", "P1Q").replace("unit: ms", "unit: ''").replace("New_York", "Nowhere")
    code, out, err = run("--json", lines=EVENTS, catalog=wrong)
    assert (code, out) == (2, "")
    assert "calendars.ny-31st" in err
    assert "meters.latency.unit" in err


def test_a_file_that_is_not_there_is_named(run: Run) -> None:
    code, _, err = run("--events", "nowhere.ndjson")
    assert code == 2
    assert "nowhere.ndjson cannot be read" in err


def test_the_text_has_usage_counts_and_rejects(run: Run) -> None:
    hostile = call("[red]4", customer_id="[bold]x", event_type="nothing[/]")
    code, out, _ = run("--grain", "day", lines=[*EVENTS, hostile, call("v", voids="gone")])
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert "acme/alice slow 2024-02-29 1 calls" in lines
    assert "acme/alice latency 2024-02-29 p50=12.5 p95=250 p99=250 ms" in lines
    assert "7 events = 4 counted + 1 duplicates + 2 rejected; 0 of the counted have no meter" in lines
    assert "rejected: malformed_json 1" in lines
    assert "voids without their original: 1 (gone)" in lines
    assert any(line.startswith("void v of acme/alice names gone, which is not counted") for line in lines)
    assert any(line.startswith("7 unknown_event_type") for line in lines)
    assert any("nothing[/]" in line for line in lines)


def test_of_many_rejects_the_first_are_listed(run: Run) -> None:
    _, out, _ = run(lines=["x"] * 30)
    assert "10 more: see --json" in out
    assert "rejected: malformed_json 30" in out


@pytest.mark.parametrize(
    ("value", "text"),
    [("1E+3", "1000"), ("0E-9", "0"), ("-0", "0"), ("1.500", "1.5"), ("-0.000000001", "-0.000000001"), ("100", "100")],
)
def test_decimals_are_plain_text(value: str, text: str) -> None:
    assert plain(Decimal(value)) == text


def test_no_engine_is_needed() -> None:
    modules = "tidemark.cli.dry_run, tidemark.dry_run.run"
    code = f"import sys, {modules}; sys.exit(any(name.startswith('pyflink') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[3]).returncode == 0
