"""The catalog in a worker: when it asks its source, what it keeps when the source is away, and what it forgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.unit.strategies import EVENT_MS, decoder, ms_of, raw_event
from udfs.catalog import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOKUP_ATTEMPTS, Catalog, CatalogUnavailable
from udfs.catalog_model import CalendarDef, CatalogSnapshot, Customer, InMemoryCatalogSource, Pair, Tenant
from udfs.meters import Meter

ALICE, BOB, NOBODY = ("acme", "alice"), ("acme", "bob"), ("acme", "nobody")
REFRESH_S = 30.0


class Clock:
    """Time that passes when somebody sleeps or says so."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Source:
    """An in-memory source that counts its calls and fails as often as it is told."""

    def __init__(self) -> None:
        self.data = InMemoryCatalogSource(
            tenants=[Tenant("acme")],
            meters=[Meter("m", ("call",), "count")],
            calendars=[
                CalendarDef("weeks", "2024-01-01", "P1W", "UTC"),
                CalendarDef("days", "2024-01-01", "P1D", "UTC"),
            ],
            customer_versions=[Customer(*ALICE, "weeks")],
        )
        self.calls: list[str] = []
        self.failures_left = 0

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.failures_left > 0:
            self.failures_left -= 1
            raise ConnectionError("the database is away")

    def revision(self) -> int:
        self._called("revision")
        return self.data.revision()

    def snapshot(self) -> CatalogSnapshot:
        self._called("snapshot")
        return self.data.snapshot()

    def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
        self._called("customers")
        return self.data.customers(pairs)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def catalog(source: Source, clock: Clock) -> Catalog:
    return Catalog(source, REFRESH_S, 3, clock=clock, sleep=clock.sleep)


def days_in_period(catalog: Catalog, pair: Pair, ms: int = EVENT_MS) -> int:
    period = catalog.calendar_at(pair, ms).period_at(ms)
    return (period.end_ms - period.start_ms) // 86_400_000


# --- refreshing -------------------------------------------------------------------------------------------------------


def test_making_a_catalog_asks_for_nothing(catalog: Catalog, source: Source) -> None:
    assert catalog.age_s == 0
    assert source.calls == []
    with pytest.raises(CatalogUnavailable, match="never loaded"):
        catalog.meters_at("acme", "call", EVENT_MS)


def test_the_first_refresh_reads_the_snapshot_at_once(catalog: Catalog, source: Source, clock: Clock) -> None:
    catalog.refresh()
    assert (source.calls, clock.pauses) == (["snapshot"], [])


def test_the_revision_is_asked_for_only_when_it_is_time(catalog: Catalog, source: Source, clock: Clock) -> None:
    # 0 s load ── 29.9 s nothing ── 30 s revision ── 59.9 s nothing ── 60 s revision
    catalog.refresh()
    for step, calls in [(29.9, 0), (0.1, 1), (29.9, 1), (0.1, 2)]:
        clock.now += step
        catalog.refresh()
        assert source.calls == ["snapshot"] + ["revision"] * calls


def test_an_unchanged_revision_keeps_snapshot_and_customers(catalog: Catalog, source: Source, clock: Clock) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    clock.now += REFRESH_S
    catalog.refresh()
    catalog.prefetch([ALICE])
    assert source.calls == ["snapshot", "customers", "revision"]


