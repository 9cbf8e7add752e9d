"""Catalog file: read as written, every fault at once with its path, rows with the begin they ask for."""

from __future__ import annotations

import json
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from tests.stream_catalog import CATALOG
from tidemark.catalog.check import check
from tidemark.catalog.file import TABLES, CatalogFile, Row, default_valid_from, fail, in_memory, read, rows
from tidemark.catalog.text import Fault
from tidemark.core.errors import UsageError
from udfs.catalog.model import CalendarDef, Customer, Tenant, canonical_filter, stored_filter
from udfs.meters.filters import filter_of
from udfs.meters.meter import BEGINNING_MS, Meter

GOOD = files("schemas").joinpath("catalog", "example.yaml").read_text("utf-8")
MARCH_MS = 1_772_323_200_000  # 2026-03-01T00:00:00Z


def parsed(tmp_path: Path, text: str) -> CatalogFile:
    path = tmp_path / "catalog.yaml"
    path.write_text(text, "utf-8")
    return read(path)


def faults_of(tmp_path: Path, text: str, *known: str) -> dict[str, str]:
    faults = check(parsed(tmp_path, text), known_calendars=known, longest_period_days=400)
    return {fault.path: fault.message for fault in faults}


def meter_faults(tmp_path: Path, **parts: object) -> dict[str, str]:
    meter = {"event_types": "e", "aggregation": "sum", "unit": "u", **parts}
    return faults_of(tmp_path, json.dumps({"meters": {"m": meter}}))


def test_the_example_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(tmp_path, GOOD) == {}


def test_the_catalog_of_the_seeded_stream_has_no_faults(tmp_path: Path) -> None:
    assert faults_of(tmp_path, yaml.safe_dump(CATALOG)) == {}


def test_the_example_becomes_rows(tmp_path: Path) -> None:
    found = rows(parsed(tmp_path, GOOD))
    assert found["tenant"] == [Row(("acme",), ("utc-month", None))]
    assert found["customer"] == [
        Row(("acme", "alice"), ("new-york-31st", "pro", "0.25")),
        Row(("acme", "bob"), (None, "free", None)),
        Row(("acme", "carol"), (None, None, None)),
    ]
    assert found["calendar"][0] == Row(("utc-month",), (None, "P1M", "Etc/UTC", ()))
    assert found["calendar"][2].values[3] == ("2013-02-03", "2013-03-03", "2013-03-31", "2013-05-05")
    assert found["meter"][0] == Row(
        (None, "tokens"),
        (("completion", "embedding"), "sum", "quantity", ("model",), "tokens", False, "", "reject", "hour", "rounded"),
    )
    for table, (keys, values) in TABLES.items():
        assert {(len(row.key), len(row.values)) for row in found[table]} == {(len(keys), len(values))}


def test_a_file_alone_is_a_catalog(tmp_path: Path) -> None:
    text = """
    valid_from: "2026-03-01T00:00:00Z"
    calendars: {c: {interval: P1M, timezone: UTC, valid_from: beginning}}
    tenants: {t: {calendar: c, customers: {a: }}}
    meters: {m: {event_types: e, aggregation: sum, unit: u, filter: {property: p, gt: 1.50}}}
    """
    source = in_memory(parsed(tmp_path, text))
    assert source.calendars == [CalendarDef("c", None, "P1M", "UTC")]
    assert source.tenants == [Tenant("t", "c", MARCH_MS)]
    assert source.customer_versions == [Customer("t", "a", None, MARCH_MS)]
    found = '{"gt":1.5,"property":"p"}'
    assert source.meters == [
        Meter(meter="m", event_types=("e",), aggregation="sum", unit="u", filter=found, valid_from_ms=MARCH_MS)
    ]


