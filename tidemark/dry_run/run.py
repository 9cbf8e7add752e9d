"""Tries a catalog on a file of events without a cluster: what would be counted, rejected and billed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from tidemark.catalog import file as catalog_file
from tidemark.catalog.checked import planned
from tidemark.catalog.instants import shown
from tidemark.catalog.plan_faults import Terms
from tidemark.core.errors import UsageError
from tidemark.core.policy import policy_of
from tidemark.core.settings import Settings
from tidemark.dry_run.fold import GRAINS, Grain
from tidemark.dry_run.model import Model
from tidemark.dry_run.usage_rows import UsageRow, usage_rows
from tidemark.dry_run.values import PERCENTILES
from udfs.catalog.model import InMemoryCatalogSource
from udfs.values import plain

# Lines decoded at once; it only determines how often progress is reported.
_BATCH = 1_000


def load_catalog(path: Path, settings: Settings) -> InMemoryCatalogSource:
    """A catalog file as a catalog of its own; every entry is valid from its valid_from on.

    Raises
    ------
    UsageError
        It cannot be read, or has errors: all that `tidemark catalog apply` reports for an empty catalog.
    """
    file = catalog_file.read(path)
    terms = Terms(now_ms=time.time_ns() // 1_000_000, first=True)
    made = planned(file, path, terms, longest_period_days=settings.flink.state_ttl_days)
    catalog_file.fail(path, made.faults)
    return catalog_file.in_memory(file)


def dry_run(
    source: InMemoryCatalogSource,
    lines: Iterable[bytes],
    settings: Settings,
    *,
    tenant: str | None = None,
    arrival_ms: int | None = None,
    progress: Callable[[int], None] | None = None,
) -> Model:
    """Count the events of a file; its lines, from 1 on, are their offsets.

    Parameters
    ----------
    source:
        See `load_catalog`.
    lines:
        One event each; blank lines are skipped.
    settings:
        Grace, tolerance and the default tenant are used.
    tenant:
        Tenant of CloudEvents that name no tenant; by default that of the settings, or the only tenant of the catalog.
    arrival_ms:
        Arrival of all events, UTC epoch ms; None: each event arrived in time.
    progress:
        Called with the number of events counted since the last call.

    Raises
    ------
    UsageError
        The tenant is not in the catalog.
    """
    policy = replace(policy_of(settings), default_tenant=_default_tenant(source, tenant, settings))
    model = Model(source, policy)
    events = ((place, line.rstrip(b"\r\n")) for place, line in enumerate(lines, 1) if line.strip())
    while batch := list(islice(events, _BATCH)):
        offsets, raws = zip(*batch, strict=True)
        arrivals = None if arrival_ms is None else [arrival_ms] * len(batch)
        model.feed(raws, arrivals, [0] * len(batch), offsets)
        if progress is not None:
            progress(len(batch))
    return model


def _default_tenant(source: InMemoryCatalogSource, tenant: str | None, settings: Settings) -> str:
    known = sorted({entry.tenant_id for entry in source.tenants})
    if tenant is not None and tenant not in known:
        raise UsageError(f"tenant {tenant!r} is not in the catalog.", f"name one of {', '.join(known[:5]) or 'none'}.")
    return tenant or settings.events.default_tenant or (known[0] if len(known) == 1 else "")


def document(model: Model, grains: Sequence[Grain] = GRAINS) -> dict[str, Any]:
    """The result as JSON data: counts, rejects, voids and usage by grain; values are decimal text."""
    voids = model.voids()
    return {
        "counts": {
            "read": model.counts.read,
            "counted": model.counts.counted,
            "duplicates": model.counts.duplicates,
            "unmeasured": model.counts.unmeasured,
            "rejected": model.rejected(),
            "partly_rejected": model.partly_rejected(),
        },
        "rejects": [
            {
                "line": rejection.offset,
                "reason": rejection.reason,
                "detail": rejection.detail,
                "meter": rejection.meter,
                "partial": rejection.partial,
            }
            for rejection in sorted(model.rejections, key=lambda rejection: rejection.offset)
        ],
        "voids": {
            "applied": voids.applied,
            "without_original": list(voids.without_original),
            "with_other_values": list(voids.with_other_values),
            "unmatched": [
                {
                    "tenant_id": void.tenant,
                    "customer_id": void.customer,
                    "event_id": void.event_id,
                    "voids": void.voids,
                    "why": void.why,
                }
                for void in voids.unmatched
            ],
        },
        "usage": {grain: [row_document(row) for row in usage_rows(model, grain)] for grain in grains},
    }


def row_document(row: UsageRow) -> dict[str, Any]:
    """One row of usage as JSON data; a day has its local date, other grains have start and end in UTC."""
    series, meter = row.series, row.meter
    fields = {
        "tenant_id": series.tenant,
        "customer_id": series.customer,
        "meter": series.meter,
        "aggregation": meter.aggregation,
        "unit": meter.unit,
        "dims": json.loads(series.dims) if series.dims else {},
        **_bucket(row),
        "value": plain(row.value),
        "samples": row.samples,
    }
    if row.percentiles:
        fields["percentiles"] = {name: plain(row.percentiles[name]) for name in PERCENTILES}
    return fields


def _bucket(row: UsageRow) -> dict[str, str]:
    if isinstance(row.bucket, str) or row.end_ms is None:
        return {"day": str(row.bucket)}
    return {"start": shown(row.bucket), "end": shown(row.end_ms)}
