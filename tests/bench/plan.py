"""The runs that fill the measures, in the order of what a quick session must not miss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.events import Load
from tests.bench.pace import Stage
from tests.bench.report.results import Found
from tests.bench.runs import again, alone, drain, headers, http_events, installation, live, sizes, versus, whole
from tests.bench.world import World

# The rate that the whole stack is asked to sustain: such a stream has many events of one customer and minute.
DENSE_PER_S = 20_000


@dataclass(frozen=True, slots=True)
class Run:
    """What fills some measures.

    Parameters
    ----------
    measures:
        Their names.
    make:
        Does it.
    seconds:
        What it takes in a quick session; a run that does not fit any more is left out.
    full_only:
        Not in a quick session.
    """

    measures: tuple[str, ...]
    make: Callable[[World], dict[str, Found]]
    seconds: int = 0
    full_only: bool = False


def _drain_keyed(world: World) -> dict[str, Found]:
    backlog = world.backlog(Load(world.sized(320_000, 2_000_000)))
    found = drain.against(world, backlog, world.rounds(2, 5), warm=True)
    return {"drain_keyed": found["drain"], "cpu_processes": found["processes"], "cpu_threads": found["threads"]}


def _drain_round_robin(world: World) -> dict[str, Found]:
    backlog = world.backlog(Load(world.sized(200_000, 1_000_000)), round_robin=True)
    return {"drain_round_robin": drain.against(world, backlog, world.rounds(1, 3), warm=not world.quick)["drain"]}


def _contest(world: World) -> dict[str, Found]:
    backlog = world.backlog(Load(world.sized(200_000, 1_000_000)))
    kill = world.small or not world.quick
    versus.warm_up(world, world.backlog(Load(world.sized(50_000, 500_000), seed=8)))
    found = versus.compare(world, backlog, world.rounds(1, 3), kill=kill)
    if not kill:
        found["contest_kill"] = Found("not run", "in full runs only")
    return found


def _contest_dense(world: World) -> dict[str, Found]:
    count = world.sized(200_000, 1_000_000)
    backlog = world.backlog(Load(count, span_s=max(1, count // DENSE_PER_S)))
    versus.warm_up(world, world.backlog(Load(world.sized(50_000, 500_000), seed=8)))
    return {"contest_dense": versus.compare(world, backlog, world.rounds(1, 3), kill=False)["contest"]}


def _live(world: World) -> dict[str, Found]:
    seconds = (8, 5, 5, 5) if world.small else (25, 8, 5, 6) if world.quick else (90, 60, 60, 60)
    rates = (5_000, 1_000, 10_000, 5_000)
    return live.run(world, tuple(Stage(rate, for_s) for rate, for_s in zip(rates, seconds, strict=True)))


def _live_cold(world: World) -> dict[str, Found]:
    found = live.run(world, (Stage(5_000, 8 if world.small else 30),), warmed=False)
    return {"live_cold": found["live"]}


def _whole(world: World) -> dict[str, Found]:
    slow, fast = (8, 8) if world.small else (15, 30) if world.quick else (60, 600)
    return whole.run(world, Stage(2_000, slow), Stage(21_000, fast))


def _replay(world: World) -> dict[str, Found]:
    return {"replay": again.run(world, Load(world.sized(150_000, 2_000_000)), world.rounds(1, 2))}


def _linear(world: World) -> dict[str, Found]:
    if world.quick and not world.small:
        return {"linear": Found("not run", "in full runs only: small sizes measure the compiler")}
    small, large = (25_000, 50_000) if world.small else (500_000, 8_000_000)
    return {"linear": sizes.linear(world, small, large)}


def _http(world: World) -> dict[str, Found]:
    return {"http": http_events.run(world, 3 if world.small else 20 if world.quick else 60, world.rounds(1, 3))}


def _installation(world: World) -> dict[str, Found]:
    customers = world.sized(20_000, 1_000_000)
    return {"installation": installation.run(world, customers, customers)}


RUNS = (
    Run(("memory_rest",), lambda world: {"memory_rest": alone.at_rest(world)}, 5),
    Run(("decode",), lambda w: {"decode": alone.decode(w, w.sized(100_000, 400_000), w.rounds(3, 9))}, 20),
    Run(("drain_keyed", "cpu_processes", "cpu_threads"), _drain_keyed, 145),
    Run(("live", "limits"), _live, 105),
    Run(("contest", "contest_kill", "storage"), _contest, 120),
    Run(("contest_dense",), _contest_dense, full_only=True),
    Run(("minute_row", "sustained", "memory_load"), _whole, 60),
    Run(("drain_round_robin",), _drain_round_robin, 30),
    Run(("customers",), lambda w: {"customers": sizes.customers(w, w.sized(80_000, 1_000_000))}, 55),
    Run(("replay",), _replay, 50),
    Run(("sdk",), lambda w: {"sdk": alone.sdk(w.sized(1_000, 5_000), w.rounds(2, 4))}, 10),
    Run(("live_cold",), _live_cold, full_only=True),
    Run(("http",), _http, full_only=True),
    Run(("linear",), _linear, full_only=True),
    Run(("ids",), lambda w: {"ids": sizes.ids(w, w.sized(200_000, 10_000_000))}, full_only=True),
    Run(("dashboards",), lambda w: {"dashboards": alone.dashboards(w, w.sized(1_000, 5_000))}, full_only=True),
    Run(("headers",), lambda w: {"headers": headers.run(w, w.sized(100_000, 400_000), w.rounds(1, 3))}, full_only=True),
    Run(("installation",), _installation, full_only=True),
)
