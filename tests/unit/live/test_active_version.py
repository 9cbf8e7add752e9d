"""Whose counters people read, of the promoted replays: the topmost that runs on, tenant by tenant."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.names import Names
from tidemark.core.rollup_views import Overlay
from tidemark.live.active_version import active_prefix, prefix_of, prefixes
from tidemark_client.switch import version_of

JANUARY, MARCH = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)
LIVE = Names()


def overlay(run_id: str, *tenants: str, end: datetime | None = None) -> Overlay:
    return Overlay(Names(run_id).usage_schema, tenants, JANUARY, end)


@pytest.mark.parametrize(
    ("stack", "by_tenant"),
    [
        ([], {}),
        ([overlay("r")], {"*": "usage_r:"}),
        ([overlay("r", "acme")], {"acme": "usage_r:"}),
        ([overlay("r", "a/b", "*")], {"a%2Fb": "usage_r:", "%2A": "usage_r:"}),
        # |---- r: all -----------------> under |---- s: acme ------->, and the other way round.
        ([overlay("r"), overlay("s", "acme")], {"*": "usage_r:", "acme": "usage_s:"}),
        ([overlay("s", "acme"), overlay("r")], {"*": "usage_r:"}),
        # What has an end holds no open period.
        ([overlay("r"), overlay("s", end=MARCH)], {"*": "usage_r:"}),
        ([overlay("s", "acme", end=MARCH)], {}),
    ],
)
def test_the_topmost_replay_that_runs_on_is_read(stack: list[Overlay], by_tenant: dict[str, str]) -> None:
    assert prefixes(stack) == by_tenant


overlays = st.builds(
    lambda run, tenants, end: overlay(run, *tenants, end=end),
    st.sampled_from("rst"),
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=2, unique=True),
    st.sampled_from([None, MARCH]),
)


@given(st.lists(overlays, max_size=4), st.sampled_from(["a", "b", "c", "*"]))
def test_readers_and_tools_take_the_same_version_and_it_is_that_of_the_views(stack: list[Overlay], tenant: str) -> None:
    holding = [one for one in stack if one.end is None and (not one.tenants or tenant in one.tenants)]
    expected = prefix_of(holding[-1]) if holding else "usage:"
    assert active_prefix(stack, LIVE, tenant) == expected
    assert version_of(json.dumps(prefixes(stack)), tenant, LIVE.redis_prefix) == expected


def test_a_version_is_where_its_run_writes() -> None:
    names = Names("r")
    assert prefix_of(overlay("r")) == names.redis_prefix
