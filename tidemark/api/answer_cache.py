"""Answers kept in Redis, each with the version of its counter: it holds as long as the counter has that version."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import redis

from tidemark.core.redis import client
from tidemark.core.service import logger
from tidemark.core.settings import Settings
from tidemark.live.active_version import MAX_AGE_S
from tidemark_client.keys import answer_key, counter_key, heartbeat_key, marker_key

log = logger("api")

# For memory alone: what is older may be right, and is made again.
KEPT_S = 3_600
MOST_BYTES = 512 * 1_024
_FIELDS = ("period_start", "period_end", "n")


class Place(NamedTuple):
    """Where an answer is kept.

    Parameters
    ----------
    prefix:
        First part of the keys of the active version of the tenant.
    tenant, customer, meter:
        The counter it belongs to.
    digest:
        Of the question, and of all else that it rests on.
    """

    prefix: str
    tenant: str
    customer: str
    meter: str
    digest: str

    @property
    def answer(self) -> str:
        """Its key."""
        return answer_key(self.prefix, self.tenant, self.customer, self.digest)


class Version(msgspec.Struct, frozen=True):
    """The version of a counter: its period (half-open, epoch ms), measurements applied, and the process of Redis."""

    start_ms: int
    end_ms: int
    n: int
    redis: str


class _Kept(msgspec.Struct):
    version: Version
    document: msgspec.Raw


class Found(NamedTuple):
    """What Redis has: the version of the counter, None where it cannot be trusted, and the answer of that version."""

    version: Version | None = None
    document: dict[str, Any] | None = None


_encode = msgspec.json.Encoder(decimal_format="string").encode
_decode = msgspec.json.Decoder(_Kept).decode


class AnswerCache:
    """Looks answers up; safe between threads.

    Parameters
    ----------
    settings:
        Where Redis is.
    counts:
        By outcome: hit, miss, unversioned (no counter that can be trusted), unkept (a miss that was not exact).
    clock:
        Unix seconds.
    """

    def __init__(self, settings: Settings, counts: Counter[str], clock: Callable[[], float] = time.time) -> None:
        self.counts = counts
        self._redis = client(settings.redis, timeout_s=settings.redis.timeout_ms / 1_000)
        self._retry_s = settings.redis.retry_ms / 1_000
        self._clock = clock
        self._down_until_s = 0.0

    def find(self, place: Place) -> Found:
        """The version of a counter now, and the answer that was kept for it, in one round trip."""
        found = self._attempt(lambda: self._find(place)) or Found()
        self.counts["unversioned" if found.version is None else "miss" if found.document is None else "hit"] += 1
        return found

    def keep(self, place: Place, version: Version, document: dict[str, Any]) -> None:
        """Keep the answer of a version; what is too long is not kept."""
        text = _encode(_Kept(version, msgspec.Raw(_encode(document))))
        if len(text) <= MOST_BYTES:
            self._attempt(lambda: self._redis.set(place.answer, text, ex=KEPT_S))

    def close(self) -> None:
        """Give the connections back."""
        self._redis.close()

    def _find(self, place: Place) -> Found:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.get(place.answer)
        # The counter after the answer: if it still has that version, so it had when the answer was read.
        pipeline.hmget(counter_key(place.prefix, place.tenant, place.customer, place.meter), [*_FIELDS])
        pipeline.mget(marker_key(place.prefix), heartbeat_key(place.prefix))
        pipeline.info("server")
        kept, counter, (marker, beat), info = pipeline.execute()
        if None in {*counter, beat} or marker != info["run_id"] or self._clock() - int(beat) / 1_000 > MAX_AGE_S:
            return Found()
        start_ms, end_ms, n = map(int, counter)
        version = Version(start_ms, end_ms, n, marker)
        answer = None if kept is None else _decode(kept)
        if answer is None or answer.version != version:
            return Found(version)
        return Found(version, msgspec.json.decode(answer.document))

    def _attempt(self, operation: Callable[[], Any]) -> Any:
        """What Redis answers; None while it is down, or where it has something else than is kept here."""
        if self._clock() < self._down_until_s:
            return None
        try:
            return operation()
        except (redis.RedisError, OSError, ValueError) as error:
            self._down_until_s = self._clock() + self._retry_s
            log("answers are not cached", level="warning", error=str(error))
            return None
