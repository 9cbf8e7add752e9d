"""What each kind of receiver is sent: golden files for four notifications, and the limits of the receivers for any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.delivery import alertmanager, pagerduty, signed_webhook, slack
from tidemark.delivery.document import Notification, NotificationError, cut, encoded, of_body
from tidemark.delivery.message import Kind, Receiver, ReceiverError, message_of, receiver_of
from udfs.alerts.event import SEVERITIES, Alert, to_json

DATA = Path(__file__).parent / "data"
CASES = ("firing", "resolved", "group", "digest")
KEY = "R0UT1NGKEY0000000000000000000000"


def stored(case: str) -> Notification:
    return of_body(f"n-{case}", json.loads((DATA / "bodies" / f"{case}.json").read_text()))


def golden(kind: str, case: str) -> Any:
    return json.loads((DATA / kind / f"{case}.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_pagerduty_events_are_those_of_the_golden_files(case: str) -> None:
    assert pagerduty.event(stored(case), KEY) == golden("pagerduty", case)


@pytest.mark.parametrize("case", CASES)
def test_alertmanager_alerts_are_those_of_the_golden_files(case: str) -> None:
    assert alertmanager.alerts(stored(case)) == golden("alertmanager", case)


@pytest.mark.parametrize("case", CASES)
def test_slack_messages_are_those_of_the_golden_files(case: str) -> None:
    assert slack.message(stored(case)) == golden("slack", case)


@pytest.mark.parametrize("case", CASES)
def test_webhook_bodies_are_those_of_the_golden_files(case: str) -> None:
    assert signed_webhook.document(stored(case)) == golden("webhook", case)


def test_the_end_of_an_incident_has_the_key_and_the_labels_of_its_beginning() -> None:
    begun, ended = stored("firing"), stored("resolved")
    assert pagerduty.event(begun, KEY)["dedup_key"] == pagerduty.event(ended, KEY)["dedup_key"]
    assert alertmanager.alerts(begun)[0]["labels"] == alertmanager.alerts(ended)[0]["labels"]


# Short texts are drawn, and stretched afterwards: what is drawn stays small.
TEXTS = st.text(min_size=1, max_size=12) | st.sampled_from(["<&>", "😀ü", "a b\n", "\x00", "<!channel>"])
INSTANTS = st.integers(0, 4_000_000_000_000)
ALERTS = st.builds(
    Alert,
    type=st.sampled_from(["limit.exceeded", "limit.resolved", "anomaly.customer_spike"]) | TEXTS,
    status=st.sampled_from(["firing", "resolved"]),
    severity=st.sampled_from(SEVERITIES),
    summary=TEXTS, suggested_action=TEXTS, runbook=TEXTS, source=TEXTS, fingerprint=TEXTS, id=TEXTS,
    at_ms=INSTANTS,
    tenant_id=st.none() | TEXTS, customer_id=st.none() | TEXTS, meter=st.none() | TEXTS, value=st.none() | TEXTS,
    threshold=st.none() | TEXTS, rule=st.none() | TEXTS, rule_version=st.none() | TEXTS,
    period_ms=st.none() | st.tuples(INSTANTS, INSTANTS),
    evidence=st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | TEXTS, max_size=2),
)  # fmt: skip


PARTS = st.fixed_dictionaries({
    "id": TEXTS, "status": st.sampled_from(["firing", "resolved"]), "severity": st.sampled_from(SEVERITIES),
    "group_key": TEXTS, "summary": TEXTS, "digest": st.booleans(), "alerts": st.lists(ALERTS, min_size=1, max_size=2),
    "size": st.sampled_from([(1, 1), (1, 1), (300, 1), (9_000, 1), (1, 250), (300, 50)]),
})  # fmt: skip
STRETCHED = ("summary", "suggested_action", "runbook", "rule", "meter", "tenant_id", "fingerprint")


def made(parts: Mapping[str, Any]) -> Notification:
    """A notification of what was drawn, with longer texts than any receiver takes, or the alerts of a digest."""
    times, copies = parts["size"]
    alerts = [
        replace(one, **{name: (getattr(one, name) or "") * times for name in STRETCHED}) for one in parts["alerts"]
    ]
    body = {**parts, "alerts": [json.loads(to_json(alert)) for alert in alerts] * copies}
    return of_body(parts["id"], {**body, "summary": parts["summary"] * times, "group_key": parts["group_key"] * times})


@given(PARTS)
def test_no_notification_is_too_large_for_pagerduty(parts: dict[str, Any]) -> None:
    event = pagerduty.event(made(parts), KEY)
    assert len(encoded(event)) <= pagerduty.EVENT_BYTES
    assert 0 < len(event["dedup_key"]) <= 255
    if parts["status"] == "firing":
        payload = event["payload"]
        assert len(payload["summary"]) <= 1_024
        assert payload["severity"] in {"critical", "error", "warning", "info"}
        datetime.fromisoformat(payload["timestamp"])


@given(PARTS)
def test_no_notification_is_too_large_for_slack(parts: dict[str, Any]) -> None:
    message = slack.message(made(parts))
    texts = [block["text"]["text"] for block in message["blocks"]]
    assert 1 <= len(texts) <= 50
    assert all(1 <= len(text) <= 3_000 for text in texts)
    assert sum(map(len, texts)) <= slack.TOTAL_LENGTH
    assert not any(character in text for text in texts for character in "<>")
    assert {block["text"]["type"] for block in message["blocks"]} == {"plain_text"}
    assert message["mrkdwn"] is False


@given(PARTS)
def test_alertmanager_never_sees_an_end_before_its_start_nor_an_empty_label(parts: dict[str, Any]) -> None:
    for alert in alertmanager.alerts(made(parts)):
        assert alert["labels"]["alertname"]
        assert all(alert["labels"].values())
        assert all(len(text) <= alertmanager.TEXT_LENGTH for text in alert["annotations"].values())
        end = datetime.fromisoformat(alert["endsAt"])
        assert datetime.fromisoformat(alert.get("startsAt", alert["endsAt"])) <= end


@given(PARTS, st.sampled_from(["pagerduty", "alertmanager", "slack", "webhook"]))
def test_every_kind_can_say_every_notification(parts: dict[str, Any], kind: Kind) -> None:
    message = message_of(Receiver("r", kind, "http://127.0.0.1:1/x"), made(parts), ("s3cret",), 1_763_460_990)
    json.loads(message.body.decode("utf-8"))


@given(st.binary(), st.integers(0, 10**10))
def test_what_is_signed_is_verified_and_nothing_else(body: bytes, at_s: int) -> None:
    header = signed_webhook.signature(["s3cret"], body, at_s)
    signed_webhook.verify("s3cret", header, body, now_s=at_s + 300)
    signed_webhook.verify("s3cret", f"{header},v1=00", body, now_s=at_s - 300)
    for secret, sent, now_s in (("other", body, at_s), ("s3cret", body + b" ", at_s), ("s3cret", body, at_s + 301)):
        with pytest.raises(signed_webhook.SignatureError):
            signed_webhook.verify(secret, header, sent, now_s=now_s)


@pytest.mark.parametrize(
    "header", ["", "v1=00", "t=1", "t=,v1=00", "t=ab,v1=00", "t=1,t=2,v1=00", "t=1;v1=00", f"t={'9' * 5_000},v1=00"]
)
def test_a_malformed_signature_is_refused(header: str) -> None:
    with pytest.raises(signed_webhook.SignatureError):
        signed_webhook.verify("s3cret", header, b"{}", now_s=1)


def test_the_signature_is_that_of_the_documented_rule() -> None:
    # printf '1763460990.{"a":1}' | openssl dgst -sha256 -hmac s3cret
    assert signed_webhook.signature(["s3cret"], b'{"a":1}', 1_763_460_990) == (
        "t=1763460990,v1=3cc8e035c4303b32498a5f0e6e0f079af0e4d00b748f48857ad100dc6e903142"
    )


def test_half_of_a_surrogate_pair_is_sent_as_a_question_mark() -> None:
    assert encoded({"a": "\ud800"}) == b'{"a":"?"}'


def test_escaping_never_cuts_an_entity_in_two() -> None:
    assert slack.escaped("a<b", 5) == "a…"
    assert slack.escaped("a<b", 7) == "a&lt;b"
    assert slack.escaped("<!channel>\n@here", 100) == "&lt;!channel&gt; @here"
    assert cut("abcd", 3) == "ab…"


def test_a_digest_says_how_many_it_has_no_room_for() -> None:
    body = json.loads((DATA / "bodies" / "digest.json").read_text())
    many = of_body("n", {**body, "alerts": body["alerts"] * 250})
    last = slack.message(many)["blocks"][-1]["text"]["text"].splitlines()[-1]
    shown = sum(block["text"]["text"].count("•") for block in slack.message(many)["blocks"])
    assert last == f"… and {500 - shown} more"
    details = pagerduty.event(many, KEY)["payload"]["custom_details"]
    assert len(details["alerts"]) + details.get("alerts_left_out", 0) == details["alert_count"] == 500


@pytest.mark.parametrize(
    "change", [{"alerts": []}, {"status": "on"}, {"severity": "bad"}, {"alerts": [{}]}, {"digest": None}]
)
def test_a_body_that_is_no_notification_is_refused(change: Mapping[str, Any]) -> None:
    body = json.loads((DATA / "bodies" / "firing.json").read_text())
    if change == {"digest": None}:
        del body["digest"]
        change = {}
    with pytest.raises(NotificationError, match="not a valid notification"):
        of_body("n", {**body, **change})


def test_a_receiver_says_what_is_missing_of_it() -> None:
    with pytest.raises(ReceiverError, match="needs one of pagerduty"):
        receiver_of("x", {"kind": "smoke", "url": "http://127.0.0.1"})


def test_a_message_shows_no_secret_and_goes_where_its_kind_listens() -> None:
    reported = stored("firing")
    made = message_of(
        Receiver("chat", "slack", "https://hooks.example"), reported, ("https://u:p@hooks.example/T0/SECRET?k=1",), 1
    )
    assert made.url == "https://u:p@hooks.example/T0/SECRET?k=1"
    assert made.host == "https://hooks.example"
    assert "SECRET" not in repr(made)
    assert "SECRET" not in str(made)
    for url in ("http://am:9093", "http://am:9093/", "http://am:9093/api/v2/alerts"):
        ops = message_of(Receiver("ops", "alertmanager", url), reported, ("tok",), 1)
        assert (ops.url, ops.headers["Authorization"]) == ("http://am:9093/api/v2/alerts", "Bearer tok")
    hook = message_of(Receiver("hook", "webhook", "http://h/x"), reported, ("n3w", "s3cret"), 7)
    assert hook.headers["Idempotency-Key"] == "n-firing"
    for key in ("n3w", "s3cret"):
        signed_webhook.verify(key, hook.headers["Tidemark-Signature"], hook.body, now_s=7)
