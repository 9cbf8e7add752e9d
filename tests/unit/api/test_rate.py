"""The token bucket of a process, and when it is used."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.api.problem import Problem
from tidemark.api.rate import Bucket, RateLimit
from tidemark.core.settings import Settings


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 5)), max_size=50))
def test_no_more_passes_than_the_rate_and_one_burst(asked):
    bucket, now_s, passed = Bucket(10, 50, 50, 0), 0.0, 0
    for wanted, pause_s in asked:
        now_s += pause_s
        wait_s = bucket.take(wanted, now_s)
        if wait_s == 0:
            passed += wanted
        else:
            # After the wait it passes.
            assert Bucket(10, 50, bucket.tokens, now_s).take(wanted, now_s + wait_s + 1e-6) == 0
        assert passed <= 50 + 10 * now_s + 1e-6


def test_without_redis_each_tenant_has_a_bucket_of_this_process():
    changes = {"redis.url": "redis://127.0.0.1:1/0", "api.tenant_events_per_s": 1, "api.tenant_burst_events": 1_000}
    rates = RateLimit(Settings().with_changes(changes), clock=lambda: 5.0)

    async def run() -> None:
        await rates.take("a", 1_000)
        await rates.take("b", 1_000)
        with pytest.raises(Problem, check=lambda problem: (problem.status, problem.retry_after_s) == (429, 30)):
            await rates.take("a", 30)
        await rates.close()

    asyncio.run(run())
