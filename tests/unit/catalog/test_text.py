"""The text of a catalog file: merge keys, aliases and bounds, places of faults, and what each fault says to write."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.catalog.test_file import faults_of, parsed
from tidemark.catalog.check import check
from tidemark.catalog.file import CatalogFile, fail, placed, read
from tidemark.catalog.text import MAX_DEPTH, MAX_SCALAR, BoundError, parse
from tidemark.core.errors import UsageError


def content(text: str) -> Any:
    document = parse(text)
    assert document.faults == []
    return document.content


# --- merge keys -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}", {"x": 1, "y": 3}),
        # The mapping's own key goes before a merged one wherever it stands.
        ("a: &a {x: 1, y: 2}\nb: {y: 3, <<: *a}", {"x": 1, "y": 3}),
        ("a: &a {x: 1}\nc: &c {x: 2, z: 4}\nb: {<<: [*a, *c]}", {"x": 1, "z": 4}),
        ("b: {<<: {x: 1}, y: 2}", {"x": 1, "y": 2}),
        ("a: &a {x: 1}\nc: &c {<<: *a, y: 2}\nb: {<<: *c}", {"x": 1, "y": 2}),
        ("a: &a {x: 1}\nb: {<<: *a, x: null}", {"x": None}),
        ("a: &a {x: {p: 1, q: 2}}\nb: {<<: *a, x: {p: 3}}", {"x": {"p": 3}}),
        ('b: {"<<": 5}', {"<<": 5}),
        ("a: &a {}\nb: {<<: *a}", {}),
    ],
)
def test_a_merge_key_takes_the_keys_of_other_mappings(text: str, meant: dict[str, Any]) -> None:
    assert content(text)["b"] == meant


@pytest.mark.parametrize(
    "text", ["b: {<<: 5}", "b: {<<: [5]}", "b: {<<: }", "b: {<<: []}", "a: &a {}\nb: {<<: *a, <<: *a}"]
)
def test_a_merge_of_something_else_is_a_fault_with_its_line(text: str) -> None:
    (fault,) = parse(text).faults
    assert fault.line == text.count("\n") + 1
    assert "<<" in fault.message


def test_an_alias_is_what_its_anchor_stands_for() -> None:
    assert content("a: &x [1, {b: c}]\nb: *x\nc: {d: *x}") == {
        "a": [1, {"b": "c"}], "b": [1, {"b": "c"}], "c": {"d": [1, {"b": "c"}]},
    }  # fmt: skip


# --- bounds -----------------------------------------------------------------------------------------------------------


def bomb(levels: int, width: int, form: str = "[{}]") -> str:
    lines = ["a0: &a0 " + form.format("x" if form == "[{}]" else "k: x")]
    for level in range(1, levels + 1):
        aliases = [f"*a{level - 1}"] * width
        inner = ", ".join(aliases) if form == "[{}]" else ", ".join(f"k{n}: {one}" for n, one in enumerate(aliases))
        lines.append(f"a{level}: &a{level} " + form.format(inner))
    return "\n".join(lines)


@pytest.mark.parametrize("text", [bomb(8, 9), bomb(60, 2), bomb(8, 9, "{{{}}}"), bomb(5, 40)])
def test_aliases_of_aliases_are_refused_before_they_are_written_out(text: str, tmp_path: Path) -> None:
    began = time.process_time()
    with pytest.raises(BoundError, match=r"line \d+: its aliases make .* the limit is"):
        parse(text)
    # They would make millions of entries: minutes, and all the memory.
    assert time.process_time() - began < 5
    with pytest.raises(UsageError, match="alias"):
        parsed(tmp_path, text)


def test_merged_mappings_count_as_the_aliases_they_are() -> None:
    lines = ["a0: &a0 {k: [" + "x, " * 50 + "x]}"]
    lines += [f"a{n}: &a{n} {{<<: *a{n - 1}, p: *a{n - 1}, q: *a{n - 1}}}" for n in range(1, 30)]
    with pytest.raises(BoundError, match="alias"):
        parse("\n".join(lines))


def test_a_block_that_many_customers_share_is_no_bomb() -> None:
    shared = "limits: &l {tokens: {cap: 5, thresholds: [50%, 80%, {every: 10%}]}}\n"
    text = shared + "customers:\n" + "".join(f"  c-{n}: {{limits: *l}}\n" for n in range(5_000))
    assert len(content(text)["customers"]) == 5_000


@pytest.mark.parametrize("text", ["a: *x", "a: &x [*x]", "a: &x {<<: *x}", "a: &x {b: *x}", "a: *x\nb: &x 1"])
def test_an_alias_without_a_complete_anchor_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"line 1, is not YAML"):
        parsed(tmp_path, text)


@pytest.mark.parametrize("form", ["[", "{a: ", "- ", "? "])
def test_a_file_is_nested_only_so_deep(tmp_path: Path, form: str) -> None:
    for depth in (MAX_DEPTH + 1, 1_000, 100_000):
        with pytest.raises(UsageError, match=r"levels deep|not YAML"):
            parsed(tmp_path, form * depth)
    with pytest.raises(BoundError, match="line 1"):
        parse("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))
    assert parse("[" * MAX_DEPTH + "]" * MAX_DEPTH).faults == []


def test_a_text_is_only_so_long(tmp_path: Path) -> None:
    assert content(f"a: {'x' * MAX_SCALAR}")["a"]
    for text in (f"a: {'x' * (MAX_SCALAR + 1)}", f'a: "{"x" * (MAX_SCALAR + 1)}"', f"a: |\n  {'x' * MAX_SCALAR}\n"):
        with pytest.raises(UsageError, match=r"line 1: a text has 10,001 characters"):
            parsed(tmp_path, text)


def test_a_file_is_only_so_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemark.catalog.file.MAX_BYTES", 10)
    with pytest.raises(UsageError, match="more than 10 bytes"):
        parsed(tmp_path, "a: 1234567890")


@pytest.mark.parametrize(
    "text", ["a: 1\n---\nb: 2", "[a]: 1", "? {a: b}\n: 1", "!!set {a, b}", "a: !!binary aGk=", "!x {}"]
)
def test_what_json_does_not_have_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"line \d, is not YAML"):
        parsed(tmp_path, text)


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
def test_a_byte_order_mark_is_passed_over(tmp_path: Path, mark: bytes) -> None:
    path = tmp_path / "catalog.yaml"
    path.write_bytes(mark + b"tenants: {a: }")
    assert read(path).content == {"tenants": {"a": None}}


@given(st.text(alphabet=st.sampled_from("a:*&-{}[],<>!|'\"# \n0\\?~%@"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(yaml.YAMLError, BoundError):
        parse(text, with_places=True)


# --- faults -----------------------------------------------------------------------------------------------------------

METER = "{event_types: e, aggregation: count, unit: u}"


def meter(**parts: str) -> str:
    """A file of one meter with some parts as they are written."""
    whole = {"event_types": "e", "aggregation": "sum", "unit": "u", **parts}
    return "meters:\n  m:\n" + "".join(f"    {name}: {text}\n" for name, text in whole.items())


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("", "file", ["it is empty", "`tenants:`"]),
        ("# nothing yet\n", "file", ["it is empty"]),
        ("{}", "file", ["it is empty"]),
        ("- tenants\n", "file", ["is a list", "a mapping of keys is needed", "`tenants:`"]),
        ("tenants", "file", ["is text", "`tenants:`"]),
        ("5", "file", ["is a number"]),
        ("tenant: {a: }", "tenant", ["Did you mean `tenants`?"]),
        ("tenants: [acme]", "tenants", ["is a list", "write `acme:` as a key"]),
        ("tenants: acme", "tenants", ["is text", "write `acme:` as a key"]),
        ("meters: [{name: m}]", "meters", ["is a list", "as keys"]),
        ("meters: {m: }", "meters.m", ["it is empty"]),
        (meter(event_type="e"), "meters.m.event_type", ["Did you mean `event_types`?"]),
        (meter(groupby="[a]"), "meters.m.groupby", ["Did you mean `group_by`?"]),
        (meter(**{"Group-By": "[a]"}), "meters.m.Group-By", ["Did you mean `group_by`?"]),
        (meter(zzz="1"), "meters.m.zzz", ["not known here", "Known: event_types"]),
        (meter(aggregation="average"), "meters.m.aggregation", ["'average' is not known", "Write one of count, sum"]),
        (meter(aggregation="Sum"), "meters.m.aggregation", ["Did you mean `sum`?"]),
        (meter(aggregation="percentiles"), "meters.m.aggregation", ["Did you mean `percentile`?"]),
        (meter(group_by="region"), "meters.m.group_by", ["is text, and a list is needed", "write [region]"]),
        (meter(group_by="[a, a]"), "meters.m.group_by", ["'a' is given twice"]),
        (meter(group_by="[]", event_types="[]"), "meters.m.event_types", ["needs 1 at least"]),
        (meter(event_types="{e: 1}"), "meters.m.event_types", ["is a mapping", "write one event type, or a list"]),
        (meter(allow_negative="yes"), "meters.m.allow_negative", ["write true"]),
        (meter(allow_negative='"True"'), "meters.m.allow_negative", ["write true"]),
        (meter(allow_negative="off"), "meters.m.allow_negative", ["write false"]),
        (meter(unit='""'), "meters.m.unit", ["it is empty"]),
        (meter(unit="x" * 257), "meters.m.unit", ["257 characters", "limit is 256"]),
        (meter(unit='"a\\tb"'), "meters.m.unit", ["without control characters"]),
        (meter(aggregation="count", value="tokens"), "meters.m.value", ["leave `value` out", "`aggregation: sum`"]),
        (meter(aggregation="count", value="quantity"), "meters.m.value", ["leave `value` out"]),
        (
            meter(filter="{property: paid, eq: yes}"),
            "meters.m.filter.eq",
            ["write true", 'in quotes if it is text: "yes"'],
        ),
        (meter(filter="{property: p, in: [a, No]}"), "meters.m.filter.in.1", ["write false"]),
        (meter(filter="{any: [{property: p, ne: 1_000}]}"), "meters.m.filter.any.0.ne", ["1_000", "digits alone"]),
        (meter(filter="{property: p, eq: 12:30:45}"), "meters.m.filter.eq", ["in quotes"]),
        (meter(filter="{property: p, eq: 0b11}"), "meters.m.filter.eq", ["in quotes"]),
        (meter(filter="{property: p, equals: 1}"), "meters.m.filter", ["exactly one of eq, ne"]),
        ("calendars: {c: {interval: P1M, zone: UTC, timezone: UTC}}", "calendars.c.zone", ["Did you mean `timezone`?"]),
        ("calendars: {c: P1M}", "calendars.c", ["write `{interval: P1M, timezone: UTC}`"]),
        ("calendars: {c: {interval: P1M}}", "calendars.c.timezone", ["is missing", "`timezone: Europe/Berlin`"]),
        ("calendars: {c: {timezone: UTC}}", "calendars.c.interval", ["is missing", "`interval: P1M`"]),
        ("calendars: {c: {interval: 1, timezone: UTC}}", "calendars.c.interval", ["is a number", 'in quotes: "1"']),
        ("calendars: {c: {interval: 1 month, timezone: UTC}}", "calendars.c", ["P1M"]),
        ("calendars: {c d: {interval: P1M, timezone: UTC}}", "calendars.c d", ["cannot be a name", "write letters"]),
        ("meters: {tidemark.x: " + METER + "}", "meters.tidemark.x", ["reserved"]),
        ("meters: {m: {unit: u, aggregation: sum}}", "meters.m.event_types", ["is missing", "`event_types: api_call`"]),
        ("tenants: {a: {calender: c}}", "tenants.a.calender", ["Did you mean `calendar`?"]),
        ("tenants: {a: {customers: [x]}}", "tenants.a.customers", ["write `x:` as a key"]),
        ("tenants: {a: {customers: null}}", "tenants.a.customers", ["it is empty"]),
        (
            "tenants: {a: {limits: {m: 5000}}}\nmeters: {m: " + METER + "}",
            "tenants.a.limits.m",
            ["5000 is a number", "write `{cap: 5000}`"],
        ),
        ("tenants: {a: {limits: {m: {cap: ten}}}}", "tenants.a.limits.m.cap", ["ten is no cap"]),
        ("tenants: {a: {limits: {m: {cap: [5]}}}}", "tenants.a.limits.m.cap", ["is a list", "write a number"]),
        ("tenants: {a: {limits: {m: {}}}}", "tenants.a.limits.m.cap", ["is missing", "`{cap: 5000}`"]),
        ("tenants: {a: {limits: {m: {cap: 5, mode: Hard}}}}", "tenants.a.limits.m.mode", ["Did you mean `hard`?"]),
        ("alerts: {receivers: {r: {kind: email, url: x}}}", "alerts.receivers.r.kind", ["Write one of pagerduty"]),
        ("alerts: {receiver: {}}", "alerts.receiver", ["Did you mean `receivers`?"]),
        ("valid_from: 2026-01-01\ntenants: {a: }", "valid_from", ["RFC 3339", "2026-01-31T00:00:00Z"]),
        ("valid_from: null\ntenants: {a: }", "valid_from", ["it is empty"]),
    ],
)
def test_a_fault_says_where_it_is_and_what_to_write(tmp_path: Path, text: str, path: str, words: list[str]) -> None:
    found = faults_of(tmp_path, text)
    assert path in found
    for word in words:
        assert word in found[path]
    # Not the words of the library that checks.
    assert not any(
        word in message for message in found.values() for word in ("schema", "instance", "does not match", "None")
    )


@pytest.mark.parametrize(
    "text", ['eq: "yes"', "eq: 'No'", "eq: yes-man", "in: [true, False]", "exists: true", "eq: 010"]
)
def test_what_can_be_meant_in_one_way_only_is_no_fault(tmp_path: Path, text: str) -> None:
    assert faults_of(tmp_path, meter(filter=f"{{property: p, {text}}}")) == {}


def test_faults_are_listed_with_file_and_line_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """
tenants:
  acme.eu:
    limits:
      tokens: 5
    customers:
      "x: y": {plan: gone}
