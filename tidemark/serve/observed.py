"""Figures that roles count themselves, taken from what their steps return: nothing is read for them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

from tidemark.alerts.intake import Batch
from tidemark.billing.close import Closed
from tidemark.billing.refusals import Cause
from tidemark.health.monitor import Checked
from tidemark.health.rules import role_trouble
from tidemark.latency.sample import latencies_s
from tidemark.latency.sampler import Sampled
from tidemark.serve.figures import Values

# Name, labels, seconds.
Latency = tuple[str, tuple[str, ...], float]

_REFUSED = "tidemark_periods_refused"


def of_close(closed: Closed) -> dict[str, Values]:
    """Refused periods by cause; of a cause that refused none, 0."""
    refused: Counter[str] = Counter()
    for refusal in closed.refused:
        refused[refusal.cause] += len(refusal.periods)
    return {_REFUSED: {(cause,): refused[cause] for cause in get_args(Cause)}}


def of_health(checked: Checked) -> dict[str, Values]:
    """What was seen of jobs, lags, roles and disks; what could not be read has no values."""
    snapshot = checked.snapshot
    jobs, lags, disks, reports = snapshot.jobs or (), snapshot.lags or (), snapshot.disks or (), snapshot.roles or ()
    roles = {role: [one for one in reports if one.role == role] for role in dict.fromkeys(one.role for one in reports)}
    return {
        "tidemark_job_running": {(one.job,): float(one.running) for one in jobs},
        "tidemark_job_restarts": {(one.job,): one.restarts for one in jobs if one.restarts is not None},
        "tidemark_checkpoint_age_seconds": {
            (one.job,): one.checkpoint_age_s for one in jobs if one.checkpoint_age_s is not None
        },
        "tidemark_checkpoint_duration_seconds": {
            (one.job,): one.checkpoint_duration_s for one in jobs if one.checkpoint_duration_s is not None
        },
        "tidemark_checkpoints_failed": {(one.job,): one.failed_checkpoints for one in jobs},
        "tidemark_lag_records": {(one.job, one.topic): one.records for one in lags},
        "tidemark_lag_seconds": {(one.job, one.topic): one.seconds for one in lags if one.seconds is not None},
        "tidemark_lag_event_seconds": {
            (one.job, one.topic): one.event_seconds for one in lags if one.event_seconds is not None
        },
        "tidemark_role_running": {(role,): float(not role_trouble(many)[0]) for role, many in roles.items()},
        "tidemark_disk_free_bytes": {(one.path,): one.free for one in disks},
        "tidemark_disk_size_bytes": {(one.path,): one.total for one in disks},
    }


def of_api(counts: Any) -> dict[str, Values]:
    """What the API has counted, a `tidemark.api.context.Counts`, which only an extra can import."""
    return {
        "tidemark_api_events": {(outcome,): number for outcome, number in dict(counts.events).items()},
        "tidemark_api_requests": dict(counts.requests),
        "tidemark_api_answers": {(outcome,): number for outcome, number in dict(counts.answers).items()},
        "tidemark_api_pending_events": {(): counts.pending},
    }


# By role: what its steps return to figures.
OBSERVED: Mapping[str, Callable[[Any], dict[str, Values]]] = {"close": of_close, "health": of_health, "api": of_api}


def of_alerts(batch: Batch) -> Iterator[Latency]:
    """How long alerts took that the worker decided."""
    for seconds in batch.latencies_s:
        yield "tidemark_alert_latency_seconds", (), seconds


def of_samples(sampled: Sampled, tenants: Collection[str]) -> Iterator[Latency]:
    """Latencies of sampled events; a tenant has a name only where it is one of `tenants`, a customer never."""
    for where, samples in (("live", sampled.live), ("stored", sampled.stored)):
        for sample in samples:
            tenant = sample.delta.key.tenant
            for (seen, since), seconds in latencies_s(sample).items():
                if seen == where:
                    yield f"tidemark_{where}_latency_seconds", (since, tenant if tenant in tenants else ""), seconds


# By role: what its steps return to latencies.
TIMED: Mapping[str, Callable[[Any], Iterator[Latency]]] = {"alerts": of_alerts}
