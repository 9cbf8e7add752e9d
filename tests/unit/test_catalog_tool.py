"""Catalog file: read as written, every fault at once with its path; rows compared with the stored versions."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from jobs.catalog_file import CatalogFile, Fault, Row, check, fail, read, rows
from jobs.catalog_tool import TABLES, plan
from jobs.errors import UsageError

GOOD = files("schemas").joinpath("catalog", "example.yaml").read_text("utf-8")


def parsed(tmp_path: Path, text: str) -> CatalogFile:
    path = tmp_path / "catalog.yaml"
    path.write_text(text, "utf-8")
    return read(path)


def faults_of(tmp_path: Path, text: str, *known: str) -> dict[str, str]:
    faults = check(parsed(tmp_path, text), known_calendars=known, longest_period_days=400)
    return {fault.path: fault.message for fault in faults}


def test_the_example_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(tmp_path, GOOD) == {}


def test_the_example_becomes_rows(tmp_path: Path) -> None:
    found = rows(parsed(tmp_path, GOOD))
    assert found["tenant"] == [Row(("acme",), ("utc-month",))]
    assert found["customer"] == [Row(("acme", "alice"), ("new-york-31st",)), Row(("acme", "bob"), (None,))]
    assert found["meter"] == [
        Row((None, "tokens"), (["completion"], "sum", "quantity", ["model"], "tokens", False)),
        Row(("acme", "seats"), (["seat_added"], "count", "quantity", [], "seats", False)),
    ]
    for table, (keys, values) in TABLES.items():
        assert {(len(row.key), len(row.values)) for row in found[table]} == {(len(keys), len(values))}


def test_all_faults_are_told_at_once_with_their_path(tmp_path: Path) -> None:
    text = """
    calendars:
      bad: {anchor: 2013-02-30, interval: P1M, timezone: UTC}
      nowhere: {anchor: 2013-01-01, interval: P1M, timezone: Mars/Olympus}
      fortnight: {anchor: 2013-01-01, interval: two weeks, timezone: UTC}
      long: {anchor: 2013-01-01, interval: P2Y, timezone: UTC}
      half: {anchor: 2013-01-01}
    tenants:
      acme: {calendar: none, customers: {alice: {calendar: gone}}, metres: {}}
    meters:
      tokens: {event_types: [], aggregation: average, unit: tokens}
    """
    found = faults_of(tmp_path, text)
    assert "2013-02-30" in found["calendars.bad"]
    assert "Mars/Olympus" in found["calendars.nowhere"]
    assert "two weeks" in found["calendars.fortnight"]
    assert "732 days" in found["calendars.long.interval"]
    assert "required" in found["calendars.half"]
    assert "'none'" in found["tenants.acme.calendar"]
    assert "'gone'" in found["tenants.acme.customers.alice.calendar"]
    assert "metres" in found["tenants.acme"]
    assert "average" in found["meters.tokens.aggregation"]
    assert "non-empty" in found["meters.tokens.event_types"]


def test_a_calendar_of_an_earlier_file_may_be_named(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "tenants: {acme: {calendar: earlier}}", "earlier") == {}


def test_a_key_given_twice_is_a_fault_with_its_line(tmp_path: Path) -> None:
    found = faults_of(tmp_path, "tenants:\n  acme: {}\n  acme: {}\n")
    assert found == {"line 3": "the key 'acme' is given twice."}


@pytest.mark.parametrize("name", ["007", "NO", "1e3", "2013-01-01", "null", "true"])
def test_an_identifier_stays_as_it_is_written(tmp_path: Path, name: str) -> None:
    file = parsed(tmp_path, f"tenants: {{acme: {{customers: {{{name}: {{}}}}}}}}")
    assert rows(file)["customer"] == [Row(("acme", name), (None,))]


@pytest.mark.parametrize("text", ["", "[]", "tenants: 5", "tenants: {acme: 5}", "calendars: {a: []}", "- x"])
def test_another_shape_is_a_fault_and_not_an_exception(tmp_path: Path, text: str) -> None:
    assert faults_of(tmp_path, text)


def test_an_identifier_is_limited_in_bytes(tmp_path: Path) -> None:
    assert "258 bytes" in next(iter(faults_of(tmp_path, f"tenants: {{{'ü' * 129}: {{}}}}").values()))


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe\x00", b"a: &x [*x]\nb: !!python/object:os.system {}"])
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="broken"):
        read(path)


def test_faults_are_raised_with_their_number_and_paths() -> None:
    with pytest.raises(UsageError, match=r"2 fault\(s\)") as raised:
        fail(Path("c.yaml"), [Fault("a.b", "wrong."), Fault("c", "missing.")])
    assert "a.b: wrong." in str(raised.value)


def test_a_plan_adds_what_is_new_and_changes_what_differs() -> None:
    stored = {("a",): ("P1M",), ("b",): ("P1M",), ("kept",): ("P1Y",)}
    step = plan(stored, [Row(("a",), ("P1M",)), Row(("b",), ("P3M",)), Row(("c",), ("P1D",))])
    assert step.added == (Row(("c",), ("P1D",)),)
    assert step.changed == (Row(("b",), ("P3M",)),)
    assert step.unchanged == 1
