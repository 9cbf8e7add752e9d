"""docs/scaling.md: what a rate needs, from measured figures."""

from __future__ import annotations

import pytest

from tests.bench.report import sizing
from tests.bench.report.results import Found, Results

FIGURES = {
    "meter_rate": 60_000.0, "meter_cpu": 20.0, "rows_rate": 40_000.0, "rows_cpu": 30.0, "all_cpu": 45.0,
    "rows_per_event": 0.1, "wal_bytes": 100.0, "id_bytes": 40.0,
}  # fmt: skip


def test_a_small_rate_needs_one_of_each():
    size = sizing.size(1_000, FIGURES)
    assert (size.cores, size.slots, size.partitions) == (1, 1, 4)
    assert size.upserts_per_s == 100


def test_a_core_at_sixty_percent_does_thirty_thousand_events_of_twenty_microseconds():
    assert sizing.size(30_000, FIGURES).slots == 1
    assert sizing.size(30_001, FIGURES).slots == 2
    assert sizing.size(100_000, FIGURES).slots == 4


@pytest.mark.parametrize(("rate", "partitions"), [(20_000, 4), (100_000, 8), (1_000_000, 128)])
def test_partitions_are_twice_the_next_power_of_two(rate, partitions):
    size = sizing.size(rate, FIGURES)
    assert size.partitions == partitions
    assert size.partitions >= 2 * size.slots


def test_dedupe_state_is_rate_times_life_times_bytes():
    size = sizing.size(20_000, FIGURES)
    assert size.dedupe_gib == pytest.approx(20_000 * sizing.DEDUPE_S * 40 / 2**30)
    assert sizing.size(20_000, {**FIGURES, "id_bytes": 80.0}).dedupe_gib == pytest.approx(2 * size.dedupe_gib)


def test_the_life_of_a_key_is_that_of_the_default_settings():
    from tidemark.core.settings import load  # noqa: PLC0415 - the rest needs no settings

    assert load().events.dedupe_ttl_ms == sizing.DEDUPE_S * 1_000


def test_everything_grows_with_the_rate():
    sizes = [sizing.size(rate, FIGURES) for rate in sizing.RATES]
    for attribute in ("cores", "slots", "partitions", "dedupe_gib", "upserts_per_s", "wal_mib_per_s"):
        values = [getattr(size, attribute) for size in sizes]
        assert values == sorted(values)


def test_without_results_the_page_says_so_and_without_ids_only_their_column():
    assert "Not measured yet." in sizing.blocks([])["sizes"]
    found = {
        "drain_keyed": Found(figures={("meter", "events_per_s"): [60_000], ("meter", "own_cpu_us"): [20]}),
        "contest": Found(
            figures={
                ("meter + rollup", "events_per_s"): [40_000], ("meter + rollup", "own_cpu_us"): [30],
                ("meter + rollup", "all_cpu_us"): [45], ("meter + rollup, storage", "rows_per_event"): [0.1],
                ("meter + rollup, storage", "wal_bytes"): [100],
            }
        ),
    }  # fmt: skip
    made = sizing.blocks([Results({"mode": "quick"}, found)])
    assert "| 1 000 | 1 | 1 | 4 | not measured yet | 100 | 0.095 |" in made["sizes"]
    assert "| CPU of `meter` | 20.0 | us/event |" in made["figures"]
