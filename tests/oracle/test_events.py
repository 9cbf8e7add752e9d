"""Voids, versions, CloudEvents, redriven events and limits, as the oracle counts them."""

import pytest

from tests.oracle.support import catalog_of, cloud, event, millis, oracle_of, parts, void
from tidemark.core.errors import TidemarkError
from tidemark.oracle.oracle import Oracle, Rules

SUM = catalog_of(m={"aggregation": "sum"})


def outcomes_of(*values, catalog=SUM, rules=None, arrival="2013-03-10T12:00:00"):
    with oracle_of(catalog, *values, rules=rules, arrival=arrival) as oracle:
        return [oracle.outcomes()[0, offset] for offset in range(len(values))]


@pytest.mark.parametrize("aggregation", ["count", "sum", "avg"])
def test_a_void_takes_an_amount_back(aggregation):
    with oracle_of(catalog_of(m={"aggregation": aggregation}), event("1"), event("2"), void("2")) as oracle:
        assert parts(oracle) == parts(oracle, "usage_minute") == [("", 3, 1, "1", "1", "1", None)]


def test_a_void_takes_a_level_and_its_moment_back():
    with oracle_of(catalog_of(m={"aggregation": "weighted_sum"}), event("1"), void("1")) as oracle:
        moment = str(millis("2013-03-10T09:00:00"))
        assert parts(oracle) == [("", 2, 0, "0", "1", "1", None), ("m", 2, 0, "0", moment, moment, None)]


@pytest.mark.parametrize("aggregation", ["min", "max", "latest"])
def test_a_void_of_what_cannot_be_taken_back_is_only_counted_as_applied(aggregation):
    with oracle_of(catalog_of(m={"aggregation": aggregation}), event("1", quantity="5")) as oracle:
        before = parts(oracle)[0]
    with oracle_of(
        catalog_of(m={"aggregation": aggregation}), event("1", quantity="5"), void("1", quantity="5")
    ) as oracle:
        assert parts(oracle) == [(before[0], 2, *before[2:])]


@pytest.mark.parametrize("aggregation", ["unique", "percentile"])
def test_a_void_of_a_meter_with_parts_is_counted_in_a_part_of_its_own(aggregation):
    with oracle_of(catalog_of(m={"aggregation": aggregation}), void("1")) as oracle:
        expected = [("v", 1, 0, "0", None, None, None)]
        assert [parts(oracle, f"usage_{grain}") for grain in ("minute", "hour", "day", "period")] == [expected] * 4
        assert oracle.rows("live") == []


def test_a_void_counts_once_whatever_its_own_id_and_before_or_after_its_original():
    sent = [void("1"), event("1"), void("1"), event("other id", voids="1"), event("1", voids="1")]
    assert outcomes_of(*sent) == ["counted", "counted", "duplicate", "duplicate", "duplicate"]


def test_a_void_is_of_one_tenant_and_one_source():
    sent = [
        void("1"), void("1", tenant_id="other"), void("1", schema_version=2, source="/a"),
        void("1", schema_version=2, source="/b"), void("1", schema_version=2), cloud("x", voids="1", source="/a"),
    ]  # fmt: skip
    assert outcomes_of(*sent) == ["counted", "counted", "counted", "counted", "duplicate", "duplicate"]


def test_an_event_may_have_the_own_id_of_a_void():
    assert outcomes_of(void("1"), event("void of 1"), event("2", voids=None)) == ["counted"] * 3


def test_of_several_voids_the_first_offset_counts():
    with oracle_of(SUM, void("1", quantity="5"), void("1", quantity="7")) as oracle:
        assert parts(oracle) == [("", 1, -1, "-5", None, None, None)]


def test_a_negative_value_is_judged_before_it_is_taken_back():
    allowed = catalog_of(m={"aggregation": "sum", "allow_negative": True})
    assert outcomes_of(void("1", quantity="-5")) == ["negative_quantity"]
    with oracle_of(allowed, void("1", quantity="-5")) as oracle:
        assert parts(oracle) == [("", 1, -1, "5", None, None, None)]


def test_a_void_after_grace_is_too_late():
    assert outcomes_of(void("1", "2013-03-08T11:59:59.999Z"), void("1", "2013-03-08T12:00:00Z")) == [
        "too_late",
        "counted",
    ]


