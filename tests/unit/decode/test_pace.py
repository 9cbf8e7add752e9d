"""A worker held to a rate: how long it waits, with a clock of its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from udfs.decode.pace import Pace


class Clock:
    """Time that passes by sleeping, and by what the test says is done meanwhile."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept = 0.0

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
        self.slept += seconds


@given(st.lists(st.tuples(st.integers(1, 5_000), st.floats(0, 2)), min_size=1), st.integers(1, 10_000))
def test_no_more_than_the_rate_ever_passes(batches: list[tuple[int, float]], per_s: int) -> None:
    clock = Clock()
    pace = Pace(per_s, lambda: clock.now, clock.sleep)
    passed = 0
    for count, work_s in batches:
        pace.take(count)
        passed += count
        assert passed <= per_s * (clock.now - 100.0) * 1.000001 + 0.001
        clock.now += work_s


def test_a_worker_slower_than_the_rate_never_waits_for_longer_than_one_batch() -> None:
    clock = Clock()
    pace = Pace(10, lambda: clock.now, clock.sleep)
    for _ in range(5):
        pace.take(10)
        clock.now += 60
    assert clock.slept == 5


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    Pace(0, lambda: clock.now, clock.sleep).take(1_000_000)
    assert clock.slept == 0