meters:
  tokens:
    event_types: e
    aggregation: sum
    unit: u
    filter:
      all:
        - {property: a, eq: 1}
        - property: b
          eq: yes
  tokens: {}
  calls: {unit: u}
"""
    file = parsed(tmp_path, text)
    faults = placed(file, check(file, known_calendars=(), longest_period_days=400))
    with pytest.raises(UsageError) as raised:
        fail(tmp_path / "catalog.yaml", faults)
    lines = str(raised.value).splitlines()
    assert [line.split(": ")[0].strip() for line in lines[1:]] == [
        *("catalog.yaml:5", "catalog.yaml:7", "catalog.yaml:10", "catalog.yaml:11", "catalog.yaml:12"),
        *("catalog.yaml:18", "catalog.yaml:19", "catalog.yaml:19"),
    ]
    assert "tenants.acme.eu.limits.tokens" in lines[1]


def test_a_fault_below_an_alias_or_a_merge_has_the_line_of_what_holds_it(tmp_path: Path) -> None:
    text = "meters:\n  a: &a {event_types: e, aggregation: sum, unit: u, per: day}\n  b:\n    <<: *a\n  c: *a\n"
    file = parsed(tmp_path, text)
    faults = placed(file, check(file, known_calendars=(), longest_period_days=400))
    assert [(fault.path, fault.line) for fault in faults] == [
        ("meters.a.per", 2), ("meters.b.per", 3), ("meters.c.per", 5),
    ]  # fmt: skip


def test_content_without_a_text_has_no_lines() -> None:
    file = CatalogFile({"tenants": 5})
    assert [fault.line for fault in placed(file, check(file, known_calendars=(), longest_period_days=400))] == [None]
