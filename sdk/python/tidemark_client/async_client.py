"""Reader of limits for asyncio: asks, answers and writes what the synchronous one does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import redis.asyncio

from tidemark_client import reservations
from tidemark_client.client import MAX_AGE_S, PREFIX, QUIET, REMEMBERED, TIMEOUT_S, log, positive
from tidemark_client.decision import Decision, Wanted
from tidemark_client.evaluate import Judge, Question
from tidemark_client.layout import queue
from tidemark_client.reservations import COUNTED_WITHIN_S, Reservation
from tidemark_client.stored import OnUnknown
from tidemark_client.tls import tls_of


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
        self._timeout_s = positive(timeout_s)
        self._prefix = prefix
        self._own = isinstance(redis_or_url, str)
        self._client = (
            redis.asyncio.Redis.from_url(
                redis_or_url, socket_connect_timeout=timeout_s, **tls_of(redis_or_url), **QUIET
            )
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

    async def reserve(
        self, tenant: str, customer: str, meter: str, wanted: Wanted, holds_s: float = 60.0
    ) -> Reservation:
        """As `LimitReader.reserve`."""
        holds_ms = reservations.seconds_ms("holds_s", holds_s)
        question = self._judge.question(tenant, customer, meter, reservations.reservable(wanted))
        key = reservations.key_of(self._prefix, question)
        try:
            question, own, check = await asyncio.wait_for(self._reserve(question, key, holds_ms), self._timeout_s)
        except Exception as error:  # noqa: BLE001  as above
            return reservations.Reservation(self._judge.failed(question, error), None, key)
        found = reservations.reserved(self._judge, question, key, own, check)
        if not found:
            await self.release(found)
        return found

    async def settle(self, reservation: Reservation, used: Wanted, counted_within_s: float = COUNTED_WITHIN_S) -> bool:
        """As `LimitReader.settle`."""
        holds_ms = reservations.seconds_ms("counted_within_s", counted_within_s)
        amount = reservations.reservable(used)
        return await self._write(
            reservation, lambda to: reservations.queue_settlement(to, reservation, amount, holds_ms)
        )

    async def release(self, reservation: Reservation) -> bool:
        """As `LimitReader.release`."""
        return await self._write(reservation, lambda to: reservations.queue_removal(to, reservation))

    async def _reserve(
        self, question: Question, key: str, holds_ms: int
    ) -> tuple[Question, Sequence[Any], Sequence[Any]]:
        pipeline = self._client.pipeline(transaction=False)
        reservations.queue_reservation(pipeline, key, question.wanted, holds_ms)
        queue(pipeline, question.keys)
        own, check = reservations.split(await pipeline.execute(raise_on_error=False))
        if other := self._judge.elsewhere(question, check):
            return other, own, await self._ask(other)
        return question, own, check

    async def _write(self, reservation: Reservation, queue_commands: Callable[[Any], None]) -> bool:
        if not reservation.id:
            return False
        try:
            pipeline = self._client.pipeline(transaction=False)
            queue_commands(pipeline)
            await asyncio.wait_for(pipeline.execute(), self._timeout_s)
        except Exception as error:  # noqa: BLE001  as above
            log.warning("A reservation stays until it ends: %s", error)
            return False
        return True

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