def test_a_changed_revision_brings_the_new_snapshot_and_drops_customers(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    assert days_in_period(catalog, ALICE) == 7
    source.data.customer_versions = [Customer(*ALICE, "days")]
    source.data.meters = [Meter("renamed", ("call",), "count")]
    source.data.revision_number = 2
    clock.now += REFRESH_S
    catalog.refresh()
    catalog.prefetch([ALICE])
    assert source.calls == ["snapshot", "customers", "revision", "snapshot", "customers"]
    assert days_in_period(catalog, ALICE) == 1
    assert [meter.meter for meter in catalog.meters_at("acme", "call", EVENT_MS) or ()] == ["renamed"]


def test_a_source_that_is_away_leaves_everything_in_use_and_the_age_grows(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    source.failures_left = 2
    for failures in (1, 2):
        clock.now += REFRESH_S
        catalog.refresh()
        assert catalog.age_s == failures * REFRESH_S
        assert catalog.failures == failures
        assert catalog.meters_at("acme", "call", EVENT_MS)
        assert days_in_period(catalog, ALICE) == 7
    clock.now += REFRESH_S
    catalog.refresh()
    assert (catalog.age_s, clock.pauses) == (0, [])


def test_a_source_that_is_away_is_not_asked_before_it_is_time_again(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    catalog.refresh()
    source.failures_left = 1
    clock.now += REFRESH_S
    for _ in range(5):
        catalog.refresh()
    assert source.calls == ["snapshot", "revision"]


def test_a_snapshot_that_cannot_be_used_leaves_the_old_one_whole(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    source.data.calendars = [CalendarDef("weeks", "2024-01-01", "P1W", "Mars/Olympus")]
    source.data.revision_number = 2
    clock.now += REFRESH_S
    catalog.refresh()
    assert catalog.failures == 1
    assert days_in_period(catalog, ALICE) == 7


def test_the_first_load_waits_longer_and_longer_until_it_succeeds(
    catalog: Catalog, source: Source, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    source.failures_left = 6
    catalog.refresh()
    assert clock.pauses == [FIRST_PAUSE_S, 1.0, 2.0, 4.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert source.calls == ["snapshot"] * 7
    assert catalog.meters_at("acme", "call", EVENT_MS)
    assert "no catalog yet: waiting" in caplog.text


# --- customers --------------------------------------------------------------------------------------------------------


def test_all_customers_a_batch_misses_are_looked_up_at_once(source: Source) -> None:
    by = decoder(source.data)
    raws = [raw_event(customer_id=name) for name in ("alice", "bob", "alice", "nobody")]
    for _ in range(2):
        by.decode_batch(raws, [EVENT_MS] * 4, [0] * 4, range(4))
    by.decode_batch([raw_event(customer_id="late")], [EVENT_MS], [0], [4])
    assert [set(pairs) for pairs in source.data.lookups] == [{ALICE, BOB, NOBODY}, {("acme", "late")}]


def test_a_batch_without_good_events_looks_nobody_up(source: Source) -> None:
    decoder(source.data).decode_batch([b"{", None], [0, 0], [0, 0], [0, 1])
    assert source.data.lookups == []


def test_a_customer_nobody_knows_is_remembered_as_such(catalog: Catalog, source: Source) -> None:
    catalog.refresh()
    for _ in range(3):
        catalog.prefetch([NOBODY])
    assert source.calls.count("customers") == 1
    assert days_in_period(catalog, NOBODY) == 31


def test_a_source_may_leave_out_customers_it_does_not_know() -> None:
    class Silent(Source):
        def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
            return {pair: [] for pair in pairs[:0]}

    catalog = Catalog(Silent(), REFRESH_S, 3)
    catalog.refresh()
    catalog.prefetch([ALICE])
    assert days_in_period(catalog, ALICE) == 31


def test_the_number_of_customers_kept_is_bounded(catalog: Catalog) -> None:
    catalog.refresh()
    for number in range(50):
        catalog.prefetch([("acme", f"customer-{number}"), ("acme", f"customer-{number + 1}")])
        assert len(catalog._customers) <= 3
        assert days_in_period(catalog, ("acme", f"customer-{number}")) == 31


def test_a_batch_of_more_customers_than_are_kept_is_answered_whole(catalog: Catalog) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    pairs = [("acme", f"customer-{number}") for number in range(10)]
    catalog.prefetch(pairs)
    assert {days_in_period(catalog, pair) for pair in pairs} == {31}
    catalog.prefetch([BOB])
    assert len(catalog._customers) <= 3


def test_making_room_never_drops_a_customer_of_the_batch(catalog: Catalog) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    catalog.prefetch([BOB, NOBODY])
    catalog.prefetch([ALICE, ("acme", "x"), ("acme", "y")])
    assert set(catalog._customers) == {ALICE, ("acme", "x"), ("acme", "y")}
    assert days_in_period(catalog, ALICE) == 7


def test_a_look_up_that_fails_is_tried_again(catalog: Catalog, source: Source, clock: Clock) -> None:
    catalog.refresh()
    source.failures_left = LOOKUP_ATTEMPTS - 1
    catalog.prefetch([ALICE])
    assert clock.pauses == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S]
    assert days_in_period(catalog, ALICE) == 7


def test_a_look_up_that_keeps_failing_ends_the_batch_and_guesses_nothing(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    catalog.refresh()
    source.failures_left = LOOKUP_ATTEMPTS
    with pytest.raises(CatalogUnavailable, match="the database is away"):
        catalog.prefetch([ALICE])
    assert source.calls.count("customers") == LOOKUP_ATTEMPTS
    assert len(clock.pauses) == LOOKUP_ATTEMPTS - 1
    catalog.prefetch([ALICE])
    assert days_in_period(catalog, ALICE) == 7


def test_known_customers_are_answered_while_the_source_is_away(catalog: Catalog, source: Source) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    source.failures_left = 100
    catalog.prefetch([ALICE])
    assert days_in_period(catalog, ALICE) == 7


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
def test_answers_do_not_depend_on_which_version_was_asked_for_first(
    catalog: Catalog, source: Source, order: tuple[int, ...]
) -> None:
    # tenant    ── no default ──┤ Mar 3: days ├────────────────────────────┤ Mar 9: no default
    # calendar  ─────────────────────────────┤ Mar 5: "days" is defined ├──
    third, fifth, ninth = (ms_of(f"2024-03-0{day}T00:00:00Z") for day in (3, 5, 9))
    source.data.tenants = [
        Tenant("acme", None, valid_to_ms=third), Tenant("acme", "days", third, ninth), Tenant("acme", None, ninth),
    ]  # fmt: skip
    source.data.calendars = [CalendarDef("days", "2024-01-01", "P1D", "UTC", valid_from_ms=fifth)]
    source.data.customer_versions = []
    catalog.refresh()
    catalog.prefetch([ALICE])
    moments = [third - 1, third, fifth, ninth]
    found = {index: days_in_period(catalog, ALICE, moments[index]) for index in order}
    assert found == {0: 31, 1: 31, 2: 1, 3: 31}


def test_an_unknown_tenant_and_an_unknown_event_type_are_told_apart(catalog: Catalog) -> None:
    catalog.refresh()
    for _ in range(2):
        assert catalog.meters_at("nobody", "call", EVENT_MS) is None
        assert catalog.meters_at("acme", "dream", EVENT_MS) == ()
        assert [meter.meter for meter in catalog.meters_at("acme", "call", EVENT_MS) or ()] == ["m"]


def test_a_tenant_is_known_within_its_validity_only(catalog: Catalog, source: Source) -> None:
    source.data.tenants = [Tenant("acme", None, EVENT_MS, EVENT_MS + 10)]
    catalog.refresh()
    known = [catalog.meters_at("acme", "call", EVENT_MS + step) is not None for step in (0, 9, -1, 10)]
    assert known == [True, True, False, False]
