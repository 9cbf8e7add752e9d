"""The active versions of the rollups: which runs they come from, and how far each run is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemark.billing import refusals
from tidemark.billing.lines import PeriodKey
from tidemark.billing.watermark import Watermark, as_text, drain
from tidemark.core import rollup_views
from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import connect
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings

Say = Callable[[str], None]
# Watermark by run id.
Watermarks = Mapping[str, Watermark]


@dataclass(frozen=True, slots=True)
class ActiveVersions:
    """The overlays in use, and the watermark of each run that open periods come from."""

    overlays: Sequence[Overlay]
    watermarks: Watermarks

    @property
    def at(self) -> datetime | None:
        """The least watermark; None if one of the runs has none."""
        instants = [watermark.at for watermark in self.watermarks.values()]
        return None if None in instants else min((at for at in instants if at is not None), default=None)

    @property
    def reason(self) -> str:
        """Why there is no watermark."""
        return next((watermark.reason for watermark in self.watermarks.values() if watermark.at is None), "")

    def rests_on(self, run: str) -> dict[str, dict[str, int]]:
        """Offsets that the rollups of a run include; for a run without open periods, those of a run that has them."""
        watermark = self.watermarks.get(run) or next(iter(self.watermarks.values()))
        return as_text(watermark.offsets)


def drained(settings: Settings, say: Say) -> tuple[ActiveVersions | None, tuple[refusals.Cause, str] | None]:
    """Drain the active runs; returns how far they are, and why nothing may be closed, if so.

    Raises
    ------
    UnavailableError
        Postgres does not answer.
    """
    overlays = _overlays(settings)
    runs = {run: settings.with_changes({"run_id": run}) for run in open_runs_of(overlays, settings)}
    try:
        watermarks = {run: drain(run_settings, say) for run, run_settings in runs.items()}
        failed = next(filter(None, map(refusals.failed_checkpoints, runs.values())), "")
    except UnavailableError as error:
        return None, ("jobs", str(error))
    active = ActiveVersions(overlays, watermarks)
    if failed:
        return active, ("checkpoints", failed)
    return active, None if active.at else ("watermark", active.reason)


def open_runs(settings: Settings) -> list[str]:
    """Ids of the runs that open periods come from now; raises UnavailableError for Postgres."""
    return open_runs_of(_overlays(settings), settings)


def open_runs_of(overlays: Sequence[Overlay], settings: Settings) -> list[str]:
    """Ids of the runs that open periods come from: replays without an end, and the live run unless one covers all."""
    runs: list[str] = []
    for overlay in reversed(overlays):
        if overlay.end is None:
            runs.append(run_of(overlay))
            if not overlay.tenants:
                return runs
    return [*runs, settings.run_id]


def run_of(overlay: Overlay) -> str:
    """Run id of an overlay."""
    return overlay.usage_schema.removeprefix("usage").removeprefix("_")


def source_run(overlays: Sequence[Overlay], settings: Settings, key: PeriodKey) -> str:
    """Id of the run that the active rollups of a period come from."""
    for overlay in reversed(overlays):
        if overlay.holds(key.start, key.end) and (not overlay.tenants or key.tenant_id in overlay.tenants):
            return run_of(overlay)
    return settings.run_id


def by_run(settings: Settings, active: ActiveVersions, keys: Iterable[PeriodKey]) -> dict[str, list[PeriodKey]]:
    """Periods by the run that their active rollups come from."""
    keys_of: dict[str, list[PeriodKey]] = {}
    for key in keys:
        keys_of.setdefault(source_run(active.overlays, settings, key), []).append(key)
    return keys_of


def _overlays(settings: Settings) -> list[Overlay]:
    with connect(settings.postgres.ops) as connection:
        return rollup_views.overlays(connection, settings.names)
