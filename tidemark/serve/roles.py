"""The roles of `tidemark serve`: what each does, when it is configured, and the services it is made of.

One table. A role runs in the same process as the others or alone; two instances of one never act on the same thing:
most hold a lock in Postgres, for which a second waits; those of `live` and `deliver` share the work safely.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

from tidemark.alerts import intake
from tidemark.archive import archiver
from tidemark.archive.retention import plan as retention
from tidemark.billing import close
from tidemark.core.errors import UsageError
from tidemark.core.postgres import run_once
from tidemark.core.service import Service
from tidemark.core.settings import Settings, WebhookResponse
from tidemark.core.user import user
from tidemark.delivery import worker as delivery
from tidemark.health import monitor
from tidemark.live import counters, leaderboard, limits
from tidemark.quotas import daemon as quotas
from tidemark.reconcile import run as reconcile
from tidemark.responses import suspend, webhook
from tidemark.responses import worker as responses
from tidemark.responses.flags import Flags
from tidemark.responses.handler import Handler
from tidemark.resubmit import resubmitter

Services = Sequence[Service[Any, Any]]


@dataclass(frozen=True, slots=True)
class Role:
    """A role.

    Parameters
    ----------
    does:
        What it does.
    services:
        Its services, for some settings; raises UsageError where a setting of it is wrong.
    missing:
        Setting that it needs and that is not set; empty when it is configured.
    """

    does: str
    services: Callable[[Settings], Services]
    missing: Callable[[Settings], str] = lambda _: ""


def _live(settings: Settings) -> Services:
    return [counters.service(settings), leaderboard.service(settings), *limits.services(settings)]


def _respond(settings: Settings) -> Services:
    webhooks = [
        responses.service(settings, one.known_as, partial(_webhook, settings, one))
        for one in settings.responses.webhooks
    ]
    if not settings.responses.suspend:
        return webhooks
    return [responses.service(settings, suspend.NAME, partial(_suspend, settings)), *webhooks]


def _health(settings: Settings) -> Services:
    unknown = sorted(set(settings.health.roles) - set(ROLES))
    if unknown:
        raise UsageError(f"health.roles names {', '.join(unknown)}.", f"name some of {', '.join(ROLES)}.")
    return [monitor.service(settings)]


def _resubmit(settings: Settings) -> Services:
    if find_spec("pyflink") is None:
        raise UsageError(
            "the role resubmit needs Flink's client: this Python has no apache-flink, nor has the image `services`.",
            "run it in the image `flink`, `tidemark serve --roles resubmit`; or install the extra `jobs`.",
        )
    return [resubmitter.service(settings)]


def _api(settings: Settings) -> Services:
    try:
        from tidemark.api import server  # noqa: PLC0415  an extra: its packages may not be there
    except ModuleNotFoundError as error:
        raise UsageError(f"the role api needs {error.name}.", "pip install '.[api]' in a checkout.") from error
    return [server.service(settings)]


def _web(settings: Settings) -> Services:
    try:
        from tidemark.web import server  # noqa: PLC0415  an extra, as above
    except ModuleNotFoundError as error:
        raise UsageError(f"the role web needs {error.name}.", "pip install '.[api]' in a checkout.") from error
    return [server.service(settings)]


def _suspend(settings: Settings) -> Handler:
    return suspend.Suspend(Flags(settings.redis, settings.names))


def _webhook(settings: Settings, asked: WebhookResponse) -> Handler:
    # Nothing is read from the topic before the receiver is known: an alert that cannot be sent would be passed over.
    schema = settings.names.usage_schema
    run_once(settings.postgres.ops, "respond", lambda db: webhook.kind_of(db, asked.receiver), schema)
    return webhook.Notify(asked.known_as, asked.receiver, asked.types, asked.severities, asked.tenants)


ROLES: Mapping[str, Role] = {
    "live": Role("keeps counters, limits, leaderboards and the heartbeat in Redis up to date", _live),
    "quotas": Role("raises and ends alarms over tenants above a bound", lambda s: [quotas.service(s)]),
    "alerts": Role("takes alerts from the topic and decides who is notified", lambda s: [intake.service(s)]),
    "deliver": Role("sends notifications to their receivers", delivery.services),
    "respond": Role(
        "answers alerts: suspends customers at a hard limit, notifies other systems",
        _respond,
        lambda s: "" if s.responses.suspend or s.responses.webhooks else "responses.suspend or responses.webhooks",
    ),
    "close": Role(
        "closes billing periods that are due and corrects closed ones",
        lambda s: [close.service(s, f"serve by {user()}")],
    ),
    "reconcile": Role("compares every number with where it came from", lambda s: [reconcile.service(s)]),
    "archive": Role(
        "archives raw records as Parquet",
        lambda s: [archiver.service(s)],
        lambda s: "" if s.archive.dir else "archive.dir",
    ),
    "retention": Role(
        "drops what is older than the settings of `retention` say",
        lambda s: [retention.service(s)],
        lambda s: "" if s.retention.is_set else "a setting of `retention`",
    ),
    "health": Role("watches jobs, lag, checkpoints, roles and disks, and raises `pipeline.*` alerts", _health),
    "resubmit": Role(
        "submits jobs again, from their newest state, that a JobManager has forgotten",
        _resubmit,
        lambda s: "" if s.resubmit.jobs else "resubmit.jobs",
    ),
    "api": Role(
        "takes events over HTTP, and answers what a tenant has used",
        _api,
        lambda s: "" if s.api.address else "api.listen",
    ),
    "web": Role(
        "shows customers what they have used, and operators how it is counted, as pages",
        _web,
        lambda s: "" if s.web.address else "web.listen",
    ),
}


def not_configured(settings: Settings) -> dict[str, str]:
    """Roles that do not run with these settings, each with what is not set."""
    return {name: missing for name, role in ROLES.items() if (missing := role.missing(settings))}


def chosen(settings: Settings, names: Sequence[str] | None) -> list[str]:
    """Roles to run, in the order of the table: those named, or all that are configured.

    Raises
    ------
    UsageError
        There is no such role, none is named, or one that is named is not configured.
    """
    missing = not_configured(settings)
    if names is None:
        return [name for name in ROLES if name not in missing]
    unknown = sorted(set(names) - set(ROLES))
    if unknown or not names:
        named = f"there is no role {', '.join(unknown)}" if unknown else "no role is named"
        raise UsageError(f"{named}.", f"name some of {', '.join(ROLES)}.")
    wanted = [name for name in ROLES if name in names]
    lacking = [f"{name} needs {missing[name]}" for name in wanted if name in missing]
    if lacking:
        raise UsageError(f"{'; '.join(lacking)}.", "set it, or leave the role out.")
    return wanted


def services_of(settings: Settings, names: Sequence[str]) -> dict[str, Services]:
    """The services of roles, by role; raises UsageError where a setting of one is wrong."""
    return {name: ROLES[name].services(settings) for name in names}