@pytest.mark.parametrize(
    ("voids", "reason"), [(7, "wrong_type"), ("", "invalid_id"), ("a\n", "invalid_id"), ("x" * 257, "id_too_long")]
)
def test_a_voided_id_has_the_limits_of_an_id(voids, reason):
    assert outcomes_of(event("1", voids=voids)) == [reason]


def test_voids_of_other_content_in_two_partitions_are_refused_as_undecidable():
    arrival_ms = millis("2013-03-10T12:00:00")
    records = [(p, 0, arrival_ms, void("1", quantity=str(p))) for p in (1, 2)]
    with pytest.raises(TidemarkError, match="different content"):
        Oracle(SUM, records)


def test_copies_that_measure_the_same_may_be_anywhere_and_look_different():
    arrival_ms = millis("2013-03-10T12:00:00")
    sent = [void("1"), event("another", voids="1", user_id="u"), event("2"), event("2", quantity='"1.0"')]
    with Oracle(SUM, [(p, 0, arrival_ms, value) for p, value in enumerate(sent)]) as oracle:
        assert oracle.counts().duplicates == 2


def test_the_source_is_part_of_the_identity_from_version_2_on():
    sent = [
        event("1"), event("1", source="/a"), event("1", schema_version=1, source=7),
        event("1", schema_version=2, source="/a"), event("1", schema_version=2, source="/b"),
        event("1", schema_version=2.0, source=None), event("1", schema_version=2, source="/a"),
    ]  # fmt: skip
    expected = ["counted", "duplicate", "duplicate", "counted", "counted", "duplicate", "duplicate"]
    assert outcomes_of(*sent) == expected


def test_versions_that_are_unknown_or_no_number_are_refused():
    sent = [event("1", schema_version=version) for version in (0, 3, "2", 1.5, True)]
    sent.append(event("1", schema_version=2, source=7))
    unsupported, wrong = "unsupported_schema_version", "wrong_type"
    assert outcomes_of(*sent) == [unsupported, unsupported, wrong, wrong, wrong, wrong]


def test_a_cloud_event_is_an_event():
    catalog = catalog_of(m={"aggregation": "sum", "group_by": ["colour", "quantity"]})
    with oracle_of(catalog, cloud(data={"quantity": 2.5, "colour": "red"})) as oracle:
        assert oracle.rows("usage_day")[0][:5] == ("t", "c", "m", '{"colour":"red","quantity":"2.5"}', "")
        assert parts(oracle) == [("", 1, 1, "2.5", "2.5", "2.5", None)]


def test_a_cloud_event_and_a_native_one_of_its_source_have_one_identity():
    sent = [cloud("1"), event("1", schema_version=2, source="/s"), cloud("1", source="/t"), event("1")]
    assert outcomes_of(*sent) == ["counted", "duplicate", "counted", "counted"]


def test_a_cloud_event_without_data_has_the_quantity_1_and_no_fields_of_its_own():
    catalog = catalog_of(m={"aggregation": "sum", "group_by": ["region"]})
    with oracle_of(catalog, cloud("1", data=None), cloud("2", region="eu")) as oracle:
        assert [(row[3], row[8]) for row in oracle.rows("usage_day")] == [('{"region":""}', 3)]


def test_a_cloud_event_without_time_happened_when_it_arrived():
    with oracle_of(SUM, cloud(time=None), arrival="2013-03-10T12:34:56") as oracle:
        assert oracle.rows("usage_minute")[0][5].isoformat() == "2013-03-10T12:34:00+00:00"


def test_a_cloud_event_without_tenant_is_of_the_default_tenant():
    assert outcomes_of(cloud(tenantid=None)) == ["missing_field"]
    with oracle_of(SUM, cloud(tenantid=None), cloud("2"), rules=Rules(default_tenant="other")) as oracle:
        assert [row[0] for row in oracle.rows("usage_day")] == ["other", "t"]


