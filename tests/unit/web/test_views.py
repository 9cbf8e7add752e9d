"""What pages show of numbers, days and limits."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from tidemark.core.errors import UsageError
from tidemark.core.settings.web import Brand, WebSettings
from tidemark.web.charts import HEIGHT, WIDTH, bars, every_day
from tidemark.web.context import secret_of
from tidemark.web.meter_cards import Card, cards
from tidemark.web.operator_reads import rates
from tidemark.web.shown import about, day, last_day, moment, number, percent, share
from tidemark.web.sign_in import HOME, own_path
from tidemark.web.viewer import UTC as ZONE_UTC
from tidemark.web.viewer import known_zone

NOW = datetime(2026, 3, 10, tzinfo=UTC)
START, END = "2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z"


def meter(value: str = "900", **limit: Any) -> dict[str, Any]:
    side = {"period_start": START, "period_end": END, "samples": 1, "value": value, "projected": None}
    known = {"limit": "1000", "period_start": START, "projected_exhaustion_at": None, **limit}
    return {"meter": "calls", "unit": "calls", "aggregation": "sum", "live": side, "stored": None, "limit": known,
            "projected": "3100"}  # fmt: skip


def card(value: str = "900", **limit: Any) -> Card:
    (made,) = cards({"meters": [meter(value, **limit)]}, [], NOW)
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [("0", "0"), ("1234567.5", "1,234,567.5"), ("0.00005", "0"), ("-1200", "-1,200"), (None, "\N{EN DASH}")],
)
def test_numbers_are_grouped_and_short(text: str | None, shown: str) -> None:
    assert number(text) == shown


def test_estimates_are_shorter_and_shares_have_no_zeros() -> None:
    assert [about(text) for text in ("3127.568", "99.96", "0.04")] == ["3,128", "100", "0"]
    assert [share(value) for value in (Decimal("60.0"), Decimal("156.4"), None)] == ["60", "156.4", "0"]


def test_instants_are_those_of_the_zone() -> None:
    assert moment("2026-03-01T23:30:00Z", "Asia/Kolkata") == "2026-03-02 05:00 IST"
    assert day("2026-03-01T23:30:00Z", "Asia/Kolkata") == "2026-03-02"
    assert day("2026-03-01", "Asia/Kolkata") == "2026-03-01"
    # A period that ends at midnight there does not have the day that begins then.
    assert last_day("2026-03-31T18:30:00Z", "Asia/Kolkata") == date(2026, 3, 31)
    assert known_zone("Mars/Base") == known_zone("") == known_zone("../etc") == ZONE_UTC


def test_every_day_has_a_bar_also_one_without_usage() -> None:
    points = every_day(date(2026, 2, 27), date(2026, 3, 2), {"2026-02-28": "4", "2026-03-02": "1"})
    assert points == [("2026-02-27", "0"), ("2026-02-28", "4"), ("2026-03-01", "0"), ("2026-03-02", "1")]
    made = bars(points)
    assert [bar.height for bar in made] == [0, HEIGHT, 0, HEIGHT / 4]
    assert all(bar.y + bar.height == HEIGHT and bar.x + bar.width <= WIDTH for bar in made)
    assert bars([]) == []
    assert [bar.height for bar in bars([("a", "-3"), ("b", "0")])] == [0, 0]
    # What is next to nothing is still seen.
    assert bars([("a", "1000000"), ("b", "1")])[1].height > 1


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (card("1000"), "over"), (card("900"), "will_be_over"), (card("1", limit="4000"), "fine"),
        (card("3200", limit="4000"), "near"), (card(limit=None), "fine"), (card("0", limit="0"), "over"),
    ],
)  # fmt: skip
def test_a_card_says_how_it_stands_with_the_limit(made: Card, state: str) -> None:
    assert made.state == state


def test_a_limit_of_another_period_is_not_that_of_the_card() -> None:
    assert card(period_start="2026-02-01T00:00:00Z").limit is None
    assert card(period_start=None).limit == "1000"


def test_a_card_says_when_it_is_final() -> None:
    row = {"meter": "calls", "period_start": START, "final_at": "2026-04-03T00:00:00Z", "final": False}
    (made,) = cards({"meters": [meter()]}, [row], NOW)
    assert (made.final_at, made.is_final, made.runs) == ("2026-04-03T00:00:00Z", False, True)
    internal = meter() | {"meter": "tidemark.unmeasured"}
    empty = meter() | {"live": None}
    assert cards({"meters": [internal, empty]}, [], NOW) == []


def test_rates_are_for_a_thousand_measurements() -> None:
    refused = [
        {"source_topic": "a", "reason": "too_late", "events": 1},
        {"source_topic": "a", "reason": "x", "events": 5},
    ]
    assert [row["rate"] for row in rates(refused, 500)] == [Decimal(2), Decimal(10)]
    assert [row["rate"] for row in rates(refused, 0)] == [None, None]
    assert percent("1", "0") is None


@pytest.mark.parametrize("text", [None, "", "//evil.example", "https://evil.example", "/\\evil.example", "/a\nb"])
def test_after_signing_in_nobody_is_sent_to_another_site(text: str | None) -> None:
    assert own_path(text) == HOME
    assert own_path("/usage?customer=a%20b") == "/usage?customer=a%20b"


@pytest.mark.parametrize(
    "wrong",
    [{"frame_ancestors": ["https://a.example; script-src *"]}, {"frame_ancestors": ["*"]},
     {"brands": [{"tenant": "a", "accent": "red;}"}]}, {"brands": [{"tenant": "a", "logo_url": "javascript:alert(1)"}]},
     {"brands": [{"tenant": "a"}, {"tenant": "a"}]}],
)  # fmt: skip
def test_settings_cannot_end_a_directive_or_a_rule(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"WebSettings"):
        WebSettings.model_validate(wrong)


def test_a_tenant_has_its_brand_and_others_none() -> None:
    web = WebSettings(brands=(Brand(tenant="acme", name="Acme"),))
    assert (web.brand_of("acme").name, web.brand_of("").name) == ("Acme", "")


def test_a_secret_is_long_or_made(tmp_path: Any) -> None:
    assert secret_of(WebSettings()) != secret_of(WebSettings())
    file = tmp_path / "secret"
    file.write_text("short")
    for wrong, message in ((file, "it needs 32"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(UsageError, match=message):
            secret_of(WebSettings(secret_file=wrong))
