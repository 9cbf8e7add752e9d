"""Shows progress of a long step of the demo: a bar with rate, time left and rows below; plain lines when piped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tidemark.core.terminal import Console, Group, Table

# Seconds between two lines when piped.
EVERY_S = 5.0
# A row: its name, and its figures as text.
Row = tuple[str, ...]


def line(what: str, done: int, total: int, elapsed_s: float, begun: int = 0) -> str:
    """One line of progress.

    Parameters
    ----------
    what, done, total:
        What is done, the number done by now, and the number of all.
    elapsed_s, begun:
        Seconds since the first update, and the number done then.
    """
    rate = (done - begun) / elapsed_s if elapsed_s > 0 else 0.0
    left = f", {(total - done) / rate:,.0f} s left" if rate and done < total else ""
    return f"{what}: {done:,} of {total:,}" + (f", {rate:,.0f}/s{left}" if rate else "")


class Screen:
    """A step of the demo in progress; use it as a context manager.

    Parameters
    ----------
    console:
        The console to draw on.
    what, total:
        What is done, and the number of all.
    columns:
        Headings of the rows that are shown below.
    """

    def __init__(
        self, console: Console, what: str, total: int, columns: Row = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console
        self._what, self._total, self._columns = what, total, columns
        self._clock = clock
        self._began: tuple[float, int] | None = None
        self._said_s: float | None = None
        bar = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
        self._bar = Progress(*bar, TimeRemainingColumn(), console=console)
        self._task = self._bar.add_task(what, total=total, rate="")
        self._live = Live(self._bar, console=console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, done: int, rows: Sequence[Row] = ()) -> None:
        """Show the number done by now, and the rows."""
        now_s = self._clock()
        if self._began is None:
            self._began = now_s, done
        began_s, begun = self._began
        if self._live is None:
            self._say(
                now_s, line(self._what, done, self._total, now_s - began_s, begun), rows, last=done >= self._total
            )
            return
        rate = (done - begun) / (now_s - began_s) if now_s > began_s else 0.0
        self._bar.update(self._task, completed=done, rate=f"{rate:,.0f}/s")
        self._live.update(Group(self._bar, self._table(rows)) if rows else self._bar)

    def _say(self, now_s: float, text: str, rows: Sequence[Row], *, last: bool) -> None:
        if not last and self._said_s is not None and now_s - self._said_s < EVERY_S:
            return
        self._said_s = now_s
        shown = "; ".join(" ".join(row) for row in rows[:3])
        self._console.print(f"{text}; {shown}" if shown else text, highlight=False, markup=False)

    def _table(self, rows: Sequence[Row]) -> Table:
        table = Table(*self._columns)
        for row in rows:
            table.add_row(*row)
        return table
