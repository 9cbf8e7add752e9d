"""Which runs feed the rollups that people read, and how far each of them is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tidemark.billing import refusals
from tidemark.billing.lines import PeriodKey
from tidemark.billing.watermark import Watermark, as_text, settle
from tidemark.core import rollup_views
from tidemark.core.errors import UnavailableError
from tidemark.core.postgres import connect
from tidemark.core.rollup_views import Layer
from tidemark.core.settings import Settings

Say = Callable[[str], None]
# Watermark by run id.
Marks = Mapping[str, Watermark]


@dataclass(frozen=True, slots=True)
class Feed:
    """Versions that people read, and how far each run is that feeds open periods."""

    layers: Sequence[Layer]
    marks: Marks

    @property
    def at(self) -> datetime | None:
        """The least watermark; None when one of the runs has none."""
        found = [mark.at for mark in self.marks.values()]
        return None if None in found else min((at for at in found if at is not None), default=None)

    @property
    def reason(self) -> str:
        """Why there is none."""
        return next((mark.reason for mark in self.marks.values() if mark.at is None), "")

    def rests_on(self, run: str) -> dict[str, dict[str, int]]:
        """Offsets that the rollups of a run hold; of one that feeds no open period, those of one that does."""
        mark = self.marks.get(run) or next(iter(self.marks.values()))
        return as_text(mark.offsets)


def settled(settings: Settings, say: Say) -> tuple[Feed | None, tuple[refusals.Cause, str] | None]:
    """How far the runs are; otherwise, or besides, why nothing may be closed; raises UnavailableError for Postgres."""
    layers = _layers(settings)
    runs = {run: settings.with_changes({"run_id": run}) for run in runs_of(layers, settings)}
    try:
        marks = {run: settle(own, say) for run, own in runs.items()}
        failed = next(filter(None, map(refusals.failed_checkpoints, runs.values())), "")
    except UnavailableError as error:
        return None, ("jobs", str(error))
    feed = Feed(layers, marks)
    if failed:
        return feed, ("checkpoints", failed)
    return feed, None if feed.at else ("watermark", feed.reason)


def feeds_of(settings: Settings) -> list[str]:
    """Run ids that feed open periods now; raises UnavailableError for Postgres."""
    return runs_of(_layers(settings), settings)


def runs_of(layers: Sequence[Layer], settings: Settings) -> list[str]:
    """Run ids that feed open periods: replays that run on, and the live run unless one of them holds all tenants."""
    found: list[str] = []
    for layer in reversed(layers):
        if layer.end is None:
            found.append(run_of(layer))
            if not layer.tenants:
                return found
    return [*found, settings.run_id]


def run_of(layer: Layer) -> str:
    """Run id of a layer."""
    return layer.usage_schema.removeprefix("usage").removeprefix("_")


def feeding(layers: Sequence[Layer], settings: Settings, key: PeriodKey) -> str:
    """Run id whose rollups people read of a period."""
    for layer in reversed(layers):
        held = layer.start <= key.start and (layer.end is None or key.end <= layer.end)
        if held and (not layer.tenants or key.tenant_id in layer.tenants):
            return run_of(layer)
    return settings.run_id


def by_run(settings: Settings, feed: Feed, keys: Iterable[PeriodKey]) -> dict[str, list[PeriodKey]]:
    """Periods by the run whose rollups people read of them."""
    found: dict[str, list[PeriodKey]] = {}
    for key in keys:
        found.setdefault(feeding(feed.layers, settings, key), []).append(key)
    return found


def _layers(settings: Settings) -> list[Layer]:
    with connect(settings.postgres) as connection:
        return rollup_views.layers(connection, settings.names)
