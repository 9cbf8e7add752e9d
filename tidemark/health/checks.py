"""Checks of a deployment from its settings alone: what answers, and whether it is as the jobs and roles need it."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import psycopg
import requests

from tidemark.core import migrate, redis, topics
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.flink_tls import request_options
from tidemark.core.kafka.brokers import TRANSACTION_LIMIT, transaction_limit_ms
from tidemark.core.places import S3, Place
from tidemark.core.postgres import run_once
from tidemark.core.settings import ENV_PREFIX, FlinkSettings, Settings, misspelt

_TIMEOUT_S = 3
# Listens on all addresses: where it is asked.
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  compared, not listened on
_TRANSACTIONS = "Kafka transactions"
# Another one evicts counters, and a counter that was evicted looks like no usage.
_KEEPS_ALL = "noeviction"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was checked, whether it is right, the value found, and the fix when it is wrong.

    `answers` is False where a service could not be asked.
    """

    check: str
    ok: bool
    found: str
    fix: str = ""
    answers: bool = True


def examine(settings: Settings) -> list[Finding]:
    """Every finding; a check that fails never hides those after it."""
    return [
        variables(),
        transactions(settings),
        checked("Kafka topics", lambda: _topics(settings)),
        checked("Postgres", lambda: _postgres(settings)),
        checked("Redis", lambda: _redis(settings)),
        *stores(settings),
        jvm_zone(settings.flink),
        serve(settings),
    ]


def checked(check: str, examine_it: Callable[[], Finding]) -> Finding:
    """The finding of a check; what it raises is one too."""
    try:
        return examine_it()
    except TidemarkError as error:
        return Finding(
            check, ok=False, found=error.what, fix=error.fix, answers=not isinstance(error, UnavailableError)
        )


def variables() -> Finding:
    """Whether all variables that look like settings are settings."""
    faults = misspelt(os.environ)
    return Finding(
        "variables", not faults, "; ".join(faults) or f"{ENV_PREFIX}* all name a setting", "correct or unset it"
    )


def transactions(settings: Settings) -> Finding:
    """Whether the brokers take transactions as long as the sinks of the jobs need: others fail for ever."""
    return checked(_TRANSACTIONS, lambda: _transactions(settings))


def jvm_zone(flink: FlinkSettings) -> Finding:
    """The zone of Flink's JVMs: with another, JDBC writes local time where Postgres expects UTC."""
    what = "JVM time zone"
    try:
        answer = requests.get(f"{flink.rest_url}/jobmanager/environment", timeout=_TIMEOUT_S, **request_options(flink))
        options = answer.json()["jvm"]["options"]
    except (requests.RequestException, ValueError, KeyError) as error:
        fix = f"is Flink up, and {flink.rest_url} right?"
        return Finding(what, ok=False, found=type(error).__name__, fix=fix, answers=False)
    ok = "-Duser.timezone=UTC" in options
    found = "UTC" if ok else "-Duser.timezone=UTC is missing"
    return Finding(what, ok, found, "set it in env.java.opts.all of Flink, then restart Flink")


def stores(settings: Settings) -> list[Finding]:
    """Whether the object stores of state and archive answer, with their buckets; nothing for folders."""
    given = {"flink.state_dir": settings.flink.state_dir, "archive.dir": settings.archive.dir}
    return [
        checked(name, partial(_reached, settings, name, uri))
        for name, uri in given.items()
        if uri and urlsplit(uri).scheme in S3
    ]


def _reached(settings: Settings, name: str, uri: str) -> Finding:
    Place(uri, settings.s3, name).reach()
    return Finding(name, ok=True, found=f"{uri} answers")


def serve(settings: Settings) -> Finding:
    """Whether `tidemark serve` answers where the settings say, and all roles of that process are ready."""
    what, fix = "serve", "start `tidemark serve`, or call doctor where serve.listen can be reached"
    if settings.serve.address is None or not settings.serve.address[1]:
        return Finding(what, ok=True, found=f"not asked: serve.listen is {settings.serve.listen}")
    url = f"http://{_asked(*settings.serve.address)}"
    try:
        roles = requests.get(f"{url}/readyz", timeout=_TIMEOUT_S).json()["roles"]
        unready = [f"{role} {one['state']} ({one['reason']})" for role, one in roles.items() if not one["ready"]]
    except (requests.RequestException, ValueError, KeyError, TypeError, AttributeError) as error:
        return Finding(what, ok=False, found=f"{url}/readyz: {type(error).__name__}", fix=fix, answers=False)
    found = "; ".join(unready) or f"{url}: ready are {', '.join(roles)}"
    return Finding(what, not unready, found, "`tidemark status`; docs/operations.md#a-role-fails")


def _asked(host: str, port: int) -> str:
    """Where a process that listens on an address is asked from its own machine."""
    host = _ANYWHERE.get(host, host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _transactions(settings: Settings) -> Finding:
    limit_ms, needed_ms = transaction_limit_ms(settings.kafka), settings.events.transaction_timeout_ms
    known = limit_ms if limit_ms is not None else "is not ours to read"
    found = f"{TRANSACTION_LIMIT} {known}, needed {needed_ms}"
    ok = limit_ms is None or limit_ms >= needed_ms
    return Finding(_TRANSACTIONS, ok, found, f"set {TRANSACTION_LIMIT} of the brokers to {needed_ms} or more")


def _topics(settings: Settings) -> Finding:
    names = settings.names
    wanted = [settings.topics.events, settings.topics.redrive, names.deltas, names.dlq, names.alerts,
              names.reevaluations, names.closes, names.corrections]  # fmt: skip
    missing = [topic for topic in wanted if not topics.exists(settings.kafka, topic)]
    found = f"missing: {', '.join(missing)}" if missing else f"all {len(wanted)}"
    return Finding("Kafka topics", not missing, found, "tidemark topics apply")


def _postgres(settings: Settings) -> Finding:
    def read(connection: psycopg.Connection) -> tuple[str, list[str]]:
        return connection.info.parameter_status("server_version") or "", migrate.missing(connection, settings)

    version, missing = run_once(settings.postgres.ops, "doctor", read)
    found = f"{version}, not migrated: {', '.join(missing)}" if missing else f"{version}, migrated"
    return Finding("Postgres", not missing, found, "tidemark db migrate")


def _redis(settings: Settings) -> Finding:
    with redis.translated(settings.redis), closing(redis.client(settings.redis)) as client:
        info: Any = client.info()
    policy = info.get("maxmemory_policy", _KEEPS_ALL)
    found = f"{info.get('redis_version', '')} maxmemory-policy {policy}".strip()
    return Finding("Redis", policy == _KEEPS_ALL, found, f"set maxmemory-policy {_KEEPS_ALL}")
