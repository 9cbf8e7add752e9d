"""The active version of live counters: a key in Redis says, tenant by tenant, which run's counters are read."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg
from redis import Redis

from tidemark.core import postgres, redis, rollup_views
from tidemark.core.errors import UnavailableError
from tidemark.core.names import Names
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from tidemark_client.keys import heartbeat_key, marker_key, switch_key
from tidemark_client.switch import EVERY_TENANT, tenant_name

# Readers take an older heartbeat for a pipeline that has stopped, unless set otherwise.
MAX_AGE_S = 60.0


def prefixes(stack: Sequence[Overlay]) -> dict[str, str]:
    """Key prefix by tenant, given the promoted replays, the lowest first; empty: those of the run.

    Counters are of open periods, so replays with an end are left out.
    """
    by_tenant: dict[str, str] = {}
    for overlay in stack:
        if overlay.end is not None:
            continue
        if not overlay.tenants:
            # It covers what lies below for every tenant.
            by_tenant.clear()
        tenants = map(tenant_name, overlay.tenants) if overlay.tenants else [EVERY_TENANT]
        by_tenant |= dict.fromkeys(tenants, prefix_of(overlay))
    return by_tenant


def prefix_of(overlay: Overlay) -> str:
    """First part of every key of the run whose rollups an overlay is: it has the name of their schema."""
    return f"{overlay.usage_schema}:"


def active_prefix(stack: Sequence[Overlay], names: Names, tenant: str) -> str:
    """First part of the keys of the active version of a tenant."""
    by_tenant = prefixes(stack)
    return by_tenant.get(tenant_name(tenant), by_tenant.get(EVERY_TENANT, names.redis_prefix))


def promoted(connection: psycopg.Connection, names: Names) -> list[Overlay] | None:
    """Promoted replays, the lowest first; None where the run has no ledger, as a replay itself."""
    name = f'"{names.billing_schema}".overlay'
    known = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return rollup_views.overlays(connection, names) if known and known[0] else None


def sync(connection: psycopg.Connection, connected: Redis, names: Names) -> bool:
    """Write the active-version pointer; False when it was up to date. Autocommit, outside a transaction.

    Raises
    ------
    psycopg.Error, redis.RedisError
        One of the two cannot be reached.
    """
    with connection.transaction():
        # One at a time, from read to write: who read earlier must not write later.
        postgres.lock_in_transaction(connection, f"tidemark switch {names.billing_schema}")
        by_tenant = prefixes(promoted(connection, names) or [])
        pointer = json.dumps(by_tenant, sort_keys=True) if by_tenant else None
        key = switch_key(names.redis_prefix)
        stored: Any = connected.get(key)
        if stored == pointer:
            return False
        if pointer is None:
            connected.delete(key)
        else:
            connected.set(key, pointer)
        return True


def publish(settings: Settings) -> bool:
    """Make readers use the version that a promotion or revert made active; False when they did already.

    Raises
    ------
    UnavailableError
        Postgres or Redis cannot be reached.
    """
    try:
        with (
            redis.translated(settings.redis),
            closing(redis.client(settings.redis)) as connected,
            postgres.connect(settings.postgres.ops) as connection,
        ):
            return sync(connection, connected, settings.names)
    except UnavailableError as error:
        raise UnavailableError(error.what, f"{error.fix} With `tidemark serve --roles live` readers follow.") from error


def unready(settings: Settings, replay_id: str) -> str:
    """Why readers would not trust the counters of a replay that runs on; empty: they would."""
    run = Names(settings.names.replay(replay_id))
    fix = f"start `tidemark serve --roles live --run-id {run.run_id}` and wait a minute."
    try:
        with redis.translated(settings.redis), closing(redis.client(settings.redis)) as connected:
            marks: Any = connected.mget(marker_key(run.redis_prefix), heartbeat_key(run.redis_prefix))
    except UnavailableError as error:
        return error.what
    marker, beat = marks
    if marker is None:
        return f"the counters of run {run.run_id} were never written whole: {fix}"
    age_s = time.time() - int(beat) / 1_000 if beat else None
    if age_s is None or age_s > MAX_AGE_S:
        age = "none" if age_s is None else f"{age_s:.0f} s old"
        return f"the heartbeat of run {run.run_id} is {age}, readers take up to {MAX_AGE_S:.0f} s: {fix}"
    return ""
