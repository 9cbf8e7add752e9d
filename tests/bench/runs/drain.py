"""Drain: how fast a job works off a backlog, by what the deltas say of when they were written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.flink import submit
from jobs.flink.rest import FlinkRest
from tests.bench.contestants import flink_sql
from tests.bench.cpu import OWN, Sampler
from tests.bench.measures import METER, PLAIN, RATIO, THROUGHPUT
from tests.bench.report.results import Found
from tests.bench.report.stats import agree, warm_after
from tests.bench.truth import Written
from tests.bench.world import Backlog, NotEqual, NotFinished, World, limit_s
from tidemark.core.kafka import clients
from tidemark.core.settings import Settings

# Without a new delta for so long, a job is asked whether it has ended its work: two checkpoints and a tick.
QUIET_S = 2.5
# As long as the ticks of a backlog, which write all of their deltas at once.
WINDOW_MS = 2_000
# Most runs that are thrown away until two agree.
WARM_UPS = {True: 2, False: 4}
# What a job is besides its defaults, for the full size alone.
PROFILES = {THROUGHPUT: {"meter.profile": "throughput"}}
SCRIPTS = {METER: Path("jobs/meter/job.py"), PLAIN: Path(flink_sql.__file__).with_name("meter.py")}


@dataclass(frozen=True, slots=True)
class Drained:
    """One run that equalled the oracle.

    Parameters
    ----------
    begin_s, end_s:
        First record consumed, last delta written; epoch seconds.
    events, deltas:
        Events read, deltas written.
    warm_events_per_s:
        Rate after the first two windows that agreed; None: none did.
    processes, threads:
        Seconds of CPU by program, and by group of threads of the TaskManager.
    """

    begin_s: float
    end_s: float
    events: int
    deltas: int
    warm_events_per_s: float | None
    processes: dict[str, float]
    threads: dict[str, float]

    @property
    def events_per_s(self) -> float:
        """Rate of the whole run."""
        return self.events / (self.end_s - self.begin_s)

    @property
    def own_cpu_us(self) -> float:
        """CPU of the job's own processes, microseconds an event."""
        return sum(spent for name, spent in self.processes.items() if name in OWN) / self.events * 1e6


def first_consumed_s(vertices: Sequence[dict[str, Any]]) -> float:
    """When the last task began to run, by the tasks' own clocks: nothing is consumed to its end before."""
    return max(subtask["timestamps"]["RUNNING"] for vertex in vertices for subtask in vertex["subtasks"]) / 1_000


def task_times(rest: FlinkRest, job_id: str) -> list[dict[str, Any]]:
    """What Flink says of each subtask of a job."""
    vertices = rest.details(job_id)["vertices"]
    return [rest._call("GET", f"/jobs/{job_id}/vertices/{vertex['id']}/subtasktimes") for vertex in vertices]


