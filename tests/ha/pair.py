"""Two JobManagers of a stack: which of them leads, what is done to it, and how the jobs do meanwhile."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from infra.local.addresses import flink_rest
from infra.local.ports import read_ports
from infra.local.reap import marked
from infra.local.stack import Stack
from infra.local.standby import SECOND
from jobs.flink.rest import FlinkRest, Job, wait_until
from jobs.flink.submit import JOBS
from tests.chaos.frozen import frozen
from tests.pipeline import Pipeline
from tests.streams import StreamRecord
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import FlinkSettings, nested

OTHER = {"jobmanager": SECOND, SECOND: "jobmanager"}
_RPC = {"jobmanager": "flink_rpc", SECOND: "flink_rpc_2"}
_REST = {"jobmanager": "flink_rest", SECOND: "flink_rest_2"}
WITHIN_S = 180.0
_RESOURCE_MANAGER = re.compile(r"127\.0\.0\.1:(\d+)/user/rpc/resourcemanager")


@dataclass(frozen=True)
class Election:
    """Who elects: a text of its store that has the address of the one that leads, and its processes."""

    address: Callable[[], str]
    pids: Callable[[], list[int]]


@dataclass(frozen=True)
class Pair:
    """The JobManagers of a stack, a run of both jobs on it, and what is to be sent to it, which takes half an hour."""

    mode: str
    local: Stack
    run: Pipeline
    election: Election
    records: Iterator[StreamRecord]

    @staticmethod
    def ports_of(local: Stack) -> dict[str, int]:
        ports = read_ports(local.paths.ports)
        assert ports is not None
        return ports

    def rest(self, name: str) -> FlinkRest:
        """One that is asked; it answers as the one that leads does."""
        values = nested(flink_rest(self.local.paths, self.ports_of(self.local)[_REST[name]]))
        return FlinkRest(FlinkSettings(**values["flink"]))

    def leader(self) -> str:
        """The program that leads; empty while none does."""
        found = _RESOURCE_MANAGER.search(self.election.address())
        ports = self.ports_of(self.local)
        return next((name for name, port in _RPC.items() if found and int(found[1]) == ports[port]), "")

    def wait_led(self, by: str) -> None:
        wait_until(lambda: self.leader() == by, WITHIN_S, f"{by} to lead")

    def wait_both(self) -> None:
        """Wait until both answer."""
        for name in OTHER:
            wait_until(lambda name=name: self._has_jobs(name), WITHIN_S, f"{name} to answer")  # type: ignore[misc]

    def _has_jobs(self, name: str) -> bool:
        with suppress(TidemarkError):
            return len(self.active(name)) == len(JOBS)
        return False

    def active(self, name: str) -> list[Job]:
        """Jobs of the run that have not ended, as one of the two sees them."""
        listed = {job.name: job for job in reversed(self.rest(name).jobs())}
        return [listed[one] for one in map(self.run.settings.names.job, JOBS) if one in listed]

    def is_progressing(self, name: str, since_ms: float) -> bool:
        """Whether both jobs have completed a checkpoint that began since then."""
        with suppress(TidemarkError):
            rest, found = self.rest(name), self.active(name)
            return len(found) == len(JOBS) and all(
                (rest.progress(job.id).triggered_ms or 0) > since_ms for job in found
            )
        return False

    def restarts(self, name: str) -> dict[str, int | None]:
        """Restarts of both jobs by their ids; Flink says them a while after a job has begun."""
        rest, found = self.rest(name), {}

        def is_known() -> bool:
            found.update({job.id: rest.restarts(job.id) for job in self.active(name)})
            return len(found) == len(JOBS) and None not in found.values()

        wait_until(is_known, WITHIN_S, "the restarts of both jobs")
        return found

    def kill(self, name: str) -> None:
        """kill -9; the supervisor of the stack starts it again."""
        os.kill(self._pid(name), signal.SIGKILL)

    def frozen(self, name: str) -> AbstractContextManager[None]:
        """One that does nothing meanwhile, and then goes on as if no time had passed."""
        return frozen([self._pid(name)])

    def without_election(self) -> AbstractContextManager[None]:
        """Who elects does nothing meanwhile."""
        return frozen(self.election.pids())

    def _pid(self, name: str) -> int:
        (pid,) = marked(self.local.paths.root, name)
        return pid


@dataclass
class Stopwatch:
    """Seconds since something happened, by what has become of it."""

    begin: float
    laps: dict[str, float]

    @classmethod
    def start(cls) -> Stopwatch:
        return cls(time.monotonic(), {})

    def lap(self, name: str) -> None:
        self.laps[name] = round(time.monotonic() - self.begin, 1)
