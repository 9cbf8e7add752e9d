"""Results, targets, tables and pictures: a figure goes from JSON to the page and nowhere else."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from jsonschema import ValidationError

from tests.bench.measures import BY_NAME, MEASURES
from tests.bench.report import pages, plots, results, tables
from tests.bench.report.measure import Measure
from tests.bench.report.results import Found, Results
from tests.bench.report.stats import Spread
from tests.bench.report.targets import Target

COMMIT = "0123456789abcdef"
MACHINE = {"cores": 2, "memory_gib": 23.5, "kernel": "6.1", "cpu": "A processor", "load_before": 0.25}


OF_A_MEASURE = {"status": "ok", "detail": "", "commit": COMMIT, "changed": False, "load_before": 0, "figures": []}


def results_of(mode: str = "quick", **measures: Found) -> Results:
    head = {
        "version": 2, "mode": mode, "commit": COMMIT, "changed": False, "started_at": "2026-01-01T00:00:00",
        "seconds": 12.5, "machine": MACHINE, "versions": {"python": "3.11"},
    }  # fmt: skip
    for found in measures.values():
        found.commit = found.commit or COMMIT
    return Results(head, dict(measures))


def drained(*rates: float, ratio: float = 0.5) -> Found:
    found = Found()
    for rate in rates:
        found.add("meter", events_per_s=rate)
    found.add("meter to plain Flink SQL", ratio=ratio)
    return found


def test_results_are_read_as_they_were_written(tmp_path):
    written = results_of(drain_keyed=drained(50_000, 60_000), live=Found("did not finish", "3 of 4 events"))
    assert written.write(tmp_path) == tmp_path / "quick.json"
    again = results.read(tmp_path / "quick.json")
    assert again.document() == written.document()
    assert not list(tmp_path.glob("*.tmp"))


def test_what_did_not_equal_the_oracle_keeps_no_figure(tmp_path):
    found = drained(50_000)
    found.status = "not equal"
    file = results_of(drain_keyed=found).write(tmp_path)
    assert results.read(file).measures["drain_keyed"].figures == {}


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "other"},
        {"commit": "main"},
        {"machine": {**MACHINE, "cores": "two"}},
        {"measures": {"live": {**OF_A_MEASURE, "figures": [{"subject": "s"}]}}},
        {"measures": {"live": {**OF_A_MEASURE, "commit": ""}}},
        {
            "measures": {
                "live": {
                    **OF_A_MEASURE, "status": "failed",
                    "figures": [{"subject": "s", "quantity": "ratio", "values": [1]}],
                }
            }
        },
    ],
)  # fmt: skip
def test_the_schema_refuses(tmp_path, change):
    document = {**results_of().document(), **change}
    (tmp_path / "quick.json").write_text(results.json.dumps(document))
    with pytest.raises(ValidationError):
        results.read(tmp_path / "quick.json")


def test_a_quantity_without_a_heading_is_refused():
    found = Found()
    found.add("s", parsecs=1.0)
    with pytest.raises(ValidationError):
        results_of(live=found).document()


@pytest.mark.parametrize(
    ("bounds", "value", "outcome"),
    [
        ({"at_least": 0.6}, 0.6, "met"),
        ({"at_least": 0.6}, 0.59, "missed"),
        ({"at_most": 300}, 300, "met"),
        ({"at_most": 300}, 301, "missed"),
        ({"at_least": 0.95, "at_most": 1.05}, 1.0, "met"),
        ({"at_least": 0.95, "at_most": 1.05}, 0.9, "missed"),
        ({"at_least": 0.95, "at_most": 1.05}, 1.1, "missed"),
    ],
)
def test_targets_are_compared_by_both_bounds(bounds, value, outcome):
    assert Target("s", "ratio", **bounds).outcome(value) == outcome


def test_a_target_without_a_bound_is_an_error():
    with pytest.raises(ValueError, match="no bound"):
        Target("s", "ratio")


def test_a_table_has_a_row_a_subject_and_the_spread_of_its_runs():
    assert list(tables.table(drained(52_345, 60_000, 40_000))) == [
        "| | events/s | ratio |",
        "|---|---|---|",
        "| meter | 52 345 (40 000 to 60 000, 3 runs) |  |",
        "| meter to plain Flink SQL |  | 0.50 |",
    ]


def test_a_table_of_what_went_wrong_says_so():
    assert list(tables.table(Found("not equal", "minute: 4 counted, 5 expected"))) == [
        "**not equal**: minute: 4 counted, 5 expected"
    ]


def test_targets_say_what_was_seen_and_why_one_was_missed():
    met = Target("meter", "events_per_s", at_least=40_000)
    missed = Target("meter to plain Flink SQL", "ratio", at_least=0.6, why_missed="decoding")
    unseen = Target("meter", "own_cpu_us", at_most=14)
    larger = Target("10 000 000 ids", "p99_ms", at_most=2_000, full_only=True)
    measures = [Measure("drain_keyed", "Drain", (met, missed, unseen, larger)), Measure("live", "Live", (met,))]
    rows = list(tables.targets(measures, [results_of(drain_keyed=drained(50_000))]))[2:]
    assert [row.split("|")[-3:-1] for row in rows] == [
        [" 50 000 ", " **met** "],
        [" 0.50 ", " **missed**: decoding "],
        ["  ", " no figure "],
        ["  ", " not run "],
        ["  ", " not run "],
    ]


def test_a_full_run_goes_before_a_quick_one_unless_it_left_the_measure_out(tmp_path):
    results_of("quick", live=drained(1), limits=drained(2)).write(tmp_path)
    results_of("full", live=drained(3), limits=Found("not run")).write(tmp_path)
    stored = results.stored(tmp_path)
    assert [results.newest(stored, name)[0].head["mode"] for name in ("live", "limits")] == ["full", "quick"]
    assert results.newest(stored, "sdk") is None


def test_a_picture_is_svg_with_a_bar_a_subject():
    drawn = plots.bars("Drain <1>", "events_per_s", {"a & b": Spread((1.0, 3.0)), "c": Spread((2.0,))})
    root = ET.fromstring(drawn)  # noqa: S314 - made here
    assert len(root.findall("{*}rect")) == 3
    assert "Drain <1>: events/s" in [text.text for text in root.findall("{*}text")]


def test_the_page_has_a_block_for_every_measure_and_is_what_the_results_say():
    assert list(pages.faults(pages.wanted(results.stored()))) == []


def test_blocks_are_replaced_and_a_missing_one_is_an_error():
    page = "a\n<!-- bench: x -->\nold\n<!-- end of bench -->\nb\n"
    once = pages.filled(page, {"x": "new\n"})
    assert "old" not in once
    assert pages.filled(once, {"x": "new\n"}) == once
    with pytest.raises(ValueError, match=r"\['x'\], and \['x', 'y'\]"):
        pages.filled(page, {"x": "", "y": ""})


@pytest.mark.parametrize(
    "line", ["about 12.5 us an event", "p99 619", "44-52 k/s", "0.49x of it", "2 GiB", "22 times as fast"]
)
def test_a_figure_outside_the_blocks_is_noticed(line):
    block = f"<!-- bench: x -->\n{line}\n<!-- end of bench -->\n"
    assert pages.stray_figures(block + "10 000 customers, 5 % duplicates\n") == []
    assert pages.stray_figures(block + line) == [line]


def test_every_target_names_a_measure_with_a_known_quantity():
    assert len(BY_NAME) == len(MEASURES)
    for measure in MEASURES:
        for target in measure.targets:
            found = Found()
            found.add(target.subject, **{target.quantity: 1.0})
            results_of(**{measure.name: found}).document()


def test_results_make_a_picture_and_tables_of_their_section():
    made = pages.blocks([results_of(drain_keyed=drained(50_000, 60_000))])
    assert "(benchmarks/drain_keyed.svg)" in made["drain_keyed"]
    assert made["live"] == "Not measured yet.\n"
    assert "| quick | 0123456789 |" in made["machine"]
