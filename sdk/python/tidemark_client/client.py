"""Reader of limits: one round trip to Redis a check, an answer always, never an exception for Redis' troubles."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import redis

from tidemark_client import reservations
from tidemark_client.decision import Decision, Wanted
from tidemark_client.evaluate import Judge, Question
from tidemark_client.layout import queue
from tidemark_client.reservations import COUNTED_WITHIN_S, Reservation
from tidemark_client.stored import OnUnknown
from tidemark_client.tls import tls_of

log = logging.getLogger("tidemark_client")

PREFIX = "usage:"
MAX_AGE_S = 60.0
# A check stands in the path of a request; a Redis near by answers in a fraction of a millisecond.
TIMEOUT_S = 0.05
# About 300 bytes each.
REMEMBERED = 10_000

# Without the introduction of redis-py, the first check of a connection is one round trip too.
QUIET: dict[str, Any] = {"lib_name": None, "lib_version": None, "decode_responses": True}


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
        self._prefix = prefix
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

    def reserve(self, tenant: str, customer: str, meter: str, wanted: Wanted, holds_s: float = 60.0) -> Reservation:
        """Set `wanted` aside for work whose size is known only afterwards, where the limit has room for it.

        What others have reserved counts as used. `settle` or `release` it; otherwise it ends after `holds_s`.

        Raises
        ------
        ValueError
            `wanted` is no amount of at most 38 digits, 9 of them decimals; `holds_s` is not above 0 and within an hour.
        """
        holds_ms = reservations.seconds_ms("holds_s", holds_s)
        question = self._judge.question(tenant, customer, meter, reservations.reservable(wanted))
        key = reservations.key_of(self._prefix, question)
        try:
            pipeline = self._client.pipeline(transaction=False)
            reservations.queue_reservation(pipeline, key, question.wanted, holds_ms)
            queue(pipeline, question.keys)
            own, check = reservations.split(pipeline.execute(raise_on_error=False))
            if other := self._judge.elsewhere(question, check):
                question, check = other, self._ask(other)
        except Exception as error:  # noqa: BLE001  as above
            return reservations.Reservation(self._judge.failed(question, error), None, key)
        found = reservations.reserved(self._judge, question, key, own, check)
        if not found:
            self.release(found)
        return found

    def settle(self, reservation: Reservation, used: Wanted, counted_within_s: float = COUNTED_WITHIN_S) -> bool:
        """Put what was used in the place of a reservation, until its event is counted; whether Redis took it.

        Record the event too: this counts nothing. A use above what was reserved is taken as it is.

        Raises
        ------
        ValueError
            As `reserve`.
        """
        holds_ms = reservations.seconds_ms("counted_within_s", counted_within_s)
        amount = reservations.reservable(used)
        return self._write(reservation, lambda to: reservations.queue_settlement(to, reservation, amount, holds_ms))

    def release(self, reservation: Reservation) -> bool:
        """Give a reservation back unused; whether Redis took it."""
        return self._write(reservation, lambda to: reservations.queue_removal(to, reservation))

    def _write(self, reservation: Reservation, queue_commands: Callable[[Any], None]) -> bool:
        if not reservation.id:
            return False
        try:
            pipeline = self._client.pipeline(transaction=False)
            queue_commands(pipeline)
            pipeline.execute()
        except Exception as error:  # noqa: BLE001  the work is done; what is set aside ends by itself
            log.warning("A reservation stays until it ends: %s", error)
            return False
        return True

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


def _client(url: str, timeout_s: float) -> redis.Redis:
    waits = {"socket_connect_timeout": positive(timeout_s), "socket_timeout": timeout_s}
    return redis.Redis.from_url(url, **waits, **tls_of(url), **QUIET)


def _bounded(client: redis.Redis) -> redis.Redis:
    if client.get_connection_kwargs().get("socket_timeout") is None:
        raise ValueError("the client of Redis waits for ever: make it with socket_timeout (seconds), or give a URL.")
    return client


def positive(timeout_s: float) -> float:
    """A time-out in seconds above 0; ValueError for any other."""
    if not timeout_s > 0:
        raise ValueError(f"timeout_s is {timeout_s!r}: give seconds above 0.")
    return timeout_s
