"""The stack of a game day under load, and what is measured while a fault is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

from infra.dashboards.preview import config_for, prometheus
from infra.local.paths import write_private
from jobs.flink.rest import wait_until
from tests.chaos.game_day.alerts import firing, is_of
from tests.chaos.game_day.faults import Scenario
from tests.chaos.game_day.report import Outcome
from tests.chaos.roles.world import BULK, ROLES, Case, Serve, World, usage
from tests.ports import free_port
from tests.streams import StreamRecord
from tidemark.core.errors import UnavailableError
from tidemark.core.kafka import end_offsets
from tidemark.core.settings import Settings

ALERTED_WITHIN_S, BACK_WITHIN_S = 420.0, 300.0
# A case and its bulk are one simulated day.
PACE_S, BULK_EVENTS = 20.0, 2_000


class Load(threading.Thread):
    """Usage of a day after another, until it is asked to end; every day is closed, alerted about and archived."""

    def __init__(self, world: World) -> None:
        super().__init__(daemon=True)
        self._world = world
        self._turn = threading.Lock()
        self._end = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._end.wait(PACE_S):
                self.send_day()
        except BaseException as error:  # noqa: BLE001 - the day ends with it
            self.error = error

    def end(self) -> None:
        """Send no more; raises what sending raised."""
        self._end.set()
        self.join()
        if self.error is not None:
            raise self.error

    def send_day(self) -> Case:
        """Send bulk usage of the next day, and then its case, which moves time on; days follow each other."""
        with self._turn:
            case, run = self._world.case(), self._world.run
            partitions = len(end_offsets(run.kafka, run.topics.events))
            self._world.made.send(bulk(case, partitions))
            self._world.send(case)
            return case


def bulk(case: Case, partitions: int) -> Iterator[StreamRecord]:
    """Usage of a morning."""
    for one in range(BULK_EVENTS):
        at = case.day + timedelta(hours=8, seconds=one)
        yield usage(BULK, "ab"[one % 2], f"{BULK}/{case.number}/{one}", at, one % partitions)


@dataclass
class Day:
    """Everything that runs.

    Parameters
    ----------
    world:
        Stack with all roles behind proxies.
    prometheus_url:
        A Prometheus with the product's rules.
    hold_s:
        How long a fault stays after its alert, for people to find it.
    """

    world: World
    prometheus_url: str
    hold_s: float
    running: ExitStack
    serve: Serve
    load: Load

    def start_serve(self) -> None:
        """Start all roles, and wait until they are ready."""
        self.serve = self.running.enter_context(self.world.serving())
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until every role is ready."""
        wait_until(self._is_ready, BACK_WITHIN_S, "all roles to be ready")

    def play(self, scenario: Scenario) -> Outcome:
        """Begin a fault, wait for its alert, mend it, and wait until alert and work are as before."""
        wait_until(lambda: not self._fires(scenario), BACK_WITHIN_S, f"{scenario.alert} not to fire yet")
        begin = time.monotonic()
        fault: Any = scenario.fault(self)
        with fault:
            wait_until(lambda: self._fires(scenario), ALERTED_WITHIN_S, f"{scenario.alert} to fire", every_s=0.5)
            alerted_s = time.monotonic() - begin
            time.sleep(self.hold_s)
            mended = time.monotonic()
        self.wait_ready()
        working_s = time.monotonic() - mended
        case = self.load.send_day()
        wait_until(lambda: self._has_done(case), BACK_WITHIN_S, f"the work of {case.tenant}")
        done_s = time.monotonic() - mended
        wait_until(lambda: not self._fires(scenario), BACK_WITHIN_S, f"{scenario.alert} to end", every_s=0.5)
        return Outcome(scenario, alerted_s, working_s, done_s, time.monotonic() - mended)

    def settle(self) -> int:
        """End the load, wait until all of it is done, and compare it with the oracle; records that were sent."""
        self.load.end()
        for case in self.world.cases:
            wait_until(lambda case=case: self._has_done(case), BACK_WITHIN_S, f"the work of {case.tenant}")  # type: ignore[misc]
        self.world.wait_done(self.world.cases[-1], BACK_WITHIN_S)
        self.world.assert_exact()
        assert self.world.open_drift() == []
        return sum(end_offsets(self.world.run.kafka, self.world.run.topics.events).values())

    def _has_done(self, case: Case) -> bool:
        # A service that has just come back may not answer yet.
        with suppress(UnavailableError):
            return not self.world.missing(case, under_load=True)
        return False

    def _is_ready(self) -> bool:
        roles = self.serve.readyz()
        return set(roles) == set(ROLES) and all(one["ready"] for one in roles.values())

    def _fires(self, scenario: Scenario) -> bool:
        return any(is_of(alert, scenario.alert, scenario.about) for alert in firing(self.prometheus_url))


def write_settings(settings: Settings, file: Path) -> None:
    """Settings for the commands of the people on call: they reach everything as the roles do."""
    document = settings.model_dump(mode="json", exclude={"redis": {"password"}}, exclude_none=True)
    write_private(file, yaml.safe_dump(document))


@contextmanager
def day(world: World, folder: Path, hold_s: float) -> Iterator[Day]:
    """All roles on one address, Prometheus that scrapes it, and load."""
    address = f"127.0.0.1:{free_port()}"
    made = replace(world, proxied=world.proxied.with_changes({"serve.listen": address}))
    with ExitStack() as running:
        url = running.enter_context(prometheus(config_for([address], []), folder))
        serve = running.enter_context(made.serving())
        begun = Day(made, url, hold_s, running, serve, Load(made))
        begun.wait_ready()
        begun.load.start()
        running.callback(begun.load.end)
        yield begun
