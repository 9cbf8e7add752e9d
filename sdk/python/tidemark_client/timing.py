"""Compute time as usage: a context manager and a decorator that record seconds, exactly to the nanosecond."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, cast

if TYPE_CHECKING:
    from tidemark_client.events.client import Client

Clock = Literal["wall", "cpu"]
Customer = Union[str, Callable[..., str]]
Function = TypeVar("Function", bound=Callable[..., Any])

# CPU time is that of the thread: work that it hands to others is theirs.
_CLOCKS: dict[Clock, Callable[[], int]] = {"wall": time.perf_counter_ns, "cpu": time.thread_time_ns}


@dataclass
class Measure:
    """Work that is being measured; properties can be added until it ends.

    Parameters
    ----------
    properties:
        Of the event.
    seconds:
        How long it took; None until it has ended.
    """

    properties: dict[str, Any] = field(default_factory=dict)
    seconds: Decimal | None = None


@contextmanager
def measure(
    client: Client, event_type: str, *, customer: str, clock: Clock = "wall", **properties: Any
) -> Iterator[Measure]:
    """Record how long the block takes, in seconds, with the property `outcome`: `ok`, or `error` where it raises.

    Parameters
    ----------
    client, event_type, customer, properties:
        As of `Client.record`.
    clock:
        `wall`, or `cpu` of this thread.
    """
    read = clock_of(clock)
    work, begin_ns, outcome = Measure(properties), read(), "error"
    try:
        yield work
        outcome = "ok"
    finally:
        work.seconds = Decimal(read() - begin_ns).scaleb(-9)
        client.record(
            event_type, customer=customer, quantity=work.seconds, properties={**work.properties, "outcome": outcome}
        )


def timed(
    client: Client, event_type: str, *, customer: Customer, clock: Clock = "wall", **properties: Any
) -> Callable[[Function], Function]:
    """Record each call of a function or coroutine function as `measure` does.

    The customer is an id, or what makes one of the arguments of the call.

    Raises
    ------
    TypeError
        The function is a generator, or CPU time is asked of a coroutine: neither ends when its call does.
    """
    clock_of(clock)

    def decorate(function: Function) -> Function:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{function!r} is a generator: use `measure` around what consumes it.")
        if not inspect.iscoroutinefunction(function):
            return _of_function(function)
        if clock == "cpu":
            raise TypeError(
                f"{function!r} is a coroutine function, whose thread does other work too: use clock='wall'."
            )
        return _of_coroutine(function)

    def begin(arguments: Any, named: Any) -> Any:
        whose = customer if isinstance(customer, str) else customer(*arguments, **named)
        return measure(client, event_type, customer=whose, clock=clock, **properties)

    def _of_function(function: Function) -> Function:
        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            with begin(arguments, named):
                return function(*arguments, **named)

        return cast(Function, call)

    def _of_coroutine(function: Function) -> Function:
        @functools.wraps(function)
        async def call(*arguments: Any, **named: Any) -> Any:
            with begin(arguments, named):
                return await function(*arguments, **named)

        return cast(Function, call)

    return decorate


def clock_of(clock: Clock) -> Callable[[], int]:
    """What reads a clock in ns; ValueError for one that there is not."""
    if clock not in _CLOCKS:
        raise ValueError(f"clock is {clock!r}: {' or '.join(_CLOCKS)}.")
    return _CLOCKS[clock]
