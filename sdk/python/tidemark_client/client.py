"""Readers of limits: one round trip to Redis a check, an answer always, never an exception for Redis' troubles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import redis
import redis.asyncio

from tidemark_client.decision import Decision, Wanted
from tidemark_client.evaluate import Judge, Question
from tidemark_client.layout import queue
from tidemark_client.stored import OnUnknown

PREFIX = "usage:"
MAX_AGE_S = 60.0
# A check stands in the path of a request; a Redis near by answers in a fraction of a millisecond.
TIMEOUT_S = 0.05
# About 300 bytes each.
REMEMBERED = 10_000

# Without the introduction of redis-py, the first check of a connection is one round trip too.
_QUIET: dict[str, Any] = {"lib_name": None, "lib_version": None, "decode_responses": True}


class LimitReader:
    """Answers whether a customer may use more; for any number of threads.

    Parameters
    ----------
    redis_or_url:
        URL of Redis, with its password, or a client, whose own time-outs and retries hold then.
    prefix:
        First part of every key, with its colon: of the run whose switch of versions is followed.
    on_unknown:
        What to answer where usage is unknown and no policy of the customer or its tenant was seen.
    max_age_s:
        Seconds for which the pipeline may not have moved before usage counts as unknown; None: any.
    timeout_s:
        Longest wait of a check for a connection, and for an answer; with a URL.
    remembered:
        How many policies are kept for the time when Redis is away.
    wall_clock:
        Seconds since the epoch.

    Raises
    ------
    ValueError
        A setting is not valid, or the client waits for ever.
    """

    def __init__(
        self,
        redis_or_url: redis.Redis | str,
        prefix: str = PREFIX,
        on_unknown: OnUnknown = "fail_open",
        max_age_s: float | None = MAX_AGE_S,
        timeout_s: float = TIMEOUT_S,
        remembered: int = REMEMBERED,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._judge = Judge(prefix, on_unknown, max_age_s, remembered, wall_clock)
        self._own = isinstance(redis_or_url, str)
        self._client = _client(redis_or_url, timeout_s) if isinstance(redis_or_url, str) else _bounded(redis_or_url)

    def check(self, tenant: str, customer: str, meter: str, wanted: Wanted = 1) -> Decision:
        """Whether a customer may use `wanted` more of a meter; 0: whether it may go on at all.

        Raises
        ------
        ValueError
            `wanted` is no finite Decimal, int or decimal text of 0 or more.
        """
        question = self._judge.question(tenant, customer, meter, wanted)
        try:
            replies = self._ask(question)
            if other := self._judge.elsewhere(question, replies):
                question, replies = other, self._ask(other)
        except Exception as error:  # noqa: BLE001  whatever Redis does, the request in whose path this stands is answered
            return self._judge.failed(question, error)
        return self._judge.answered(question, replies)

    def _ask(self, question: Question) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        queue(pipeline, question.keys)
        return pipeline.execute(raise_on_error=False)

    def close(self) -> None:
        """Give the connections back; those of a client that was given stay."""
        if self._own:
            self._client.close()

    def __enter__(self) -> LimitReader:  # noqa: PYI034  typing has no Self before Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncLimitReader:
    """`LimitReader` for asyncio: the same answers; for any number of tasks of one event loop.

    Parameters are those of `LimitReader`, but `timeout_s` bounds the whole check, also with a client.
    """

    def __init__(
        self,
        redis_or_url: redis.asyncio.Redis | str,
        prefix: str = PREFIX,
        on_unknown: OnUnknown = "fail_open",
        max_age_s: float | None = MAX_AGE_S,
        timeout_s: float = TIMEOUT_S,
        remembered: int = REMEMBERED,
        *,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._judge = Judge(prefix, on_unknown, max_age_s, remembered, wall_clock)
        self._timeout_s = _positive(timeout_s)
        self._own = isinstance(redis_or_url, str)
        self._client = (
            redis.asyncio.Redis.from_url(redis_or_url, socket_connect_timeout=timeout_s, **_tls(redis_or_url), **_QUIET)
            if isinstance(redis_or_url, str)
            else redis_or_url
        )

    async def check(self, tenant: str, customer: str, meter: str, wanted: Wanted = 1) -> Decision:
        """As `LimitReader.check`."""
        question = self._judge.question(tenant, customer, meter, wanted)
        try:
            question, replies = await asyncio.wait_for(self._answers(question), self._timeout_s)
        except Exception as error:  # noqa: BLE001  as above; being cancelled is no Exception
            return self._judge.failed(question, error)
        return self._judge.answered(question, replies)

    async def _answers(self, question: Question) -> tuple[Question, list[Any]]:
        replies = await self._ask(question)
        if other := self._judge.elsewhere(question, replies):
            return other, await self._ask(other)
        return question, replies

    async def _ask(self, question: Question) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        queue(pipeline, question.keys)
        return await pipeline.execute(raise_on_error=False)

    async def aclose(self) -> None:
        """Give the connections back; those of a client that was given stay."""
        if self._own:
            await self._client.aclose()

    async def __aenter__(self) -> AsyncLimitReader:  # noqa: PYI034  as above
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _client(url: str, timeout_s: float) -> redis.Redis:
    waits = {"socket_connect_timeout": _positive(timeout_s), "socket_timeout": timeout_s}
    return redis.Redis.from_url(url, **waits, **_tls(url), **_QUIET)


def _tls(url: str) -> dict[str, Any]:
    """With TLS the name of the server is verified too, which redis-py leaves out; the URL may say otherwise."""
    return {"ssl_check_hostname": True} if url.startswith("rediss:") else {}


def _bounded(client: redis.Redis) -> redis.Redis:
    if client.get_connection_kwargs().get("socket_timeout") is None:
        raise ValueError("the client of Redis waits for ever: make it with socket_timeout (seconds), or give a URL.")
    return client


def _positive(timeout_s: float) -> float:
    if not timeout_s > 0:
        raise ValueError(f"timeout_s is {timeout_s!r}: give seconds above 0.")
    return timeout_s
