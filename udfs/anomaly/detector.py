"""The detector of one series: minutes in, changes out, and its whole state as bytes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from udfs.anomaly.drift import Drift
from udfs.anomaly.episode import Episode, ending
from udfs.anomaly.error_rate import ErrorRate
from udfs.anomaly.series import Change, Minute, Series
from udfs.anomaly.tuning import HOUR_MS, STEP_MS, Tuning
from udfs.anomaly.volume import Volume
from udfs.anomaly.window import Window
from udfs.values import instant

# Written in front of every state; a state of another version is not read.
STATE_VERSION = 1


class StateError(ValueError):
    """State of another version, or no state at all: the job must start without it."""


class State(msgspec.Struct, array_like=True):
    """All that a detector knows about one series; what its kind has no use for is None."""

    version: int
    window: Window
    volume: Volume | None = None
    drift: Drift | None = None
    errors: ErrorRate | None = None


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(State)
_VERSION = msgspec.msgpack.Decoder(tuple[int, msgspec.Raw, msgspec.Raw, msgspec.Raw, msgspec.Raw])


class Detector:
    """Watches one series.

    Minutes may come in any order up to the step that has been judged; what is said depends on the minutes alone, not on
    when or in which portions they come.

    Parameters
    ----------
    series:
        What is watched.
    tuning:
        Levels and memories.
    zone:
        Zone whose hours of the week the usage follows.
    state:
        What `dump` made; None for a new series.

    Raises
    ------
    StateError
        The state is of another version.
    """

    def __init__(self, series: Series, tuning: Tuning, zone: str, state: bytes | None = None) -> None:
        self._customer = series.kind == "customer"
        self._tuning = tuning
        self._zone = zone
        self._state = load(state) if state is not None else _new(series)

    def add(self, minute: Minute) -> bool:
        """Take in a minute; False when its step has been judged already, so that it is left out."""
        return self._state.window.add(minute)

    def advance(self, to_ms: int) -> list[Change]:
        """Judge every step that ends at `to_ms` or before: no minute before that will come any more."""
        changes: list[Change] = []
        window = self._state.window
        while window.done_ms and window.done_ms + STEP_MS <= to_ms and not self.forgotten:
            window.step()
            changes += self._judge()
        return changes + (self._ended() if self.forgotten else [])

    @property
    def last_step_ms(self) -> int:
        """End of the step of the last minute."""
        window = self._state.window
        last_ms = max((waiting[0] for waiting in window.waiting), default=window.done_ms - 1)
        return (last_ms // STEP_MS + 1) * STEP_MS

    @property
    def forgotten(self) -> bool:
        """Whether it has been silent for so long that its state may go."""
        window = self._state.window
        return not window.waiting and window.done_ms - max(window.last_ms, window.first_ms) >= self._tuning.forget_ms

    @property
    def wake_ms(self) -> int:
        """When it has to be advanced, even if no minute comes: the next step, or when it may be forgotten.

        A customer and the dead letters of a tenant say nothing by silence, so nobody has to look until a minute comes.
        """
        state = self._state
        next_ms = state.window.done_ms + STEP_MS
        quiet = state.volume.quiet if state.volume is not None else state.errors is None or state.errors.episode.quiet
        if state.drift is None and quiet and state.window.empty:
            return max(next_ms, -(-(state.window.last_ms + self._tuning.forget_ms) // STEP_MS) * STEP_MS)
        return next_ms

    def dump(self) -> bytes:
        """The state, for `Detector(…, state=)`."""
        return _ENCODER.encode(self._state)

    def _ended(self) -> list[Change]:
        """What is forgotten ends: nobody watches it any more, and nothing is expected of it."""
        state = self._state
        episodes: list[Episode] = []
        if state.volume is not None:
            episodes += (state.volume.high, state.volume.low)
        if state.drift is not None:
            episodes.append(state.drift.episode)
        if state.errors is not None:
            episodes.append(state.errors.episode)
        return [ending(episode, state.window.done_ms) for episode in episodes if episode.firing]

    def _judge(self) -> list[Change]:
        state, tuning = self._state, self._tuning
        window = state.window
        if state.errors is not None:
            return state.errors.judge(window, tuning)
        local_ms = window.done_ms + utc_offset_ms(self._zone, (window.done_ms - 1) // HOUR_MS)
        changes = []
        if state.volume is not None:
            changes += state.volume.judge(window, local_ms, self._customer, tuning)
        if state.drift is not None:
            changes += state.drift.step(window.done_ms, local_ms, window.n[-1], window.totals[-1], tuning)
        return changes


def load(state: bytes) -> State:
    """A state from its bytes.

    Raises
    ------
    StateError
        It is of another version, or none.
    """
    try:
        version = _VERSION.decode(state)[0]
        if version == STATE_VERSION:
            return _DECODER.decode(state)
    except msgspec.DecodeError as error:
        raise StateError(f"no state of an anomaly detector: {error}") from error
    raise StateError(f"state of version {version}, and {STATE_VERSION} is read: start the job without state.")


def replay(
    series: Series, minutes: Iterable[Minute], until_ms: int, tuning: Tuning, zone: str = "Etc/UTC"
) -> list[Change]:
    """What a detector says about minutes in order of time, when nothing comes after them until `until_ms`."""
    detector = Detector(series, tuning, zone)
    changes: list[Change] = []
    for minute in minutes:
        changes += detector.advance(minute.at_ms)
        detector.add(minute)
    return changes + detector.advance(until_ms)


@lru_cache(maxsize=4096)
def utc_offset_ms(zone: str, hour: int) -> int:
    """What the clocks of a zone are ahead of UTC at the beginning of an hour since 1970."""
    offset = instant(hour * HOUR_MS).astimezone(ZoneInfo(zone)).utcoffset()
    return round(offset.total_seconds() * 1_000) if offset is not None else 0


def _new(series: Series) -> State:
    if series.kind == "tenant":
        return State(STATE_VERSION, Window(), errors=ErrorRate())
    return State(STATE_VERSION, Window(), Volume(), Drift() if series.kind == "meter" else None)
