"""Durations in what is printed."""

from __future__ import annotations

import pytest

from tidemark.cli.durations import spoken, with_durations

DAY_MS = 86_400_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 ms"), (1, "1 ms"), (999, "999 ms"), (1_000, "1 s"), (61_000, "1 min 1 s"), (3_600_000, "1 h"),
        (DAY_MS, "1 day"), (2 * DAY_MS, "2 days"), (2 * DAY_MS + 1, "2 days 1 ms"), (2_344_250_199, "27 days 3 h"),
        (4_745 * DAY_MS, "4,745 days"),
    ],
)  # fmt: skip
def test_a_duration_is_said_in_its_two_greatest_units(ms, text):
    assert spoken(ms) == text


@pytest.mark.parametrize(
    ("detail", "text"),
    [
        (
            "arrived 2344250199 ms after its event time; the limit (grace) is 172800000 ms.",
            "arrived 27 days 3 h after its event time; the limit (grace) is 2 days.",
        ),
        ("waited 250 ms", "waited 250 ms"),
        ("customer c-5000 ms", "customer c-5000 ms"),
        ("1.5000 ms, 5000 msec", "1.5000 ms, 5000 msec"),
    ],
)
def test_only_durations_of_a_second_or_more_change(detail, text):
    assert with_durations(detail) == text
