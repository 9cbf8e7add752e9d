"""One process of `tidemark serve`: the services of its roles, and those that show how they do."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from tidemark.core.service import Health, Service
from tidemark.core.settings import Settings
from tidemark.core.supervisor import Supervisor
from tidemark.latency import sampler
from tidemark.latency.sampler import Sampled
from tidemark.latency.traces import tracer_of
from tidemark.serve import backlog, http, report
from tidemark.serve.figures import Figures
from tidemark.serve.observed import OBSERVED, TIMED, of_samples
from tidemark.serve.readiness import RoleHealth, roles_of
from tidemark.serve.roles import Services

DISTRIBUTION = "tidemark-metering"


class Process:
    """The services of some roles under one supervisor, with the endpoint that shows them.

    Parameters
    ----------
    settings:
        Of the run.
    services:
        By role.
    stop:
        Ends everything.

    Raises
    ------
    UsageError
        Traces are wanted, and the extra `trace` is not installed.
    """

    def __init__(self, settings: Settings, services: Mapping[str, Services], stop: threading.Event) -> None:
        self._settings = settings
        self._stop = stop
        self._figures = Figures()
        samples = "health" in services and settings.serve.sample_s > 0
        self._tracer = tracer_of(settings) if samples else None
        own = {http.PROCESS: [*self._own(list(services)), *(self._samplers() if samples else [])]}
        self._supervisor = Supervisor({**self._counted(services), **own}, stop)

    def run(self) -> list[str]:
        """Run until stopped; returns what `Supervisor.run` does."""
        try:
            return self._supervisor.run()
        finally:
            if self._tracer is not None:
                self._tracer.close()

    def health(self) -> list[Health]:
        """How every service does."""
        return self._supervisor.health()

    def _roles_now(self) -> list[RoleHealth]:
        return [one for one in roles_of(self.health(), time.time()) if one.role != http.PROCESS]

    def _unchecked_s(self) -> float:
        return self._supervisor.unchecked_s()

    def _counted(self, services: Mapping[str, Services]) -> dict[str, Services]:
        return {
            role: [self._observe(role, one) for one in many] if role in {*OBSERVED, *TIMED} else many
            for role, many in services.items()
        }

    def _samplers(self) -> Services:
        return [sampler.service(self._settings, self._sampled)]

    def _sampled(self, sampled: Sampled) -> None:
        for name, labels, seconds in of_samples(sampled, self._settings.serve.tenants):
            self._figures.observe(name, labels, seconds)
        if self._tracer is not None:
            self._tracer.send(sampled.stored)

    def _observe(self, role: str, service: Service[Any, Any]) -> Service[Any, Any]:
        """The service, which also puts what a step returned into the figures."""

        def observe(result: Any, failing: bool) -> None:
            if role in OBSERVED:
                for name, values in OBSERVED[role](result).items():
                    self._figures.put(name, values)
            for name, labels, seconds in TIMED[role](result) if role in TIMED else ():
                self._figures.observe(name, labels, seconds)
            service.report(result, failing)

        return replace(service, report=observe)

    def _own(self, roles: Sequence[str]) -> list[Service[Any, Any]]:
        own: list[Service[Any, Any]] = [
            backlog.service(self._settings, roles, self._figures),
            report.service(self._settings, self._roles_now, self._figures, self._stop),
        ]
        if (address := self._settings.serve.address) is not None:
            info = (version(DISTRIBUTION), self._settings.run_id)
            endpoint = http.Endpoint(self.health, self._unchecked_s, self._figures, info)
            own.append(http.service(address, endpoint))
        return own
