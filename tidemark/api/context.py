"""What the handlers of the API share: settings, clients, and what was counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from starlette.requests import Request

from tidemark.api.answer_cache import AnswerCache
from tidemark.api.connections import Connections
from tidemark.api.key_ring import KeyRing
from tidemark.api.rate import RateLimit
from tidemark.core.kafka.rdkafka import AckProducer
from tidemark.core.settings import Settings
from tidemark_client import AsyncLimitReader


@dataclass(slots=True)
class Counts:
    """What a process has done since it began.

    Parameters
    ----------
    events:
        By outcome: accepted, rejected, refused (the request was), unacknowledged.
    requests:
        By route and status.
    answers:
        Of reads that may be cached, by outcome.
    pending:
        Events that the brokers have not acknowledged.
    streams, stopping:
        Open streams by key, and whether they are to end.
    """

    events: Counter[str] = field(default_factory=Counter)
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    pending: int = 0
    streams: Counter[str] = field(default_factory=Counter)
    stopping: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadContext:
    """What reads need, of one process; the role `web` has no more."""

    settings: Settings
    keys: KeyRing
    reads: Connections
    limits: AsyncLimitReader
    answers: AnswerCache
    counts: Counts = field(default_factory=Counts)

    def close(self) -> None:
        """Give the connections of reads back."""
        self.keys.close()
        self.reads.close()
        self.answers.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context(ReadContext):
    """The same, and what takes events."""

    rates: RateLimit
    producer: AckProducer


def read_context_of(request: Request) -> ReadContext:
    """What reads of this request use."""
    context: ReadContext = request.app.state.context
    return context


def context_of(request: Request) -> Context:
    """The context of the app that has this request."""
    context: Context = request.app.state.context
    return context
