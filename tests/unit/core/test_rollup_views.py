"""The views that people read: which version has a row, where several reach."""

from __future__ import annotations

from datetime import UTC, datetime

from tidemark.core.rollup_views import RELATIONS, Overlay, view_of

JANUARY, MARCH = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 3, 1, tzinfo=UTC)


def text(relation: str, *stack: Overlay) -> str:
    return view_of("billing", relation, "usage", stack).as_string()


def test_without_promotions_the_live_rollups_are_read_as_they_are() -> None:
    for relation in RELATIONS:
        assert text(relation).endswith(f'FROM "usage"."{relation}"')


def test_a_promoted_replay_takes_its_range_and_its_tenants_from_the_version_below() -> None:
    view = text("usage_period", Overlay("usage_r", ("acme",), JANUARY, MARCH))
    scope = (
        "period_start >= '2024-01-01T00:00:00+00:00'::timestamptz AND period_end <= "
        "'2024-03-01T00:00:00+00:00'::timestamptz AND tenant_id IN ('acme')"
    )
    below, above = view.split(" UNION ALL ")
    assert below.endswith(f'FROM "usage"."usage_period" WHERE NOT ({scope})')
    assert above.endswith(f'FROM "usage_r"."usage_period" WHERE {scope}')


def test_of_two_promotions_the_later_one_stands_where_both_reach() -> None:
    first, second = Overlay("usage_a", (), JANUARY, None), Overlay("usage_b", ("acme",), MARCH, None)
    below, middle, top = text("usage_minute", first, second).split(" UNION ALL ")
    assert below.count("NOT (") == 2
    assert middle.count("NOT (") == 1
    assert "'usage_b'" not in top
    assert "NOT (" not in top
    assert "'infinity'::timestamptz" in top
