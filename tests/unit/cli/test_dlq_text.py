"""What `tidemark dlq` prints of dead letters and of the plan of a redrive."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from tidemark.billing.dead_letter_list import Listed
from tidemark.cli.main import app
from tidemark.core.settings import Settings
from tidemark.dead_letters.fixes import Edit
from tidemark.dead_letters.log import RedriveLog
from tidemark.dead_letters.plan import Item, Outcome, Plan
from tidemark.dead_letters.records import survey


def dead_letter(offset: int, **changed: Any) -> dict[str, Any]:
    return {
        "at": f"0:{offset}", "topic": "usage.events", "partition": 1, "offset": offset, "raw": "e30=",
        "arrival": "2026-03-01T00:00:00Z", "reason": "too_late", "tenant_id": "acme", "customer_id": "[eu]c-7",
        "event_id": "e-1",
        "detail": "arrived 2344250199 ms after its event time; the limit (grace) is 172800000 ms.",
    } | changed  # fmt: skip


@pytest.fixture(autouse=True)
def _settings(monkeypatch):
    monkeypatch.setattr("tidemark.cli.dlq.load", lambda **_: Settings())
    monkeypatch.setattr("tidemark.cli.dlq.audit.record_before", lambda *_, **__: 1)


def test_the_list_says_whose_events_they_were_and_how_late(monkeypatch):
    unreadable = dead_letter(2, tenant_id=None, customer_id=None, reason="invalid_json", detail="no JSON")
    dead_letters = [dead_letter(1), unreadable]
    found = Listed(survey(dead_letters, 20), [])
    monkeypatch.setattr("tidemark.cli.dlq.listed", lambda *_, **__: found)
    lines = CliRunner().invoke(app, ["dlq", "list"]).stdout.splitlines()
    head, late, unread = (next(line for line in lines if name in line) for name in ("arrival", "0:1", "0:2"))
    columns = [cell.strip() for cell in head.strip("┃").split("┃")]
    cells = dict(zip(columns, (cell.strip() for cell in late.strip("│").split("│")), strict=True))
    assert (cells["tenant"], cells["customer"]) == ("acme", "[eu]c-7")
    assert cells["detail"] == "arrived 27 days 3 h after its event time; the limit (grace) is 2 days."
    assert "None" not in unread


def test_a_redrive_says_sent_as_it_was_of_what_is_sent_alone(monkeypatch):
    mended = [Edit("quantity", '"x"', "1")]
    plan = Plan(
        [
            Item(dead_letter(1), value=b"{}", deadline_ms=1),
            Item(dead_letter(2), Outcome.REFUSED, "window", "its window has ended.", b"{}"),
            Item(dead_letter(3), Outcome.REFUSED, "reject", "it would be rejected again.", b"{}", edits=mended),
        ],
        RedriveLog("usage.events.redrive"),
    )
    monkeypatch.setattr("tidemark.cli.dlq.tool.load_plan", lambda *_, **__: plan)
    text = CliRunner().invoke(app, ["dlq", "redrive", "--dry-run"]).stdout
    assert [line for line in text.splitlines() if line.endswith("sent as it was")] == ["0:1  sent as it was"]
    assert '0:3  quantity: "x" -> 1' in text
    assert "0:2  window: its window has ended." in text