def test_all_faults_are_reported_at_once_with_their_path(tmp_path: Path) -> None:
    text = """
    calendars:
      bad: {anchor: 2013-02-30, interval: P1M, timezone: UTC}
      nowhere: {anchor: 2013-01-01, interval: P1M, timezone: Mars/Olympus}
      fortnight: {anchor: 2013-01-01, interval: two weeks, timezone: UTC}
      long: {anchor: 2013-01-01, interval: P2Y, timezone: UTC}
      half: {interval: P1M}
      neither: {timezone: UTC}
      back: {boundaries: ["2026-02-01", "2026-01-01"], timezone: UTC}
      both: {boundaries: ["2026-02-01", "2026-03-01"], interval: P1M, timezone: UTC}
      single: {boundaries: ["2026-02-01"], timezone: UTC}
      far: {boundaries: ["2026-02-01", "2028-02-01"], timezone: UTC}
    tenants:
      acme: {calendar: none, customers: {alice: {calendar: gone}}, metres: {}}
    meters:
      tokens: {event_types: [], aggregation: average, unit: tokens}
      tidemark.x: {event_types: e, aggregation: count, unit: u}
    """
    found = faults_of(tmp_path, text)
    assert "2013-02-30" in found["calendars.bad"]
    assert "Mars/Olympus" in found["calendars.nowhere"]
    assert "two weeks" in found["calendars.fortnight"]
    assert "732 days" in found["calendars.long.interval"]
    assert "timezone: Europe/Berlin" in found["calendars.half.timezone"]
    assert "interval: P1M" in found["calendars.neither.interval"]
    assert "2026-01-01" in found["calendars.back"]
    assert "boundaries" in found["calendars.both"]
    assert "calendars.single.boundaries" in found or "calendars.single" in found
    assert "730 days" in found["calendars.far.boundaries"]
    assert "'none'" in found["tenants.acme.calendar"]
    assert "'gone'" in found["tenants.acme.customers.alice.calendar"]
    assert "Did you mean `meters`?" in found["tenants.acme.metres"]
    assert "average" in found["meters.tokens.aggregation"]
    assert "needs 1 at least" in found["meters.tokens.event_types"]
    assert "reserved" in found["meters.tidemark.x"]


@pytest.mark.parametrize(
    ("parts", "path", "word"),
    [
        ({"aggregation": "unique"}, "value", "unique"),
        ({"aggregation": "unique", "value": "quantity"}, "value", "unique"),
        ({"per": "hour"}, "per", "weighted_sum"),
        ({"aggregation": "count", "precision": "exact"}, "precision", "rounds no value"),
        ({"aggregation": "unique", "value": "user", "precision": "exact"}, "precision", "rounds no value"),
        ({"aggregation": "weighted_sum", "per": "week"}, "per", "week"),
        ({"on_missing": "ignore"}, "on_missing", "ignore"),
        ({"value": "a..b"}, "value", "path"),
        ({"value": ""}, "value", "path"),
        ({"group_by": list("abcdefghi")}, "group_by", "limit is 8"),
        ({"group_by": ["a", ".b"]}, "group_by.1", "path"),
        ({"group_by": ["ü" * 200]}, "group_by.0", "400 bytes"),
        ({"event_types": ["ü" * 200]}, "event_types.0", "400 bytes"),
        ({"filter": 5}, "filter", "mapping"),
        ({"filter": {"property": "p"}}, "filter", "exactly one"),
        ({"filter": {"property": "p", "eq": 1, "ne": 2}}, "filter", "exactly one"),
        ({"filter": {"property": "p", "like": 1}}, "filter", "exactly one"),
        ({"filter": {"eq": 1}}, "filter", "property"),
        ({"filter": {"all": [{"property": "p", "eq": 1}], "any": []}}, "filter", "alone"),
        ({"filter": {"all": []}}, "filter.all", "one or more"),
        ({"filter": {"any": [{"property": "p", "gt": "x"}]}}, "filter.any.0.gt", "decimal"),
        ({"filter": {"property": "p", "exists": "yes"}}, "filter.exists", "true nor false"),
        ({"filter": {"property": "p", "in": []}}, "filter.in", "one or more"),
        ({"filter": {"property": "p", "in": [None]}}, "filter.in", "no text"),
        ({"filter": {"property": "p", "eq": {}}}, "filter.eq", "no text"),
        ({"valid_from": "tomorrow"}, "valid_from", "RFC 3339"),
        ({"valid_from": "2026-01-31"}, "valid_from", "RFC 3339"),
        ({"valid_from": "2026-01-31T00:00:00"}, "valid_from", "RFC 3339"),
        ({"valid_from": "2026-02-30T00:00:00Z"}, "valid_from", "is not an instant"),
        ({"valid_from": "2026-01-31T00:00:30Z"}, "valid_from", "whole minute"),
        ({"valid_from": "1969-12-31T23:59:00Z"}, "valid_from", "1970"),
        ({"valid_from": 5}, "valid_from", "text is needed"),
    ],
)
def test_a_meter_is_checked_for_its_meaning(tmp_path: Path, parts: dict[str, object], path: str, word: str) -> None:
    found = meter_faults(tmp_path, **parts)
    assert [f"meters.m.{path}"] == list(found)
    assert word in found[f"meters.m.{path}"]


