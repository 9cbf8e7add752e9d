"""One process of `tidemark serve`: the services of its roles, and those that show how they do."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from tidemark.core.service import Health, Service
from tidemark.core.settings import Settings
from tidemark.core.supervisor import Supervisor
from tidemark.serve import backlog, http
from tidemark.serve.figures import Figures
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
    """

    def __init__(self, settings: Settings, services: Mapping[str, Services], stop: threading.Event) -> None:
        self._settings = settings
        self._figures = Figures()
        own = {http.PROCESS: self._own(list(services))}
        self._supervisor = Supervisor({**self._counted(services), **own}, stop)

    def run(self) -> list[str]:
        """Run until stopped; returns what `Supervisor.run` does."""
        return self._supervisor.run()

    def health(self) -> list[Health]:
        """How every service does."""
        return self._supervisor.health()

    def _unchecked_s(self) -> float:
        return self._supervisor.unchecked_s()

    def _counted(self, services: Mapping[str, Services]) -> dict[str, Services]:
        counted = dict(services)
        if "close" in counted:
            counted["close"] = [backlog.counting_refusals(one, self._figures) for one in counted["close"]]
        return counted

    def _own(self, roles: Sequence[str]) -> list[Service[Any, Any]]:
        own: list[Service[Any, Any]] = [backlog.service(self._settings, roles, self._figures)]
        if (address := self._settings.serve.address) is not None:
            info = (version(DISTRIBUTION), self._settings.run_id)
            endpoint = http.Endpoint(self.health, self._unchecked_s, self._figures, info)
            own.append(http.service(address, endpoint))
        return own
