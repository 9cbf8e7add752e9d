"""Bins, percentiles and integrals compared with exact results, over all magnitudes and signs of values."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from udfs.meters.levels import PER_MS, Per, integral
from udfs.meters.sketch import GAMMA, Bin, bin_of, estimate, percentile

BOUND = Decimal("0.00991")
HOUR_MS = 3_600_000

# Any exponent that a value of 18 digits and 9 decimals can have is as likely as any other.
_sizes = st.builds(
    lambda digits, places: Decimal(digits).scaleb(-places), st.integers(1, 10**18 - 1), st.integers(0, 9)
) | st.builds(lambda digits, power: Decimal(digits).scaleb(power), st.integers(1, 99), st.integers(-9, 16))
values = st.just(Decimal(0)) | st.builds(lambda size, sign: size * sign, _sizes, st.sampled_from([1, -1]))
shares = st.sampled_from([Decimal("0.5"), Decimal("0.95"), Decimal("0.99"), Decimal(1)]) | st.decimals(
    "0.0001", 1, places=4
)


def text_of(value: Decimal) -> str:
    return format(value, "f")


def bins_of(data: Sequence[Decimal]) -> dict[str, Bin]:
    parts: dict[str, list[Decimal]] = {}
    for value in data:
        parts.setdefault(bin_of(text_of(value)), []).append(value)
    return {part: (len(held), min(held), max(held)) for part, held in parts.items()}


def merged(one: dict[str, Bin], other: dict[str, Bin]) -> dict[str, Bin]:
    """As SQL merges rows: SUM, MIN, MAX by part."""
    result = dict(one)
    for part, (samples, lo, hi) in other.items():
        before = result.get(part, (0, lo, hi))
        result[part] = (samples + before[0], min(lo, before[1]), max(hi, before[2]))
    return result


def exact(data: Sequence[Decimal], p: Decimal) -> Decimal:
    """percentile_disc: the first value whose share of the rows up to it is at least p."""
    ordered = sorted(data)
    return next(value for rank, value in enumerate(ordered, 1) if Fraction(rank, len(ordered)) >= Fraction(p))


# --- bins -------------------------------------------------------------------------------------------------------------


@given(values)
def test_a_bin_holds_its_values_and_no_others(value: Decimal) -> None:
    part = bin_of(text_of(value))
    if not value:
        assert part == "b0"
        return
    assert part[:2] == ("bn" if value < 0 else "bp")
    index = int(part[2:])
    assert Fraction(GAMMA) ** (index - 1) < abs(Fraction(value)) <= Fraction(GAMMA) ** index


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("0", "b0"), ("1", "bp0"), ("-1", "bn0"), ("1.000000001", "bp1"), ("0.999999999", "bp0"), ("1.02", "bp1"),
        ("1.020000001", "bp2"), ("1.0404", "bp2"), ("1.061208", "bp3"), ("1.08243216", "bp4"), ("-1.0404", "bn2"),
        ("0.000000001", "bp-1046"), ("999999999999999999.999999999", "bp2093"), ("0.8", "bp-11"),
    ],
)  # fmt: skip
def test_the_bin_of_a_value_is_exact_at_its_bounds(value: str, part: str) -> None:
    assert bin_of(value) == part


@given(values)
def test_the_estimate_of_a_lone_value_is_that_value(value: Decimal) -> None:
    assert estimate(bin_of(text_of(value)), value, value) == value


@given(values, values)
def test_an_estimate_stays_within_the_bin_and_the_error_bound(one: Decimal, other: Decimal) -> None:
    # Without bounds that help: as wide as the bin is.
    part = bin_of(text_of(one))
    found = estimate(part, Decimal("-1E+30"), Decimal("1E+30"))
    assert abs(found - one) <= BOUND * abs(one)
    assert (one < other) <= (found <= estimate(bin_of(text_of(other)), Decimal("-1E+30"), Decimal("1E+30")))


# --- percentiles ------------------------------------------------------------------------------------------------------


@given(st.lists(values, min_size=1, max_size=60), shares)
@example([Decimal("1E-9"), Decimal("2E-9"), Decimal(999_999_999_999_999_999)], Decimal("0.34"))
def test_a_percentile_is_within_one_percent_of_the_exact_one(data: list[Decimal], p: Decimal) -> None:
    found, wanted = percentile(bins_of(data), p), exact(data, p)
    assert found is not None
    assert abs(found - wanted) <= BOUND * abs(wanted)
    assert min(data) <= found <= max(data)


@given(st.lists(values, max_size=30), st.lists(values, max_size=30), shares)
def test_merging_bins_is_the_same_as_binning_all_values(one: list[Decimal], other: list[Decimal], p: Decimal) -> None:
    both = bins_of(one + other)
    assert merged(bins_of(one), bins_of(other)) == merged(bins_of(other), bins_of(one)) == both
    assert percentile(merged(bins_of(one), bins_of(other)), p) == percentile(both, p)


@given(st.lists(values, min_size=1, max_size=40))
def test_percentiles_rise_with_their_share_and_end_at_the_greatest_bin(data: list[Decimal]) -> None:
    found = [percentile(bins_of(data), Decimal(step) / 20) for step in range(1, 21)]
    assert found == sorted(found)
    assert abs(found[-1] - max(data)) <= BOUND * abs(max(data))


def test_the_rank_is_that_of_percentile_disc() -> None:
    # 1 2 3 4:   p ≤ 0.25 ─> 1   p ≤ 0.5 ─> 2   p ≤ 0.75 ─> 3   above ─> 4
    bins = bins_of([Decimal(n) for n in (1, 2, 3, 4)])
    ranks = {"0.0001": 1, "0.25": 1, "0.250001": 2, "0.5": 2, "0.75": 3, "0.75000000000000000000000001": 4, "1": 4}
    assert {p: percentile(bins, p) for p in ranks} == {p: Decimal(value) for p, value in ranks.items()}


def test_bins_without_samples_are_passed_over() -> None:
    bins: dict[str, Bin] = {"": (0, None, None), "bp9": (0, None, None), "bp1": (1, Decimal("1.01"), Decimal("1.01"))}
    assert percentile(bins, "0.5") == Decimal("1.01")
    assert percentile({"": (0, None, None)}, "0.5") is None
    assert percentile({}, "1") is None


@pytest.mark.parametrize("p", ["0", "-0.5", "1.01"])
def test_a_share_outside_zero_to_one_is_refused(p: str) -> None:
    with pytest.raises(ValueError, match="percentile"):
        percentile({}, p)


# --- integrals --------------------------------------------------------------------------------------------------------

_changes = st.lists(
    st.tuples(
        st.integers(0, 5_000), st.decimals(-(10**12) + 1, 10**12 - 1, places=9, allow_nan=False, allow_infinity=False)
    ),
    max_size=20,
)


def brute_force(changes: list[tuple[int, Decimal]], start_ms: int, end_ms: int, per: Per) -> Fraction:
    """The level of every single millisecond added up."""
    by_time: dict[int, Fraction] = {}
    for at, change in changes:
        by_time[at] = by_time.get(at, Fraction(0)) + Fraction(change)
    level = sum((change for at, change in by_time.items() if at < start_ms), Fraction(0))
    area = Fraction(0)
    for ms in range(start_ms, end_ms):
        level += by_time.get(ms, 0)
        area += level
    return area / PER_MS[per]


def of_changes(changes: list[tuple[int, Decimal]], start_ms: int, end_ms: int, per: Per, shift_ms: int = 0) -> Decimal:
    inside = [(at + shift_ms, change) for at, change in changes if start_ms <= at < end_ms]
    with localcontext() as context:
        context.prec = 60
        before = sum((change for at, change in changes if at < start_ms), Decimal(0))
        moment = sum((change * at for at, change in inside), Decimal(0))
        change = sum((change for _, change in inside), Decimal(0))
    return integral(before, change, moment, start_ms + shift_ms, end_ms + shift_ms, per)


@given(_changes, st.integers(0, 5_000), st.integers(0, 5_000), st.sampled_from(["second", "minute", "hour", "day"]))
def test_an_integral_is_the_level_of_each_millisecond_added_up(
    changes: list[tuple[int, Decimal]], one: int, other: int, per: Per
) -> None:
    start_ms, end_ms = sorted((one, other))
    found = of_changes(changes, start_ms, end_ms, per)
    assert abs(Fraction(found) - brute_force(changes, start_ms, end_ms, per)) <= Fraction(1, 2 * 10**9)
    assert found.as_tuple().exponent == -9


@given(_changes, st.integers(0, 4 * 10**12))
def test_where_the_epoch_is_makes_no_difference(changes: list[tuple[int, Decimal]], shift_ms: int) -> None:
    assert of_changes(changes, 1_000, 4_000, "hour") == of_changes(changes, 1_000, 4_000, "hour", shift_ms)


def test_a_level_is_carried_over_a_time_without_changes() -> None:
    # ── 5 ──┤ start ── 5 ── end ├──
    assert integral(Decimal(5), Decimal(0), Decimal(0), 0, 2 * HOUR_MS, "hour") == 10
    # +8 after half of an hour, at noon of 2024-01-01: 8 * 30 min
    noon_ms = 1_704_110_400_000
    half_ms = noon_ms + HOUR_MS // 2
    assert integral(Decimal(0), Decimal(8), Decimal(8) * half_ms, noon_ms, noon_ms + HOUR_MS, "hour") == 4


def test_an_integral_is_rounded_half_to_even() -> None:
    # 1 ms of a level, per second: the tenth decimal is a 5
    found = [integral(Decimal(level), Decimal(0), Decimal(0), 0, 1, "second") for level in ("0.0000005", "0.0000015")]
    assert found == [Decimal("0.000000000"), Decimal("0.000000002")]


def test_rounding_is_the_only_loss_at_the_limits() -> None:
    level = Decimal("99999999999999999999999.999999999")
    found = integral(level, Decimal(0), Decimal(0), 0, 47_847 * 24 * HOUR_MS, "day")
    assert found == Decimal("4784699999999999999999999999.999952153")
