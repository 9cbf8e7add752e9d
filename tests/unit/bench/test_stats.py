"""Medians, percentiles, warm-up and slope."""

from __future__ import annotations

import pytest

from tests.bench.report import stats


def test_a_spread_has_median_and_both_ends():
    spread = stats.Spread((3.0, 1.0, 2.0, 10.0))
    assert (spread.median, spread.least, spread.most) == (2.5, 1.0, 10.0)
    with pytest.raises(ValueError, match="needs a value"):
        stats.Spread(())


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1), (0.001, 1)])
def test_percentiles_are_values_that_were_seen(share, expected):
    assert stats.percentile(list(range(100, 0, -1)), share) == expected


def test_a_percentile_of_nothing_is_an_error_and_not_a_zero():
    with pytest.raises(ValueError, match="nothing was seen"):
        stats.percentile([], 0.99)


@pytest.mark.parametrize(
    ("rates", "skipped"),
    [
        ([100, 105], 0),
        ([20, 60, 95, 100, 50], 2),
        ([20, 60, 95], None),
        ([50], None),
        ([], None),
        ([0, 0, 100, 100], 2),
        ([0, 0, 0], None),
    ],
)
def test_warm_is_what_comes_after_two_windows_that_agree(rates, skipped):
    assert stats.warm_after(rates) == skipped


def test_agreement_is_of_the_greater_one_and_has_no_direction():
    assert stats.agree(90, 100)
    assert stats.agree(100, 90)
    assert not stats.agree(89, 100)


def test_a_slope_of_one_is_linear():
    assert stats.slope((500_000, 10.0), (8_000_000, 160.0)) == 1.0
    assert stats.slope((500_000, 10.0), (8_000_000, 320.0)) == 2.0
