"""The catalog in a worker: when it reads its source, what it keeps when the source is down, and what it forgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import EVENT_MS, POLICY, decoded, decoder, ms_of, raw_event
from udfs.calendars.calendar import CalendarError
from udfs.catalog.cache import FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOKUP_ATTEMPTS, Catalog, CatalogUnavailable
from udfs.catalog.index import CalendarMissingError, CatalogIndex
from udfs.catalog.model import CalendarDef, CatalogSnapshot, Customer, InMemoryCatalogSource, Pair, Tenant
from udfs.decode.decoder import Decoder
from udfs.meters.meter import Meter

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
    """An in-memory source that counts its calls and fails as often as it is set to."""

    def __init__(self) -> None:
        self.data = InMemoryCatalogSource(
            tenants=[Tenant("acme")],
            meters=[Meter("m", ("call",), "count")],
            calendars=[
                CalendarDef("weeks", anchor="2024-01-01", interval="P1W", timezone="UTC"),
                CalendarDef("days", anchor="2024-01-01", interval="P1D", timezone="UTC"),
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


def test_a_source_that_is_down_leaves_everything_in_use_and_the_age_grows(
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


def test_a_catalog_that_was_not_confirmed_for_too_long_is_used_no_more(
    source: Source, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    # 0 s confirmed ── 30, 60, 90 s away, used ── limit 100 s ── 120 s away: wait … until it answers
    catalog = Catalog(source, REFRESH_S, 3, max_age_s=100.0, clock=clock, sleep=clock.sleep)
    catalog.refresh()
    source.failures_left = 7
    for _ in range(3):
        clock.now += REFRESH_S
        catalog.refresh()
        assert clock.pauses == []
    clock.now += REFRESH_S
    source.data.meters, source.data.revision_number = [Meter("renamed", ("call",), "count")], 2
    catalog.refresh()
    assert clock.pauses == [FIRST_PAUSE_S, 1.0, 2.0, 4.0]
    waits = [one for one in caplog.messages if "over the limit of 100 s: waiting" in one]
    assert len(waits) == len(clock.pauses)
    assert waits[0] == "catalog last confirmed 120 s ago, over the limit of 100 s: waiting 0.5 s for its database"
    assert (catalog.age_s, catalog.failures) == (0, 7)
    assert [meter.meter for meter in catalog.meters_at("acme", "call", EVENT_MS) or ()] == ["renamed"]


def test_a_catalog_exactly_as_old_as_the_limit_is_still_used(source: Source, clock: Clock) -> None:
    catalog = Catalog(source, REFRESH_S, 3, max_age_s=2 * REFRESH_S, clock=clock, sleep=clock.sleep)
    catalog.refresh()
    source.failures_left = 1
    clock.now += 2 * REFRESH_S
    catalog.refresh()
    assert (catalog.age_s, clock.pauses) == (2 * REFRESH_S, [])


def test_a_worker_that_had_nothing_to_do_for_long_asks_once_and_goes_on(source: Source, clock: Clock) -> None:
    # The age counts from the last answer: without events nobody asked, and the source was there all the time.
    catalog = Catalog(source, REFRESH_S, 3, max_age_s=100.0, clock=clock, sleep=clock.sleep)
    catalog.refresh()
    clock.now += 86_400
    catalog.refresh()
    assert (source.calls, clock.pauses, catalog.age_s) == (["snapshot", "revision"], [], 0)


def test_a_limit_below_the_refresh_interval_is_kept_all_the_same(source: Source, clock: Clock) -> None:
    catalog = Catalog(source, REFRESH_S, 3, max_age_s=10.0, clock=clock, sleep=clock.sleep)
    catalog.refresh()
    clock.now += 10.5
    catalog.refresh()
    assert (source.calls, catalog.age_s) == (["snapshot", "revision"], 0)


def test_a_source_that_is_down_is_not_read_before_it_is_time_again(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    catalog.refresh()
    source.failures_left = 1
    clock.now += REFRESH_S
    for _ in range(5):
        catalog.refresh()
    assert source.calls == ["snapshot", "revision"]


def test_a_calendar_that_cannot_be_used_hurts_only_its_own_customers(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    # Neither the first load nor a refresh may fail for it: everybody else is billed as before.
    good = source.data.calendars
    source.data.customer_versions = [Customer(*ALICE, "weeks"), Customer(*BOB, "broken")]
    source.data.calendars = [*good, CalendarDef("broken", anchor="2024-01-01", interval="P1W", timezone="Mars/Olympus")]
    for revision in (1, 2):
        source.data.revision_number = revision
        clock.now += REFRESH_S
        catalog.refresh()
        catalog.prefetch([ALICE, BOB])
        assert (catalog.failures, clock.pauses) == (0, [])
        assert days_in_period(catalog, ALICE) == 7
        with pytest.raises(CalendarError, match="Mars/Olympus"):
            catalog.calendar_at(BOB, EVENT_MS)


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


def test_all_customers_a_batch_misses_are_read_at_once(source: Source) -> None:
    by = decoder(source.data)
    raws = [raw_event(customer_id=name) for name in ("alice", "bob", "alice", "nobody")]
    for _ in range(2):
        by.decode_batch(raws, [EVENT_MS] * 4, [0] * 4, range(4))
    by.decode_batch([raw_event(customer_id="late")], [EVENT_MS], [0], [4])
    assert [set(pairs) for pairs in source.data.lookups] == [{ALICE, BOB, NOBODY}, {("acme", "late")}]


def test_a_cache_smaller_than_a_batch_resolves_all_of_it(source: Source) -> None:
    by = Decoder(Catalog(source.data, REFRESH_S, 3), POLICY)
    raws = [raw_event(event_id=str(number), customer_id=f"customer-{number % 7}") for number in range(50)]
    for _ in range(3):
        assert decoded([*raws], by=by).rejects == [None] * 50


def test_a_batch_without_good_events_looks_nobody_up(source: Source) -> None:
    raws = [b"{", None, raw_event(quantity="many"), raw_event(properties={"dest": []})]
    source.data.meters = [Meter("m", ("call",), "count", group_by=("dest",))]
    assert None not in decoded(raws, by=decoder(source.data)).rejects
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


def test_a_batch_of_more_customers_than_are_cached_is_resolved_whole(catalog: Catalog) -> None:
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


def test_making_room_drops_those_that_were_not_used_for_the_longest_time(catalog: Catalog) -> None:
    catalog.refresh()
    for pair in (ALICE, BOB, NOBODY, ALICE, ("acme", "x")):
        catalog.prefetch([pair])
    assert set(catalog._customers) == {NOBODY, ALICE, ("acme", "x")}


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


def test_known_customers_are_resolved_while_the_source_is_down(catalog: Catalog, source: Source) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    source.failures_left = 100
    catalog.prefetch([ALICE])
    assert days_in_period(catalog, ALICE) == 7


# --- customers newer than the snapshot --------------------------------------------------------------------------------


def test_a_customer_on_a_calendar_newer_than_the_snapshot_brings_the_newer_one(
    catalog: Catalog, source: Source
) -> None:
    catalog.refresh()
    catalog.prefetch([ALICE])
    source.data.calendars = [
        *source.data.calendars,
        CalendarDef("ten", anchor="2024-03-01", interval="P10D", timezone="UTC"),
    ]
    source.data.customer_versions = [Customer(*ALICE, "days"), Customer(*BOB, "ten")]
    source.data.revision_number = 2
    catalog.prefetch([ALICE, BOB])
    # ALICE was kept, but from before the change.
    assert source.calls[2:] == ["customers", "revision", "snapshot", "customers"]
    assert (days_in_period(catalog, ALICE), days_in_period(catalog, BOB)) == (1, 10)


def test_a_newer_snapshot_that_cannot_be_read_ends_the_batch_and_guesses_nothing(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    class AwayAfterLookup(Source):
        def customers(self, pairs: Sequence[Pair]) -> Mapping[Pair, Sequence[Customer]]:
            source.failures_left = next(away)
            return source.data.customers(pairs)

    catalog.refresh()
    source.data.customer_versions = [Customer(*BOB, "ten")]
    source.data.calendars, source.data.revision_number = (
        [CalendarDef("ten", anchor="2024-03-01", interval="P10D", timezone="UTC")],
        2,
    )
    away = iter([LOOKUP_ATTEMPTS, LOOKUP_ATTEMPTS - 1, 0])
    source.customers = AwayAfterLookup().customers  # type: ignore[method-assign]
    with pytest.raises(CatalogUnavailable, match="the database is away"):
        catalog.prefetch([BOB])
    catalog.prefetch([BOB])
    assert days_in_period(catalog, BOB) == 10
    assert len(clock.pauses) == 2 * (LOOKUP_ATTEMPTS - 1)


def test_a_calendar_that_is_nowhere_is_asked_for_once_a_refresh_interval(
    catalog: Catalog, source: Source, clock: Clock
) -> None:
    # Two broken references, a batch a second, each with customers never seen: one question each per interval.
    catalog.refresh()
    names = [f"customer-{number}" for number in range(60)]
    source.data.customer_versions = [
        Customer("acme", name, f"nowhere-{number % 2}") for number, name in enumerate(names)
    ]
    for name in names:
        catalog.prefetch([("acme", name)])
        # A guess would be a wrong bill.
        with pytest.raises(CalendarMissingError, match="nowhere"):
            catalog.calendar_at(("acme", name), EVENT_MS)
        clock.now += 1.0
    assert source.calls.count("snapshot") == 1
    assert source.calls.count("revision") == 2 * len(names) / REFRESH_S


def test_a_broken_reference_does_not_hide_a_newer_calendar(catalog: Catalog, source: Source) -> None:
    catalog.refresh()
    source.data.customer_versions = [Customer(*ALICE, "nowhere"), Customer(*BOB, "ten")]
    catalog.prefetch([ALICE])
    source.data.calendars, source.data.revision_number = (
        [CalendarDef("ten", anchor="2024-03-01", interval="P10D", timezone="UTC")],
        2,
    )
    catalog.prefetch([ALICE, BOB])
    assert days_in_period(catalog, BOB) == 10
    with pytest.raises(CalendarMissingError):
        catalog.calendar_at(ALICE, EVENT_MS)


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)])
def test_results_do_not_depend_on_which_version_was_read_first(
    catalog: Catalog, source: Source, order: tuple[int, ...]
) -> None:
    # tenant    ── no default ──┤ Mar 3: days ├────────────────────────────┤ Mar 9: no default
    # calendar  ─────────────────────────────┤ Mar 5: "days" is defined ├──
    third, fifth, ninth = (ms_of(f"2024-03-0{day}T00:00:00Z") for day in (3, 5, 9))
    source.data.tenants = [
        Tenant("acme", None, valid_to_ms=third), Tenant("acme", "days", third, ninth), Tenant("acme", None, ninth),
    ]  # fmt: skip
    source.data.calendars = [
        CalendarDef("days", anchor="2024-01-01", interval="P1D", timezone="UTC", valid_from_ms=fifth)
    ]
    source.data.customer_versions = []
    catalog.refresh()
    catalog.prefetch([ALICE])
    moments = [third - 1, third, fifth, ninth]
    found: dict[int, int | None] = {}
    for index in order:
        try:
            found[index] = days_in_period(catalog, ALICE, moments[index])
        except CalendarMissingError:
            found[index] = None
    # From the 3rd to the 5th a calendar is named that is not defined: the UTC month would be a guess. March is cut at
    # both ends of that: 2 days at its begin, 23 at its end.
    assert found == {0: 2, 1: None, 2: 1, 3: 23}


def test_an_unknown_tenant_and_an_unknown_event_type_are_distinguished(catalog: Catalog) -> None:
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


_bounds = st.lists(st.integers(0, 9), min_size=2, max_size=2, unique=True).map(sorted)
_versions = st.builds(
    lambda name, types, tenant, bounds: Meter(
        name, types, "count", tenant_id=tenant, valid_from_ms=bounds[0], valid_to_ms=bounds[1]
    ),
    st.sampled_from("ab"), st.sampled_from([("call",), ("text",), ("call", "text")]),
    st.sampled_from([None, "acme", "globex"]), _bounds,
)  # fmt: skip


def overlap(one: Meter, other: Meter) -> bool:
    same = (one.meter, one.tenant_id) == (other.meter, other.tenant_id)
    return same and one.valid_from_ms < other.valid_to_ms and other.valid_from_ms < one.valid_to_ms


@given(st.lists(_versions, max_size=6), _bounds, st.permutations(range(10)))
def test_remembered_meters_are_those_of_each_instant(
    drawn: list[Meter], known: list[int], moments: Sequence[int]
) -> None:
    meters: list[Meter] = []
    for meter in drawn:
        if not any(overlap(meter, other) for other in meters):
            meters.append(meter)
    index = CatalogIndex(CatalogSnapshot(1, [Tenant("acme", None, *known)], meters))
    for ms in moments:
        valid = [one for one in meters if one.valid_from_ms <= ms < one.valid_to_ms and one.tenant_id != "globex"]
        by_name = {one.meter: one for one in sorted(valid, key=lambda one: one.tenant_id is not None)}
        expected = tuple(by_name[name] for name in sorted(by_name) if "call" in by_name[name].event_types)
        assert index.meters_at("acme", "call", ms) == (expected if known[0] <= ms < known[1] else None)
