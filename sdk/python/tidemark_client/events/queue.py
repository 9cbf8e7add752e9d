"""Events in memory on their way to the spool: bounded, and what happens at the bound is declared."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Literal, Union, get_args

from tidemark_client.events.errors import QueueFullError
from tidemark_client.events.event import Recorded

OnFull = Literal["block", "raise", "drop_oldest"]


class Mark:
    """Goes through the queue after the events whose way it waits for.

    Parameters
    ----------
    spooled:
        Set once all events before it are on disk.
    last:
        Place in the spool of the last of them, then.
    """

    def __init__(self) -> None:
        self.spooled = threading.Event()
        self.last = 0


Item = Union[Recorded, Mark]


class Queue:
    """What the callers' threads append to and one thread takes from.

    Parameters
    ----------
    size:
        Most events in it.
    on_full:
        `block`: the caller waits up to `block_s`, then QueueFullError; `raise`: QueueFullError at once;
        `drop_oldest`: the oldest event is dropped and counted.
    """

    def __init__(self, size: int, on_full: OnFull, block_s: float) -> None:
        if on_full not in get_args(OnFull):
            raise ValueError(f"on_full is {on_full!r}: {', '.join(get_args(OnFull))}.")
        self.items: deque[Item] = deque()
        self.wake = threading.Event()
        # Someone waits: do not wait for more events.
        self.hurry = threading.Event()
        self.dropped = 0
        self._room = threading.Event()
        self._size, self._on_full, self._block_s = size, on_full, block_s

    def make_room(self) -> None:
        """What the policy says of a full queue; raises QueueFullError."""
        self.wake.set()
        if self._on_full == "drop_oldest":
            self._drop_oldest()
        elif self._on_full == "raise" or not self._waited():
            raise QueueFullError(
                f"{len(self.items)} events wait in memory; the limit is {self._size}. The event was not recorded: the "
                "disk is slower than the calls, or the spool is full because nothing can be sent."
            )

    def mark(self) -> Mark:
        """A mark behind all events so far."""
        mark = Mark()
        self.items.append(mark)
        self.hurry.set()
        self.wake.set()
        return mark

    def take(self, most: int) -> tuple[list[Recorded], list[Mark]]:
        """The oldest events, at most so many, and the marks between and right after them."""
        events: list[Recorded] = []
        marks: list[Mark] = []
        while self.items and (len(events) < most or isinstance(self.items[0], Mark)):
            item = self.items.popleft()
            if isinstance(item, Mark):
                marks.append(item)
            else:
                events.append(item)
        self._room.set()
        return events, marks

    def events(self) -> int:
        """How many events are in it."""
        return sum(not isinstance(item, Mark) for item in self.items.copy())

    def put_back(self, events: list[Recorded], marks: list[Mark]) -> None:
        """Return what could not be put on disk to where it was."""
        self.items.extendleft(reversed([*events, *marks]))

    def _drop_oldest(self) -> None:
        # A mark in front waits for what was before it, and that is gone.
        marks: list[Item] = []
        try:
            while isinstance(item := self.items.popleft(), Mark):
                marks.append(item)
            self.dropped += 1
        except IndexError:
            pass
        self.items.extendleft(reversed(marks))

    def _waited(self) -> bool:
        deadline = time.monotonic() + self._block_s
        while len(self.items) >= self._size:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._room.clear()
            self.wake.set()
            # The room may have been made between the look and the clear: never wait long for it.
            self._room.wait(min(left, 0.05))
        return True