def nested(depth: int) -> dict[str, object]:
    condition: dict[str, object] = {"property": "p", "eq": 1}
    for _ in range(depth):
        condition = {"all": [condition]}
    return condition


def test_a_filter_is_nested_four_levels_deep_at_most(tmp_path: Path) -> None:
    assert meter_faults(tmp_path, filter=nested(4)) == {}
    assert "limit is 4" in next(iter(meter_faults(tmp_path, filter=nested(5)).values()))


@pytest.mark.parametrize(
    "parts",
    [
        {"valid_from": "beginning"},
        {"valid_from": "2026-01-31t05:30:00.000+05:30"},
        {"aggregation": "unique", "value": "properties.quantity"},
        {"aggregation": "weighted_sum", "per": "day"},
        {"group_by": list("abcdefgh")},
        {"filter": {"property": "p", "in": ["a", 1, True]}},
        {"filter": {"property": "p", "gte": "1.50"}},
        {"filter": None, "value": None, "group_by": None, "allow_negative": None, "on_missing": None, "per": None},
        {"value": 5, "event_types": [404, 0x1F, True], "unit": 1, "group_by": [7]},
    ],
)
def test_what_a_meter_may_say(tmp_path: Path, parts: dict[str, object]) -> None:
    assert meter_faults(tmp_path, **parts) == {}


def test_a_tenants_own_meter_adds_up_like_the_common_one(tmp_path: Path) -> None:
    text = """
    tenants: {t: {meters: {m: {event_types: e, aggregation: max, unit: u}}}}
    meters: {m: {event_types: e, aggregation: sum, unit: u}}
    """
    assert faults_of(tmp_path, text) == {
        "tenants.t.meters.m.aggregation": "max differs from sum, that of the common m."
    }


def test_valid_from_of_an_entry_goes_before_that_of_the_file(tmp_path: Path) -> None:
    text = 'valid_from: "2026-03-01T00:00:00Z"\ntenants: {a: {}, b: {valid_from: beginning}}'
    file = parsed(tmp_path, text)
    assert default_valid_from(file) == MARCH_MS
    assert [row.valid_from_ms for row in rows(file)["tenant"]] == [MARCH_MS, BEGINNING_MS]
    assert default_valid_from(parsed(tmp_path, GOOD)) is None


def test_a_calendar_of_an_earlier_file_may_be_named(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "tenants: {acme: {calendar: earlier}}", "earlier") == {}


def test_a_key_given_twice_is_a_fault_with_its_line(tmp_path: Path) -> None:
    found = faults_of(tmp_path, "tenants:\n  acme: {}\n  acme: {}\n")
    assert found == {"file": "the key 'acme' is given twice."}