def warm_rate(times: Sequence[tuple[int, int]], window_ms: int = WINDOW_MS) -> float | None:
    """Counted events a second after the warm-up, from (ms, events) of each delta in order."""
    if not times:
        return None
    first_ms, last_ms = times[0][0], times[-1][0]
    counts = [0] * ((last_ms - first_ms) // window_ms + 1)
    for at_ms, count in times:
        counts[(at_ms - first_ms) // window_ms] += count
    # The last window is not a whole one.
    skipped = warm_after(counts[:-1])
    if skipped is None:
        return None
    begin_ms = first_ms + skipped * window_ms
    return sum(counts[skipped:]) / max(1, last_ms - begin_ms) * 1_000


def start(settings: Settings, job: str) -> str:
    """Submit `meter`, or its yardstick."""
    if job != PLAIN:
        return submit.submit(settings, "meter").job_id
    return submit.flink_run(settings, SCRIPTS[job].absolute(), ["--run-id", settings.run_id])


def run(world: World, job: str, backlog: Backlog, **changes: Any) -> Drained:
    """Run a job from nothing to the end of a backlog.

    Raises
    ------
    NotEqual, NotFinished
        What was written is not what the oracle says, or not within `limit_s`.
    """
    settings = world.settings("drain", **{"topics.events": backlog.topic, **PROFILES.get(job, {}), **changes})
    world.prepare(settings)
    sampler = Sampler(world.root)
    sampler.start()
    try:
        job_id = start(settings, job)
        written = wait_written(world, settings, backlog)
        begin_s = first_consumed_s(task_times(world.rest(), job_id))
    finally:
        sampler.end()
        world.cancel(settings)
    end_s = written.times[-1][0] / 1_000
    rate = warm_rate(written.times)
    drained = Drained(
        begin_s, end_s, backlog.events, len(written.times),
        None if rate is None else rate * backlog.events / backlog.truth.counted,
        sampler.spent(begin_s, end_s), sampler.spent_by_threads(begin_s, end_s),
    )  # fmt: skip
    world.say(f"  {job}: {drained.events_per_s:,.0f} events/s, {drained.own_cpu_us:.1f} us of own CPU an event")
    return drained


def wait_written(world: World, settings: Settings, backlog: Backlog) -> Written:
    """Wait for the last delta, and compare."""
    longest_s = limit_s(backlog.events)
    deadline = time.monotonic() + longest_s
    dump = world.folder / "deltas.tsv"
    with clients.consuming(settings.kafka) as consumer:
        parts = clients.partitions(consumer, settings.names.deltas)
        while time.monotonic() < deadline:
            _wait_quiet(consumer, parts, deadline)
            if world.tool("dump", settings, settings.names.deltas, "--to", str(dump)).wait():
                continue
            written = backlog.truth.of_deltas(dump)
            counted = sum(count for _, count in written.times)
            if counted >= backlog.truth.counted:
                if written.difference:
                    raise NotEqual(written.difference)
                return written
    raise NotFinished(f"not all of {backlog.topic} was counted within {longest_s:.0f} s")


def _wait_quiet(consumer: Any, parts: Sequence[Any], deadline: float) -> None:
    end, since = 0, time.monotonic()
    while time.monotonic() < deadline:
        now = sum(consumer.end_offsets(parts).values())
        if now != end:
            end, since = now, time.monotonic()
        if end and time.monotonic() - since > QUIET_S:
            return
        time.sleep(0.25)


def warm_up(world: World, job: str, backlog: Backlog) -> bool:
    """Run a job until two runs agree, at most WARM_UPS times; whether they did."""
    if world.small:
        return False
    rates: list[float] = []
    for _ in range(WARM_UPS[world.quick]):
        rates.append(run(world, job, backlog).events_per_s)
        if len(rates) > 1 and agree(*rates[-2:]):
            return True
    return False


def against(world: World, backlog: Backlog, rounds: int, *, warm: bool) -> dict[str, Found]:
    """`meter` and plain SQL in turn, with CPU by program and by thread; long sessions have the other profile too."""
    drain, processes, threads = Found(), Found(), Found()
    if warm:
        agreed = {job: warm_up(world, job, backlog) for job in (PLAIN, METER)}
        cold = [job for job, did in agreed.items() if not did]
        drain.detail = f"Warm-up runs of {' and '.join(cold)} did not agree within 10 %." if cold else ""
    for _ in range(rounds):
        rates = {}
        for job in (PLAIN, METER, *([] if world.quick else PROFILES)):
            found = run(world, job, backlog)
            rates[job] = found.events_per_s
            drain.add(job, events_per_s=found.events_per_s, own_cpu_us=found.own_cpu_us,
                      all_cpu_us=sum(found.processes.values()) / found.events * 1e6,
                      deltas_per_event=found.deltas / found.events)  # fmt: skip
            if found.warm_events_per_s is not None:
                drain.add(job, warm_events_per_s=found.warm_events_per_s)
            add_cpu(processes, job, found.processes, found.events)
            add_cpu(threads, job, found.threads, found.events)
        drain.add(RATIO, ratio=rates[METER] / rates[PLAIN])
        for job in rates.keys() & PROFILES:
            drain.add(f"{job} to {PLAIN}", ratio=rates[job] / rates[PLAIN])
    return {"drain": drain, "processes": processes, "threads": threads}


def add_cpu(found: Found, job: str, spent: dict[str, float], events: int) -> None:
    """Figures of what took part in the work."""
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        if seconds / events * 1e6 >= 0.05:
            found.add(f"{job}: {name}", cpu_us=seconds / events * 1e6)
