"""What follows the switch outside Postgres: a key in Redis says, tenant by tenant, whose counters people read."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import psycopg
import redis

from tidemark.core import migrate, rollup_views
from tidemark.core.errors import UnavailableError
from tidemark.core.names import Names
from tidemark.core.rollup_views import Overlay
from tidemark.core.settings import Settings
from tidemark_client.keys import heartbeat_key, marker_key, switch_key
from tidemark_client.switch import EVERY_TENANT, tenant_name
from udfs.live.counters import client
from udfs.postgres import first_line

REDIS_TIMEOUT_S = 5.0
# Readers take an older heartbeat for a pipeline that stands still, unless told otherwise.
MAX_AGE_S = 60.0


def prefixes(stack: Sequence[Overlay]) -> dict[str, str]:
    """Whose keys stand for which tenants, given the promoted replays, the lowest first; empty: those of the run.

    Counters are of open periods, so replays with an end have no say.
    """
    found: dict[str, str] = {}
    for overlay in stack:
        if overlay.end is not None:
            continue
        if not overlay.tenants:
            # It covers what lies below for every tenant.
            found.clear()
        whose = map(tenant_name, overlay.tenants) if overlay.tenants else [EVERY_TENANT]
        found |= dict.fromkeys(whose, prefix_of(overlay))
    return found


def prefix_of(overlay: Overlay) -> str:
    """First part of every key of the run whose rollups an overlay is: it has the name of their schema."""
    return f"{overlay.usage_schema}:"


def prefix_read(stack: Sequence[Overlay], names: Names, tenant: str) -> str:
    """First part of the keys that people read of a tenant."""
    found = prefixes(stack)
    return found.get(tenant_name(tenant), found.get(EVERY_TENANT, names.redis_prefix))


def promoted(connection: psycopg.Connection, names: Names) -> list[Overlay] | None:
    """Promoted replays, the lowest first; None where the run has no ledger, as a replay itself."""
    name = f'"{names.billing_schema}".overlay'
    known = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()
    return rollup_views.overlays(connection, names) if known and known[0] else None


def level(connection: psycopg.Connection, connected: redis.Redis, names: Names) -> bool:
    """Write the switch as the overlays have it; False when it was so already. Autocommit, outside a transaction.

    Raises
    ------
    psycopg.Error, redis.RedisError
        One of the two is away.
    """
    with connection.transaction():
        # One at a time, from the look to the write: who looked earlier must not write later.
        lock = f"tidemark switch {names.billing_schema}"
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
        found = prefixes(promoted(connection, names) or [])
        wanted = json.dumps(found, sort_keys=True) if found else None
        key = switch_key(names.redis_prefix)
        there: Any = connected.get(key)
        if there == wanted:
            return False
        if wanted is None:
            connected.delete(key)
        else:
            connected.set(key, wanted)
        return True


def publish(settings: Settings) -> bool:
    """Let readers follow a promotion or its taking back; False when they did.

    Raises
    ------
    UnavailableError
        Postgres or Redis is away.
    """
    try:
        with closing(_redis(settings)) as connected, migrate.connect(settings.postgres) as connection:
            return level(connection, connected, settings.names)
    except (redis.RedisError, OSError) as error:
        raise UnavailableError(
            f"Redis at {settings.redis.url} does not answer: {first_line(error)}",
            "start it: `tidemark live watch` then lets readers follow.",
        ) from error


def unready(settings: Settings, replay_id: str) -> str:
    """Why readers would not trust the counters of a replay that runs on, in words; empty: they would."""
    run = Names(settings.names.replay(replay_id))
    fix = f"start `tidemark live watch --run-id {run.run_id}` and wait a minute."
    try:
        with closing(_redis(settings)) as connected:
            marks: Any = connected.mget(marker_key(run.redis_prefix), heartbeat_key(run.redis_prefix))
    except (redis.RedisError, OSError) as error:
        return f"Redis at {settings.redis.url} does not answer: {first_line(error)}"
    marker, beat = marks
    if marker is None:
        return f"the counters of run {run.run_id} were never written whole: {fix}"
    age_s = time.time() - int(beat) / 1_000 if beat else None
    if age_s is None or age_s > MAX_AGE_S:
        age = "none" if age_s is None else f"{age_s:.0f} s old"
        return f"the heartbeat of run {run.run_id} is {age}, readers take up to {MAX_AGE_S:.0f} s: {fix}"
    return ""


def _redis(settings: Settings) -> redis.Redis:
    password = settings.redis.secret
    return client(settings.redis.url, password, timeout_s=REDIS_TIMEOUT_S)