@pytest.mark.parametrize("name", ["007", "NO", "1e3", "2013-01-01", "null", "true"])
def test_an_identifier_stays_as_it_is_written(tmp_path: Path, name: str) -> None:
    file = parsed(tmp_path, f"tenants: {{acme: {{customers: {{{name}: {{}}}}}}}}")
    assert rows(file)["customer"] == [Row(("acme", name), (None, None, None))]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("5", 5),
        ("1.10", Decimal("1.10")),
        ("0.12345678901234567890123", Decimal("0.12345678901234567890123")),
        ("1e3", Decimal(1000)),
        ("-7", -7),
        ("010", 10),
        ("1_000", "1_000"),
        ("0x10", 16),
        ("12:30:45", "12:30:45"),
        (".5", Decimal("0.5")),
        ("+5", 5),
        ("0o17", 15),
        ("0x1F", 31),
        ("5.", Decimal(5)),
        ("-.5e1", Decimal(-5)),
        ("True", True),
        ("FALSE", False),
        ("tRue", "tRue"),
        ("Null", None),
        ("~", None),
        ("nULL", "nULL"),
        ("0b1", "0b1"),
        ("1.2.3", "1.2.3"),
        ("2026-01-31", "2026-01-31"),
        ('"5"', "5"),
        ("! 5", "5"),
        ("!!str 5", "5"),
        ('!!int "5"', 5),
        ('!!float "5"', 5),
        ("no", "no"),
        ("true", True),
    ],
)
def test_scalars_are_those_of_the_core_schema_of_yaml_1_2_and_decimals_are_exact(
    tmp_path: Path, written: str, meant: object
) -> None:
    found = parsed(tmp_path, f"a: [{written}]").content["a"][0]
    assert (found, type(found)) == (meant, type(meant))


def test_a_number_of_many_zeros_and_text_that_cannot_be_stored_are_faults(tmp_path: Path) -> None:
    faults = parsed(tmp_path, f'a: 1e999999\nb: "\\0"\nc: {"9" * 101}\nd: .inf\n').faults
    assert [fault.line for fault in faults] == [1, 2, 3, 4]
    with pytest.raises(UsageError, match=r"line 1, is not YAML"):
        parsed(tmp_path, 'c: "\\ud800"')


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"property": "p", "eq": Decimal("5.0")}, {"eq": 5, "property": "p"}),
        ({"property": "p", "in": [Decimal("-0.0"), Decimal("1E+3")]}, {"property": "p", "in": [0, 1000]}),
    ],
)
def test_equal_filters_have_equal_text(one: dict[str, object], other: dict[str, object]) -> None:
    assert canonical_filter(one) == canonical_filter(other) == stored_filter(canonical_filter(one))
    assert filter_of(canonical_filter(one))


def test_a_filter_keeps_the_type_of_its_operands_and_every_digit() -> None:
    text = '{"in":["5",5,true,123456789012345678901234567890.00000000000000000001],"property":"ä"}'
    assert stored_filter(text) == text
    assert canonical_filter(None) == stored_filter(None) == ""


@pytest.mark.parametrize("text", ["", "[]", "tenants: 5", "tenants: {acme: 5}", "calendars: {a: []}", "- x", "5"])
def test_another_shape_is_a_fault_and_not_an_exception(tmp_path: Path, text: str) -> None:
    assert faults_of(tmp_path, text)


def test_an_identifier_is_limited_in_bytes(tmp_path: Path) -> None:
    assert "258 bytes" in next(iter(faults_of(tmp_path, f"tenants: {{{'ü' * 129}: {{}}}}").values()))


@pytest.mark.parametrize(
    "content",
    [b"a: [", b"\xff\xfe\x00", b"a: &x [*x]\nb: !!python/object:os.system {}", b"a: !!int x", b"a: !!float x"],
)
def test_a_file_that_is_no_yaml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="broken"):
        read(path)


def test_faults_are_raised_with_their_number_and_paths() -> None:
    with pytest.raises(UsageError, match=r"2 fault\(s\)") as raised:
        fail(Path("c.yaml"), [Fault("a.b", "wrong."), Fault("c", "missing.")])
    assert "a.b: wrong." in str(raised.value)
