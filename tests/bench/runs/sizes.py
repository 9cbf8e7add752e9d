"""How cost grows: with customers, with a hot one, with events, with ids in state."""

from __future__ import annotations

from dataclasses import replace

from tests.bench.events import Load
from tests.bench.measures import METER
from tests.bench.report.results import Found
from tests.bench.report.stats import slope
from tests.bench.runs import drain
from tests.bench.world import World


def customers(world: World, count: int) -> Found:
    """Many customers against few, and one that has half of the traffic."""
    loads = {
        "100 customers": Load(count, customers=100, skew=0.0),
        "100 000 customers": Load(count, customers=100_000, skew=0.0),
        "10 000 customers": Load(count, skew=0.0),
        "one customer has half": Load(count, skew=0.0, hot=0.5),
    }
    drain.warm_up(world, METER, world.backlog(loads["10 000 customers"]))
    found, runs = Found(), {}
    for name, load in loads.items():
        runs[name] = drain.run(world, METER, world.backlog(load))
        found.add(name, events_per_s=runs[name].events_per_s, own_cpu_us=runs[name].own_cpu_us)
    many, few = runs["100 000 customers"], runs["100 customers"]
    found.add("CPU, 100 000 to 100 customers", ratio=many.own_cpu_us / few.own_cpu_us)
    hot, even = runs["one customer has half"], runs["10 000 customers"]
    found.add("throughput, hot to even", ratio=hot.events_per_s / even.events_per_s)
    return found


def grown(load: Load, count: int) -> Load:
    """A longer stream of the same rate: one that is denser has fewer deltas an event, and would seem to cost less."""
    return replace(load, count=count, span_s=load.span_s * count // load.count)


def linear(world: World, small: int, large: int) -> Found:
    """CPU of the job's own processes at two sizes, of streams of one rate."""
    # The compiler's share is that of the smaller one: cold, anything would seem to grow slower than its input.
    drain.warm_up(world, METER, world.backlog(Load(small)))
    found, cost = Found(), {}
    for load in (Load(small), grown(Load(small), large)):
        count = load.count
        done = drain.run(world, METER, world.backlog(load))
        cost[count] = done.own_cpu_us * count
        found.add(f"{count:,} events".replace(",", " "), events_per_s=done.events_per_s, own_cpu_us=done.own_cpu_us)
    found.add("CPU", slope=slope((small, cost[small]), (large, cost[large])))
    return found


def ids(world: World, count: int) -> Found:
    """Dedupe keys in a checkpoint, and how long checkpoints take with all of them."""
    backlog = world.backlog(Load(count, clean=True))
    settings = world.settings("ids", **{"topics.events": backlog.topic})
    world.prepare(settings)
    try:
        job = drain.start(settings, METER)
        drain.wait_written(world, settings, backlog)
        rest = world.rest()
        answer = rest._call("GET", f"/jobs/{job}/checkpoints")
        details = rest._call("GET", f"/jobs/{job}/checkpoints/details/{answer['latest']['completed']['id']}")
        names = {vertex["id"]: vertex["name"] for vertex in rest.details(job)["vertices"]}
        dedupe = sum(task["state_size"] for id_, task in details["tasks"].items() if "Deduplicate" in names[id_])
    finally:
        world.cancel(settings)
    found = Found()
    found.add(f"{count:,} ids".replace(",", " "), state_bytes=dedupe / count,
              p99_ms=answer["summary"]["end_to_end_duration"]["p99"])  # fmt: skip
    return found