CLOUD_EVENTS = [
    (cloud("1", specversion="0.3"), "unsupported_schema_version"),
    (cloud("1", specversion=1.0), "unsupported_schema_version"),
    (cloud("1", datacontenttype="application/json"), "counted"),
    (cloud("2", datacontenttype="application/JSON; charset=utf-8"), "counted"),
    (cloud("3", datacontenttype="application/vnd.acme+json"), "counted"),
    (cloud("4", datacontenttype="text/plain"), "wrong_type"),
    (cloud("4", data=None, data_base64="AA=="), "wrong_type"),
    (cloud("4", data=[1]), "wrong_type"),
    (cloud("5").replace(b'"data": {"quantity": 2, "colour": "red"}', b'"data": null'), "counted"),
    (cloud(None), "missing_field"),
    (cloud("4", source=None), "missing_field"),
    (cloud("4", subject=None), "missing_field"),
    (cloud("4", type=None), "missing_field"),
    (cloud("4", source=""), "invalid_id"),
    (cloud("4", source="x" * 257), "id_too_long"),
    (cloud("4", subject=7), "wrong_type"),
    (cloud("4", time="noon"), "invalid_timestamp"),
    (cloud("4", time="2013-03-10T12:05:00.001Z"), "in_future"),
    (cloud("4", data={"quantity": True}), "wrong_type"),
    (cloud("4", data={"quantity": "x"}), "invalid_quantity"),
    (cloud("4")[:-1] + b', "subject": "d"}', "duplicate_key"),
    (cloud("6", resource_id=7, traceparent={"a": [1]}, schema_version="x"), "counted"),
    # With an event_id it is a native event, whatever else it has.
    (event("7", specversion="0.3"), "counted"),
]


@pytest.fixture(scope="module")
def cloud_outcomes():
    return outcomes_of(*(value for value, _ in CLOUD_EVENTS))


@pytest.mark.parametrize("place", range(len(CLOUD_EVENTS)))
def test_a_cloud_event_is_counted_or_refused_for_the_documented_reason(place, cloud_outcomes):
    assert cloud_outcomes[place] == CLOUD_EVENTS[place][1]


def test_a_redriven_event_is_counted_once_and_by_its_first_arrival():
    # Given an event nobody knew, two redriven copies of it with its arrival (partition 3 of the redrive topic) ...
    arrival_ms, value = millis("2013-03-10T12:00:00"), event("1", "2013-03-08T12:00:00Z", event_type="later")
    fixed = value.replace(b'"later"', b'"use"')
    records = [(3, 0, arrival_ms, value), (-4, 0, arrival_ms, fixed), (-4, 1, arrival_ms, fixed)]
    # ... when its grace, counted from there, is just kept ...
    with Oracle(SUM, records) as oracle:
        # ... then one of them counts.
        assert oracle.outcomes() == {(3, 0): "unknown_event_type", (-4, 0): "counted", (-4, 1): "duplicate"}


def test_a_second_may_be_60_at_the_end_of_a_day_in_utc_and_a_minute_never():
    minutes = ("09:60:00Z", "09:60:00.5+01:00", "23:60:59Z", "09:60:60Z", "23:60:60Z", "09:59:60Z", "23:59:61Z")
    assert outcomes_of(*(event("1", f"2013-03-09T{time}") for time in minutes)) == ["invalid_timestamp"] * len(minutes)
    seconds = ("09T23:59:60Z", "09T23:59:60.7z", "10T00:59:60+01:00", "09T18:59:60.000-0500")
    with oracle_of(SUM, *(event(time, f"2013-03-{time}") for time in seconds)) as oracle:
        moments = oracle.db.execute("SELECT DISTINCT event_ms, nanos FROM usage").fetchall()
        assert moments == [(millis("2013-03-09T23:59:59.999"), "999999")]
        assert oracle.counts().counted == len(seconds)


def test_properties_are_limited_in_number():
    sent = [event(f"{n}", properties={f"p{i}": i for i in range(n)}) for n in (256, 257)]
    sent.append(cloud("c", data={f"p{i}": i for i in range(257)}))
    assert outcomes_of(*sent) == ["counted", "too_many_properties", "too_many_properties"]


def test_a_key_must_be_there_once_at_every_depth():
    sent = [
        event("1", properties={"a": {"b": 1, "c": [{"b": 1}, {"b": 2}]}}),
        event("2")[:-1] + b', "properties": {"a": {"b": 1, "b": 2}}}',
        event("3")[:-1] + b', "unknown": [{"b" : 1, "c": 2, "b": 3}]}',
    ]
    assert outcomes_of(*sent) == ["counted", "duplicate_key", "duplicate_key"]
