"""Tables of docs/benchmarks.md: a table per measure, and one of all targets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tests.bench.report.measure import Measure
from tests.bench.report.quantities import QUANTITIES, written
from tests.bench.report.results import Found, Results, newest
from tests.bench.report.stats import Spread
from tests.bench.report.targets import Target


def machine(results: Iterable[Results]) -> Iterator[str]:
    """When and where the last session of each kind was."""
    yield "| run | last session: commit | begun | machine | load before |"
    yield "|---|---|---|---|---|"
    for result in results:
        head, on = result.head, result.head["machine"]
        at = commit(head["commit"], changed=head["changed"])
        where = f"{on['cores']} cores ({on['cpu']}), {on['memory_gib']:.0f} GiB, Linux {on['kernel']}"
        yield f"| {head['mode']} | {at} | {head['started_at']} | {where} | {on['load_before']:.2f} |"


def commit(full: str, *, changed: bool) -> str:
    """What was measured, as the tables say it."""
    return full[:10] + (" and changes" if changed else "")


def table(found: Found) -> Iterator[str]:
    """A row per subject, a column per quantity; what is not ok says why."""
    if found.status != "ok":
        yield f"**{found.status}**" + (f": {found.detail}" if found.detail else "")
        return
    if not found.figures:
        yield found.detail or "No figures."
        return
    columns = list(dict.fromkeys(quantity for _, quantity in found.figures))
    yield "| | " + " | ".join(QUANTITIES[quantity].heading for quantity in columns) + " |"
    yield "|---|" + "---|" * len(columns)
    for subject in dict.fromkeys(subject for subject, _ in found.figures):
        cells = [_cell(quantity, found.spread(subject, quantity)) for quantity in columns]
        yield f"| {subject} | " + " | ".join(cells) + " |"
    if found.detail:
        yield ""
        yield found.detail


def _cell(quantity: str, spread: Spread | None) -> str:
    if spread is None:
        return ""
    middle = written(quantity, spread.median)
    if len(spread.values) == 1:
        return middle
    return (
        f"{middle} ({written(quantity, spread.least)} to {written(quantity, spread.most)}, {len(spread.values)} runs)"
    )


def targets(measures: Sequence[Measure], results: Sequence[Results]) -> Iterator[str]:
    """All targets with what was seen."""
    yield "| measure | | target | seen (median) | outcome |"
    yield "|---|---|---|---|---|"
    for measure in measures:
        for target in measure.targets:
            seen, outcome = _seen(measure.name, target, results)
            heading = QUANTITIES[target.quantity].heading
            yield f"| {measure.title} | {target.subject}: {heading} | {_bound(target)} | {seen} | {outcome} |"


def _seen(name: str, target: Target, results: Sequence[Results]) -> tuple[str, str]:
    there = newest(results, name)
    if there is None:
        return "", "not run"
    spread = there[1].spread(target.subject, target.quantity)
    if spread is None:
        absent = "not run" if target.full_only and there[0].head["mode"] != "full" else "no figure"
        return "", there[1].status if there[1].status != "ok" else absent
    outcome = target.outcome(spread.median)
    why = f": {target.why_missed}" if outcome == "missed" and target.why_missed else ""
    return written(target.quantity, spread.median), f"**{outcome}**{why}"


def _bound(target: Target) -> str:
    low = None if target.at_least is None else written(target.quantity, target.at_least)
    high = None if target.at_most is None else written(target.quantity, target.at_most)
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"at least {low}" if high is None else f"at most {high}"
