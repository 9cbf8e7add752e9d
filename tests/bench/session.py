"""One session: runs one after another, results written after each; what fails is reported and the rest go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import machine
from tests.bench.plan import Run
from tests.bench.report.results import FOLDER, Found, Results, read
from tests.bench.world import NotEqual, NotFinished, World

QUICK_S = 600.0


def begin(*, quick: bool) -> Results:
    """Results without any measure."""
    commit, changed = machine.commit()
    head = {
        "version": 2, "mode": "quick" if quick else "full", "commit": commit, "changed": changed,
        "started_at": datetime.now(UTC).isoformat(timespec="seconds"), "seconds": 0.0, "machine": machine.facts(),
        "versions": machine.versions(),
    }  # fmt: skip
    return Results(head)


def continued(results: Results, folder: Path = FOLDER) -> Results:
    """A session that keeps what earlier ones found on this machine, where it measures nothing itself."""
    file = folder / f"{results.head['mode']}.json"
    before = read(file) if file.is_file() else None
    if before is not None and _machine(before) == _machine(results):
        return Results(results.head, before.measures)
    return results


def _machine(results: Results) -> tuple[object, ...]:
    """What is the same after a restart."""
    return tuple(results.head["machine"][name] for name in ("cores", "cpu", "memory_gib"))


def attempt(run: Run, measure: Callable[[], dict[str, Found]]) -> dict[str, Found]:
    """What a run found, or of each of its measures what went wrong."""
    load = machine.load()
    try:
        found = measure()
    except NotEqual as error:
        found = {name: Found("not equal", str(error)) for name in run.measures}
    except NotFinished as error:
        found = {name: Found("did not finish", str(error)) for name in run.measures}
    except Exception as error:  # noqa: BLE001 - one measure must not take the others with it
        found = {name: Found("failed", f"{type(error).__name__}: {error}"[:500]) for name in run.measures}
    for of_measure in found.values():
        of_measure.load_before = load
    return found


def measure_all(
    world: World, runs: Iterable[Run], results: Results, folder: Path, left_s: Callable[[], float]
) -> list[str]:
    """Measure what fits into the time left; names of the measures that are not ok."""
    begun = time.monotonic() - results.head["seconds"]
    wrong = []
    for run in runs:
        if left_s() < run.seconds:
            world.say(f"{', '.join(run.measures)}: not run, {left_s():.0f} s are left and it takes {run.seconds}")
            found = {name: Found("not run", "no time was left") for name in run.measures}
        else:
            world.say(", ".join(run.measures))
            found = attempt(run, lambda run=run: run.make(world))  # type: ignore[misc]
        for of_measure in found.values():
            of_measure.commit, of_measure.changed = results.head["commit"], results.head["changed"]
        results.measures |= found
        results.head["seconds"] = round(time.monotonic() - begun, 1)
        results.write(folder)
        for name, of_measure in found.items():
            if of_measure.status != "ok":
                world.say(f"{name}: {of_measure.status}: {of_measure.detail}")
            # What is for full runs alone is left out by design.
            if of_measure.status not in {"ok", "not run"}:
                wrong.append(name)
    results.write(folder)
    return wrong
