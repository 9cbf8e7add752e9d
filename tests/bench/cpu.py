"""CPU of the processes of a stack while a run lasts: by program, and by groups of threads of the TaskManager."""

from __future__ import annotations

import os
import re
import threading
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.local.reap import marked

EVERY_S = 0.5
# Contestants may begin and end within a second; their threads are not asked for.
CONTESTANT_EVERY_S = 0.2
# Processes come and go; looking for them reads the environment of every process of the machine.
LOOK_EVERY_S = 2.0
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
WORKERS = "python workers"
# What a job costs beside its services.
OWN = frozenset({"taskmanager", WORKERS, "contestant"})
# Names of threads, 15 characters of them, and the group they belong to.
_GROUPS = (
    (re.compile(r"^C[12] Compiler"), "JIT compiler"),
    (re.compile(r"^(GC |G1 |VM |Signal|Service|Monitor)"), "JVM and GC"),
    (re.compile(r"^rocksdb"), "RocksDB flush and compaction"),
    (re.compile(r"^(flink-pekko|pekko|flink-metrics)"), "RPC"),
    (re.compile(r"^(grpc|Grpc|beam|Beam|pool-)"), "hand-over to Python"), (re.compile(r"^kafka-"), "Kafka clients"),
    (re.compile(r"^(jobmanager|AsyncOperations|Checkpoint|Channel state)", re.IGNORECASE), "checkpoints"),
)  # fmt: skip
Snapshot = Mapping[str, float]


def group_of(thread: str) -> str:
    """The group of a thread by its name: known ones in words, tasks by the name of their operator."""
    for pattern, group in _GROUPS:
        if pattern.search(thread):
            return group
    return re.sub(r"[\[( #-]*\d+.*$", "", thread).strip() or thread


def at(samples: Sequence[tuple[float, Snapshot]], instant: float) -> Counter[str]:
    """Seconds of CPU by name at an instant: between two samples on the line through them."""
    times = [time_s for time_s, _ in samples]
    after = min(max(1, bisect_right(times, instant)), len(samples) - 1)
    (first_s, first), (last_s, last) = samples[after - 1], samples[after]
    share = min(1.0, max(0.0, (instant - first_s) / (last_s - first_s)))
    return Counter({name: first.get(name, 0.0) + share * (last[name] - first.get(name, 0.0)) for name in last})


class Sampler(threading.Thread):
    """Reads /proc while a run lasts.

    Parameters
    ----------
    root:
        State directory of the stack.
    pid:
        A process whose children are the `contestant`.
    """

    def __init__(self, root: Path, pid: int | None = None) -> None:
        super().__init__(daemon=True)
        self._root, self._pid = root, pid
        self._ended = threading.Event()
        self._programs: dict[int, str] = {}
        self._spent: dict[int, tuple[str, float]] = {}
        self._threads: dict[int, tuple[str, float]] = {}
        self.processes: list[tuple[float, Snapshot]] = []
        self.threads: list[tuple[float, Snapshot]] = []

    def run(self) -> None:
        """Sample until `end`."""
        looked = 0.0
        while True:
            if time.monotonic() - looked > LOOK_EVERY_S:
                self._look()
                looked = time.monotonic()
            self._look_for_children()
            self._sample()
            if self._ended.wait(EVERY_S if self._pid is None else CONTESTANT_EVERY_S):
                break
        self._sample()

    def end(self) -> None:
        """Take the last sample."""
        self._ended.set()
        self.join()

    def spent(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Seconds of CPU by program between two instants, epoch seconds."""
        return dict(at(self.processes, end_s) - at(self.processes, begin_s))

    def spent_by_threads(self, begin_s: float, end_s: float) -> dict[str, float]:
        """Seconds of CPU by group of threads of the TaskManager."""
        return dict(at(self.threads, end_s) - at(self.threads, begin_s))

    def _look(self) -> None:
        self._programs |= programs(self._root)

    def _look_for_children(self) -> None:
        """Those that come and go while it lasts: of the contestant, and backends of Postgres."""
        parents = {pid: program for pid, program in self._programs.items() if program == "postgres"}
        if self._pid is not None:
            parents[self._pid] = "contestant"
        for pid, program in parents.items():
            self._programs |= dict.fromkeys(descendants(pid)[1:], program)

    def _sample(self) -> None:
        now = time.time()
        for pid, program in self._programs.items():
            found = _quiet(lambda pid=pid: process(pid))  # type: ignore[misc]
            if found is None:
                continue
            name, seconds = found
            is_worker = program == "taskmanager" and name.startswith("python")
            self._spent[pid] = WORKERS if is_worker else program, seconds
            if program == "taskmanager" and name == "java" and self._pid is None:
                self._threads |= _quiet(lambda pid=pid: threads(pid)) or {}  # type: ignore[misc]
        self.processes.append((now, _summed(self._spent)))
        self.threads.append((now, _summed(self._threads)))


def _summed(spent: Mapping[int, tuple[str, float]]) -> Snapshot:
    # What ended keeps its last value.
    totals: dict[str, float] = defaultdict(float)
    for name, seconds in spent.values():
        totals[name] += seconds
    return dict(totals)


def _quiet(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except OSError:
        return None


def process(pid: int) -> tuple[str, float]:
    """Name of a process and its CPU seconds, those of its ended threads too."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    name, _, rest = text.partition("(")[2].rpartition(") ")
    fields = rest.split()
    return name, (int(fields[11]) + int(fields[12])) * _TICK_S


def threads(pid: int) -> dict[int, tuple[str, float]]:
    """Group and CPU seconds of each thread of a process, by the scheduler's own count."""
    result = {}
    for folder in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (folder / "comm").read_text(encoding="utf-8").rstrip("\n")
            spent_ns = (folder / "schedstat").read_text(encoding="utf-8").split()[0]
        except OSError:
            continue
        result[int(folder.name)] = group_of(name), int(spent_ns) / 1e9
    return result


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for folder in Path(f"/proc/{parent}/task").glob("*/children"):
            text = _quiet(lambda folder=folder: folder.read_text(encoding="utf-8")) or ""  # type: ignore[misc]
            found += map(int, text.split())
    return found


def programs(root: Path) -> dict[int, str]:
    """Every process of a stack and its program, children without a mark too.

    Postgres writes titles over the environment of its backends, and the mark with it.
    """
    started = marked(root)
    below = {child: program for pid, program in started.items() for child in descendants(pid)}
    return below | started


def memory_gib(root: Path) -> dict[str, float]:
    """Memory by program, shared pages divided among those who share them, GiB."""
    totals: dict[str, float] = defaultdict(float)
    for pid, program in programs(root).items():
        text = _quiet(lambda pid=pid: Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")) or ""  # type: ignore[misc]
        lines = [line.split()[1] for line in text.splitlines() if line.startswith("Pss:")]
        totals[program] += sum(map(int, lines)) / 2**20
    return dict(totals)
