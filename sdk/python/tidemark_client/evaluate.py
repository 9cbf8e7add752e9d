"""What both readers do but for waiting: the question, its answer, and the answer when there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, get_args

import redis

from tidemark_client.decision import Decision, Trouble, Wanted, amount_of, decide, without_redis
from tidemark_client.layout import Keys, keys_of
from tidemark_client.policies import Policies
from tidemark_client.stored import OnUnknown, declared, describe, parse, texts
from tidemark_client.switch import version_of

# Before Python 3.11 the time-out of asyncio is no OSError.
_AWAY = (redis.ConnectionError, redis.TimeoutError, OSError, asyncio.TimeoutError)
# redis-py counts these among failures of the connection, but Redis did answer.
_REFUSALS = (redis.BusyLoadingError, redis.AuthenticationError)


@dataclass(frozen=True)
class Question:
    """One check: how much of what, the prefix of the version that is asked, and the keys that know."""

    tenant: str
    customer: str
    meter: str
    wanted: Decimal
    version: str
    keys: Keys


class Judge:
    """Turns replies and failures into decisions, and remembers policies and the switch on the way; for many threads.

    Parameters
    ----------
    prefix:
        First part of every key, with its colon.
    on_unknown:
        Policy for customers of whom none was seen.
    max_age_s:
        Seconds for which the pipeline may not have moved; None: any.
    remembered:
        How many policies are kept.
    wall_clock:
        Seconds since the epoch.

    Raises
    ------
    ValueError
        A setting is not valid.
    """

    def __init__(
        self,
        prefix: str,
        on_unknown: OnUnknown,
        max_age_s: float | None,
        remembered: int,
        wall_clock: Callable[[], float],
    ) -> None:
        if on_unknown not in get_args(OnUnknown):
            raise ValueError(f"on_unknown is {on_unknown!r}: fail_open or fail_closed.")
        if max_age_s is not None and not max_age_s > 0:
            raise ValueError(f"max_age_s is {max_age_s!r}: give seconds above 0, or None for any age.")
        self._prefix = prefix
        self._switch: str | None = None
        self._policies = Policies(on_unknown, remembered)
        self._max_age_s = max_age_s
        self._wall_clock = wall_clock

    def question(self, tenant: str, customer: str, meter: str, wanted: Wanted) -> Question:
        """A check of one customer and meter; ValueError where `wanted` is no amount."""
        version = version_of(self._switch, tenant, self._prefix)
        keys = keys_of(self._prefix, tenant, customer, meter, version)
        return Question(tenant, customer, meter, amount_of(wanted), version, keys)

    def elsewhere(self, question: Question, replies: Sequence[Any]) -> Question | None:
        """The question to ask instead, where the replies say that people read another version; never raises.

        Asked at once after a switch alone: the next question is put to the version that was named last.
        """
        marks = replies[-1] if replies else None
        if not isinstance(marks, list) or not marks:
            return None
        named = marks[-1]
        self._switch = named.decode(errors="replace") if isinstance(named, bytes) else named
        version = version_of(self._switch, question.tenant, self._prefix)
        if version == question.version:
            return None
        keys = keys_of(self._prefix, question.tenant, question.customer, question.meter, version)
        return replace(question, version=version, keys=keys)

    def answered(self, question: Question, replies: Sequence[Any]) -> Decision:
        """The decision on the replies to `layout.queue`; never raises, whatever they are."""
        try:
            found = texts(replies)
            self._learn(question, found)
            stored = parse(found)
        except ValueError as error:
            return self._unknown(question, "redis_error", error)
        policy, now_ms = self._policy(question), int(self._wall_clock() * 1_000)
        return decide(stored, question.wanted, policy=policy, now_ms=now_ms, max_age_s=self._max_age_s)

    def failed(self, question: Question, error: Exception) -> Decision:
        """The decision where there were no replies."""
        away = isinstance(error, _AWAY)
        refused = isinstance(error, _REFUSALS)
        return self._unknown(question, "redis_unreachable" if away and not refused else "redis_error", error)

    def _learn(self, question: Question, replies: Sequence[Any]) -> None:
        own, default = declared(replies)
        self._policies.learn((question.tenant, question.customer, question.meter), own)
        self._policies.learn((question.tenant, None, question.meter), default)

    def _policy(self, question: Question) -> OnUnknown:
        return self._policies.of(question.tenant, question.customer, question.meter)

    def _unknown(self, question: Question, reason: Trouble, error: Exception) -> Decision:
        return without_redis(reason, describe(error), question.wanted, self._policy(question))
