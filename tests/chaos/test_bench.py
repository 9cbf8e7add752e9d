"""The harness of the benchmarks, end to end with its smallest measure: what it reports equals the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench import session
from tests.bench.measures import METER, PLAIN, RATIO
from tests.bench.plan import RUNS
from tests.bench.report import cost, pages
from tests.bench.report.results import read
from tests.bench.runs import storage
from tests.bench.world import World, apply_catalog
from tests.pipeline import pipeline
from tests.streams import CATALOG, generate


@pytest.mark.drill
def test_a_drain_of_twenty_thousand_events_becomes_figures_on_the_page(stack: Any, tmp_path: Path) -> None:
    # Given a world on the stack of the tests, when `meter` and plain SQL drain a backlog ...
    apply_catalog(stack.settings)
    drain = next(run for run in RUNS if "drain_keyed" in run.measures)
    world = World(stack.local, quick=True, small=True)
    wrong = session.measure_all(world, [drain], session.begin(quick=True), tmp_path, lambda: float("inf"))
    # ... then both equalled the oracle, and the results have rates, CPU and a machine.
    assert wrong == []
    results = read(tmp_path / "quick.json")
    found = results.measures["drain_keyed"]
    assert {subject for subject, _ in found.figures} == {METER, PLAIN, RATIO}
    assert all(value > 0 for values in found.figures.values() for value in values)
    assert (f"{METER}: python workers", "cpu_us") in results.measures["cpu_processes"].figures
    assert f"| {METER} |" in pages.blocks([results])["drain_keyed"]


@pytest.mark.drill
def test_what_a_run_has_stored_is_measured_in_every_store(stack: Any, tmp_path: Path) -> None:
    with pipeline(stack.settings, "stored", CATALOG, tmp_path) as run:
        run.start()
        run.send(generate(2_000))
        run.wait_drained()
        with run.oracle() as oracle:
            run.assert_exact(oracle)
        found = storage.stored(tmp_path, run.settings, 2_000)
    assert all(values[0] > 0 for values in found.figures.values())
    wanted = {(source.subject, source.quantity) for source in cost.SOURCES.values() if source.measure == "storage"}
    assert found.figures.keys() == wanted
    # Nothing of it is of another run: an event has at most some hundred bytes, compressed.
    assert found.figures[storage.EVENTS, "event_bytes"][0] < 1_000
