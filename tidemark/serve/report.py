"""Reports how the roles of this process do to Postgres, where the role `health` and `tidemark status` read it."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

from tidemark.core.errors import TidemarkError
from tidemark.core.postgres import Database
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.health import reports
from tidemark.health.state import RoleReport
from tidemark.serve.figures import FAMILIES, Figures, Values, current
from tidemark.serve.readiness import RoleHealth

log = logger("report")

EVERY_S = 5.0
TIMEOUT_MS = 5_000
# A stop waits for a last report no longer than this.
LAST_TIMEOUT_MS = 2_000
# A log has the whole text.
_LONGEST_REASON = 1_000

Roles = Callable[[], Sequence[RoleHealth]]


class Reporter:
    """Writes a report of each role of this process; the last one says that it has stopped."""

    def __init__(self, settings: Settings, roles: Roles, figures: Figures, stop: threading.Event) -> None:
        self._roles = roles
        self._figures = figures
        self._stop = stop
        self._instance = f"{socket.gethostname()}:{os.getpid()}:{int(time.time()):x}"
        self._database = Database(settings.postgres.ops, "report", settings.names.usage_schema, timeout_ms=TIMEOUT_MS)

    def report(self) -> None:
        """Write once; raises what `Database.run` raises."""
        roles = self._roles()
        made = reports_of(roles, current(self._figures.all(), roles), self._instance)
        self._database.run(lambda connection: reports.write(connection, made))

    def close(self) -> None:
        """Give the connection back; when the process was asked to end, say so first."""
        if self._stop.is_set():
            made = [stopped(one) for one in reports_of(self._roles(), {}, self._instance)]
            with suppress(TidemarkError):
                self._database.run(lambda connection: reports.write(connection, made), LAST_TIMEOUT_MS)
        self._database.close()


def reports_of(roles: Iterable[RoleHealth], figures: Mapping[str, Values], instance: str) -> list[RoleReport]:
    """The reports of roles, each with the figures that are about it."""
    return [
        RoleReport(
            role.role, instance, role.state, role.ready, role.reason[:_LONGEST_REASON], 0.0, role.succeeded_at,
            figures=_figures(role.role, figures),
        )
        for role in roles
    ]  # fmt: skip


def stopped(report: RoleReport) -> RoleReport:
    """The last report of a role."""
    return RoleReport(
        report.role, report.instance, "stopped", ready=False, reason="its process was asked to end", age_s=0.0,
        succeeded_at=report.succeeded_at,
    )  # fmt: skip


def service(settings: Settings, roles: Roles, figures: Figures, stop: threading.Event) -> Service[Reporter, None]:
    """Reports every EVERY_S seconds."""
    return Service("report", EVERY_S, lambda: Reporter(settings, roles, figures, stop), Reporter.report, log)


def _figures(role: str, figures: Mapping[str, Values]) -> dict[str, float]:
    """Figures of a role by their names and labels, as Prometheus writes them."""
    shown = {}
    for family in FAMILIES:
        if family.role == role:
            for values, figure in figures.get(family.name, {}).items():
                pairs = ",".join(f'{label}="{value}"' for label, value in zip(family.labels, values, strict=True))
                shown[f"{family.name}{{{pairs}}}" if pairs else family.name] = float(figure)
    return shown
