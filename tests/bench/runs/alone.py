"""What needs no jobs: decoding, a check by the SDK, memory at rest, a year of rollups."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from tests.bench import decode as decoder
from tests.bench.cpu import memory_gib
from tests.bench.events import TENANT
from tests.bench.questions import QUESTIONS
from tests.bench.report.results import Found
from tests.bench.report.stats import percentile
from tests.bench.runs import sdk_calls as reader
from tests.bench.world import ROOT, World, connected
from tests.integration.storage import OwnRedis
from tidemark.core.settings import Settings

CALLS = 40
_NAMES = {
    "decode": "decoder, columns",
    "worker": "with Arrow, batches of 2 000",
    "worker_small": "with Arrow, batches of 250",
}
_DAYS = """
INSERT INTO {schema}.usage_day (tenant_id, customer_id, meter, dims, day, n, samples, total, lo, hi)
SELECT '{tenant}', 'customer-' || lpad(c::text, 6, '0'), meter, '', current_date - d, 10, 10, 100 + c % 97, 1, 90
FROM generate_series(0, {customers} - 1) c, generate_series(0, 364) d, unnest(ARRAY['api_call', 'storage']) meter
"""
_PERIODS = """
INSERT INTO {schema}.usage_period
    (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
SELECT '{tenant}', 'customer-' || lpad(c::text, 6, '0'), meter,
    CASE WHEN r = 0 THEN '' ELSE '{{"region":"eu-west-' || r || '"}}' END,
    date_trunc('month', now(), 'UTC') - m * INTERVAL '1 month',
    date_trunc('month', now(), 'UTC') - (m - 1) * INTERVAL '1 month', 300, 300, 3000 + c % 97, 1, 90
FROM generate_series(0, {customers} - 1) c, generate_series(0, 11) m, generate_series(0, 3) r,
    unnest(ARRAY['api_call', 'storage']) meter
"""


def decode(world: World, events: int, rounds: int) -> Found:
    """CPU of the Python worker, each round in a process of its own."""
    found = Found()
    with decoder.made(events) as file:
        for _ in range(rounds):
            figures = decoder.child(ROOT, file, passes=2)
            for name, subject in _NAMES.items():
                found.add(subject, cpu_us=figures[name])
            world.say(f"  {figures}")
    return found


def sdk(calls: int, rounds: int) -> Found:
    """A check and a bare GET in turn, on a Redis of its own."""
    found = Found()
    with tempfile.TemporaryDirectory() as folder:
        server = OwnRedis(Path(folder))
        server.start()
        try:
            reader.fill(server)
            ways = {"blocking": reader.measure(server.url, calls, rounds),
                    "asyncio": asyncio.run(reader.measure_async(server.url, calls, rounds))}  # fmt: skip
        finally:
            server.kill()
    for way, taken in ways.items():
        for call, values in taken.items():
            found.add(f"{call}, {way}", p50_us=percentile(values, 0.5), p99_us=percentile(values, 0.99))
        found.add(f"check to get, {way}", ratio=percentile(taken["check"], 0.5) / percentile(taken["get"], 0.5))
    return found


def at_rest(world: World) -> Found:
    """Memory of the services before any job."""
    found = Found()
    memory = memory_gib(world.root)
    for name, gib in sorted(memory.items()):
        found.add(f"{name}, at rest", gib=gib)
    found.add("all, at rest", gib=sum(memory.values()))
    return found


def dashboards(world: World, customers: int) -> Found:
    """Questions of dashboards over a year of rollups, from a client in this process."""
    settings = world.settings("year")
    world.prepare(settings)
    found = Found()
    with connected() as connection:
        for statement in (_DAYS, _PERIODS):
            connection.execute(_filled(settings, statement, customers=str(customers)))
        connection.execute(b"ANALYZE")
        for name, query in QUESTIONS.items():
            taken = []
            for call in range(CALLS):
                customer = f"customer-{call * 37 % customers:06d}"
                begun = time.monotonic()
                connection.execute(_filled(settings, query, customer=customer)).fetchall()
                taken.append((time.monotonic() - begun) * 1_000)
            found.add(name, p50_ms=percentile(taken, 0.5), p95_ms=percentile(taken, 0.95), sampled=len(taken))
    return found


def _filled(settings: Settings, statement: str, **values: str) -> bytes:
    names = settings.names
    return statement.format(schema=names.usage_schema, report=names.report_schema, tenant=TENANT, **values).encode()
