"""All who turn the topic into rows, in turn, and each once more with a kill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from tests.bench.measures import OURS, OURS_THROUGHPUT, PLAIN
from tests.bench.report.results import Found
from tests.bench.runs import storage
from tests.bench.runs.contestant import CONTESTANTS, contest
from tests.bench.runs.rows import Rows, ours, plain
from tests.bench.world import Backlog, NotEqual, NotFinished, World

# A kill comes when this share of the time of an undisturbed run has passed.
KILL_AT = 0.4
# What others do not write either, and what is for a backlog.
FOR_THROUGHPUT = {"rollup.customer_windows": False, "meter.profile": "throughput"}
OF_US = (OURS, OURS_THROUGHPUT)
Runner = Callable[..., Rows]


def runners(world: World) -> dict[str, Runner]:
    """Every contestant and ours by title, in the order they run; what a quick session has no time for is left out."""
    named: dict[str, Runner] = {OURS: ours, OURS_THROUGHPUT: partial(ours, changes=FOR_THROUGHPUT), PLAIN: plain}
    if world.quick and not world.small:
        del named[OURS_THROUGHPUT]
    for contestant in CONTESTANTS:
        named[contestant.title] = lambda world, backlog, contestant=contestant, **how: contest(
            world, contestant, backlog, **how
        )
    return named


def compare(world: World, backlog: Backlog, rounds: int, *, kill: bool) -> dict[str, Found]:
    """All in turn, `rounds` times; then each once with a kill. Who fails is reported and left out, the rest go on."""
    found, killed, stored, faults = Found(), Found(), Found(), {}
    seconds: dict[str, float] = {}
    for _ in range(rounds):
        rates: dict[str, float] = {}
        for title, runner in runners(world).items():
            if title in faults:
                continue
            outcome = _attempt(world, title, lambda runner=runner: runner(world, backlog))
            if isinstance(outcome, str):
                faults[title] = outcome
                continue
            seconds[title] = outcome.end_s - outcome.begin_s
            _add(found, rates, title, outcome)
            if title == OURS:
                _add_stored(world, stored, outcome)
    found.detail = " ".join(f"{title}: {fault}." for title, fault in faults.items())
    if kill:
        _after_kills(world, backlog, seconds, killed)
    for made in (found, stored, killed) if kill else (found, stored):
        if not made.figures:
            made.status = "did not finish"
    return {"contest": found, "contest_kill": killed, "storage": stored}


def warm_up(world: World, backlog: Backlog) -> None:
    """Let the TaskManager compile what both Flink contestants run: the others begin as processes of their own."""
    if not world.small:
        for title, runner in runners(world).items():
            if title in {*OF_US, PLAIN}:
                _attempt(world, f"{title}, warm-up", lambda runner=runner: runner(world, backlog))  # type: ignore[misc]


def _add(found: Found, rates: dict[str, float], title: str, outcome: Rows) -> None:
    """Figures of one, and how ours, whose rates are kept, compare with it."""
    outcome.add_to(found, title)
    if title in OF_US:
        rates[title] = outcome.events_per_s
        add_storage(found, title, outcome)
        return
    for mine, rate in rates.items():
        found.add(f"{mine} to {title}", ratio=rate / outcome.events_per_s)


def add_storage(found: Found, title: str, outcome: Rows) -> None:
    """What our rows cost Postgres."""
    found.add(f"{title}, storage", wal_bytes=outcome.wal_bytes / outcome.events,
              rows_per_event=outcome.stored_rows / outcome.events)  # fmt: skip


def _add_stored(world: World, stored: Found, outcome: Rows) -> None:
    """What is left in every store; where it cannot be measured, the rates stay."""
    assert outcome.settings is not None
    try:
        stored.add_all(storage.stored(world.folder, outcome.settings, outcome.events))
    except Exception as error:  # noqa: BLE001 - one measure must not take the others with it
        stored.detail = f"{type(error).__name__}: {error}"[:500]


def _after_kills(world: World, backlog: Backlog, seconds: Mapping[str, float], killed: Found) -> None:
    faults = []
    for title, runner in runners(world).items():
        if title not in seconds:
            continue
        wait_s = seconds[title] * KILL_AT
        outcome = _attempt(
            world, f"{title}, killed", lambda runner=runner, wait_s=wait_s: runner(world, backlog, kill_after_s=wait_s)
        )
        if isinstance(outcome, str):
            faults.append(f"{title}: {outcome}.")
        else:
            killed.add(title, after_kill_s=outcome.end_s - outcome.begin_s)
    killed.detail = " ".join(faults)


def _attempt(world: World, title: str, run: Callable[[], Rows]) -> Rows | str:
    try:
        outcome = run()
    except NotEqual as error:
        fault = f"**not equal** ({error})"
    except NotFinished as error:
        fault = f"**did not finish** ({error})"
    except Exception as error:  # noqa: BLE001 - one that cannot be run must not take the others with it
        fault = f"**failed** ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    else:
        world.say(f"  {title}: {outcome.events_per_s:,.0f} events/s, {outcome.own_cpu_us:.1f} us of own CPU an event")
        return outcome
    world.say(f"  {title}: {fault}")
    return fault
