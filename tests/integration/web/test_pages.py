"""The pages of a real process: their numbers are those of SQL, and nobody sees what is another's."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest
import requests

from jobs.flink.rest import wait_until
from tests.integration.web.conftest import Site, dead_letter
from tidemark.api.keys import id_of
from tidemark.core.kafka import dump
from tidemark.dead_letters.log import HEADER

WITHIN_S = 30.0


class Page(HTMLParser):
    """Values of a page: exact amounts of cells, figures of cards by meter, and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.values: list[str] = []
        self.used: dict[str, str] = {}
        self.text = ""
        self._meter = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "td" and "data-value" in given:
            self.values.append(given["data-value"] or "")
        self._meter = given.get("data-meter") or self._meter
        if "data-used" in given:
            self.used[self._meter] = given["title"] or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_of_a_customer_has_the_numbers_of_sql(site: Site) -> None:
    session = site.signed_in(site.key("read"))
    answer = session.get(f"{site.url}/usage", params={"customer": "alice", "meter": "calls"}, timeout=30)
    assert answer.status_code == 200, answer.text
    page = Page(answer.text)
    stored = site.sql("SELECT meter, value::text FROM usage_current WHERE tenant_id = %s AND customer_id = 'alice' "
                      "AND period_start = %s", site.tenant, site.start)  # fmt: skip
    assert page.used == dict(stored)
    by_day = (
        "SELECT trim_scale(sum(total))::text FROM usage_hour WHERE tenant_id = %s AND customer_id = 'alice' "
        "GROUP BY date_trunc('day', hour_start, 'UTC')"
    )
    days = site.sql(by_day, site.tenant)
    assert {value for (value,) in days} <= set(page.values)
    assert {"700", "500", "1036"} <= set(page.values)
    assert "Estimate, final at" in page.text
    assert "final, corrected by 6" in " ".join(page.text.split())
    assert "80 % of calls" in page.text
    lines = session.get(f"{site.url}/usage/periods.csv", params={"customer": "alice"}, timeout=30)
    rows = list(csv.DictReader(io.StringIO(lines.text)))
    assert {row["value"] for row in rows if row["meter"] == "calls"} == {"1200", "1036"}
    audit = site.sql("SELECT route FROM api.read_audit WHERE tenant_id = %s AND asked LIKE '/usage?%%'", site.tenant)
    assert audit


def test_figures_move_on_the_stream_of_the_page(site: Site) -> None:
    session = site.signed_in(site.key("read"))
    url = f"{site.url}/usage/stream?customer=bob"
    with session.get(url, stream=True, timeout=30) as answer:
        lines = answer.iter_lines(decode_unicode=True)
        assert next(line for line in lines if "calls" in line and "data:" in line)


def test_operators_see_tenants_and_what_was_not_counted(site: Site) -> None:
    session = site.signed_in(site.key("admin"))
    overview = Page(session.get(f"{site.url}/operations", timeout=30).text)
    top = site.sql(
        "SELECT trim_scale(value)::text FROM usage_total WHERE tenant_id = %s AND meter = 'calls'", site.tenant
    )
    assert {value for (value,) in top} <= set(overview.values)
    assert "too_late" in overview.text
    dead = session.get(f"{site.url}/operations/dead-letters", timeout=30).text
    assert 'name="at" value="0:7"' in dead
    periods = Page(session.get(f"{site.url}/operations/periods", timeout=30).text)
    assert "bob" in periods.text
    assert "late_events" in periods.text
    pipeline = session.get(f"{site.url}/operations/pipeline", timeout=30)
    assert pipeline.status_code == 200, pipeline.text
    assert "live" in Page(pipeline.text).text
    elsewhere = session.get(f"{site.url}/customers", params={"tenant": site.other}, timeout=30)
    assert "No customer with usage" in elsewhere.text


def test_nobody_sees_what_is_another_s(site: Site) -> None:
    own = site.signed_in(site.key("admin", tenant=site.other))
    assert "Nothing was used yet" in own.get(f"{site.url}/usage", params={"customer": "alice"}, timeout=30).text
    for path in ("/customers", "/operations", "/usage"):
        answer = own.get(f"{site.url}{path}", params={"tenant": site.tenant, "customer": "alice"}, timeout=30)
        assert answer.status_code == 403
    assert own.get(f"{site.url}/operations/pipeline", timeout=30).status_code == 403
    reader = site.signed_in(site.key("read"))
    assert reader.get(f"{site.url}/operations", timeout=30).status_code == 403
    nobody = requests.get(f"{site.url}/usage?customer=alice", allow_redirects=False, timeout=30)
    assert (nobody.status_code, nobody.headers["location"]) == (303, "/sign-in?next=%2Fusage%3Fcustomer%3Dalice")
    assert requests.post(f"{site.url}/sign-in", {"key": site.key("ingest")}, timeout=30).status_code == 403


def test_a_token_shows_one_customer_in_the_frames_that_are_allowed(site: Site) -> None:
    made = site.token(site.key("read"), "bob")
    page = requests.get(f"{site.url}{made['path']}", timeout=30)
    assert "Usage of bob" in page.text
    assert "frame-ancestors http://127.0.0.1:*" in page.headers["content-security-policy"]
    more = requests.get(f"{site.url}/embed?token={made['token']}&customer=alice", timeout=30)
    assert "Usage of bob" in more.text
    for wrong in (made["token"][:-2], f"{made['token']}x", "", made["token"].replace("embed.", "session.")):
        assert requests.get(f"{site.url}/embed", params={"token": wrong}, timeout=30).status_code == 401
    as_session = {"tidemark_session": made["token"]}
    stolen = requests.get(f"{site.url}/customers", cookies=as_session, allow_redirects=False, timeout=30)
    assert stolen.status_code == 303
    assert not site.sql("SELECT 1 FROM api.read_audit WHERE asked LIKE %s", f"%{made['token']}%")


def test_a_session_ends_with_its_key(site: Site) -> None:
    key = site.key("read")
    session = site.signed_in(key)
    site.sql("UPDATE api.api_key SET revoked_at = clock_timestamp() WHERE key_id = %s RETURNING 1", id_of(key))

    def signed_out() -> bool:
        answer = session.get(f"{site.url}/customers", allow_redirects=False, timeout=30)
        return bool(answer.status_code == 303)

    wait_until(signed_out, WITHIN_S, "the session to end")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/static/../app.py", 404),
        ("/usage?customer=", 422),
        ("/operations/dead-letters?cursor=x", 422),
    ],
)
def test_what_is_not_there_is_said_on_a_page(site: Site, path: str, status: int) -> None:
    answer = site.signed_in(site.key("admin")).get(f"{site.url}{path}", timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_names_of_others_are_shown_as_text(site: Site) -> None:
    session = site.signed_in(site.key("read"))
    shown: Any = session.get(f"{site.url}/customers", timeout=30).text
    assert "&lt;b&gt;eve&lt;/b&gt;" in shown
    assert "<b>eve" not in shown
    assert "Acme &amp; Sons" in shown
    assert datetime.now(UTC) < site.end


def test_dead_letters_are_sent_again_by_who_has_seen_what_becomes_of_them(site: Site) -> None:
    one, other = dead_letter(site, "redrive-1"), dead_letter(site, "redrive-2")
    key = site.key("admin")
    session, url = site.signed_in(key), f"{site.url}/operations/dead-letters/redrive"
    # Given a plan, which sends nothing ...
    plan = session.get(url, params={"at": one}, timeout=30)
    assert "is sent again" in plan.text, plan.text
    found = re.search(r'name="confirm" value="([^"]+)"', plan.text)
    assert found
    # ... when somebody agrees who has not seen it, or to another one, or on another site, then nothing is sent either.
    by_other = site.signed_in(site.key("admin"))
    for who, confirm, at, site_of in (
        (session, "", one, "same-origin"), (session, f"{found[1]}x", one, "same-origin"),
        (session, found[1], other, "same-origin"), (by_other, found[1], one, "same-origin"),
        (session, found[1], one, "cross-site"),
    ):  # fmt: skip
        headers = {"Sec-Fetch-Site": site_of}
        refused = who.post(url, {"confirm": confirm}, params={"at": at}, headers=headers, timeout=30)
        assert refused.status_code == 403
    for who, at, status in ((site.signed_in(site.key("admin", tenant=site.other)), one, 422), (session, "x", 422),
                            (site.signed_in(site.key("read")), one, 403)):  # fmt: skip
        assert who.get(url, params={"at": at}, timeout=30).status_code == status
    assert list(dump(site.run.kafka, site.run.topics.redrive)) == []
    # When who has seen it agrees, then it is sent once, and both the record and the audit say who did it.
    done = session.post(url, {"confirm": found[1]}, params={"at": one}, timeout=30)
    assert "1 sent again" in done.text, done.text
    again = session.post(url, {"confirm": found[1]}, params={"at": one}, timeout=30)
    assert "0 sent again" in again.text
    (record,) = dump(site.run.kafka, site.run.topics.redrive)
    assert json.loads(record.value or b"")["event_id"] == "redrive-1"
    assert json.loads(dict(record.headers)[HEADER])["redriven_by"] == f"key {id_of(key)}"
    asked = "SELECT count(*) FROM api.read_audit WHERE key_id = %s AND asked LIKE '/operations/dead-letters/redrive%%'"
    assert site.sql(asked, id_of(key)) == [(3,)]
    assert "was sent again already" in session.get(url, params={"at": one}, timeout=30).text


def test_a_page_says_what_due_periods_wait_for(site: Site) -> None:
    session = site.signed_in(site.key("admin"))
    page = Page(session.get(f"{site.url}/operations/periods", params={"why": 1}, timeout=60).text)
    # The jobs of this run were never submitted.
    assert "What due periods wait for" in page.text
    assert "jobs" in page.text
    # Looking began the index of due periods anew, and no close could go on with it: that is not "none".
    ((unknown,),) = site.sql(
        "SELECT count(*) FROM period_due WHERE tenant_id = %s AND next_end = '-infinity'", site.tenant
    )
    again = Page(session.get(f"{site.url}/operations/periods", timeout=30).text)
    assert unknown > 0
    assert f"Of {unknown} customers it is not known yet" in again.text
    assert "is closed" not in again.text


def test_a_tenant_without_a_part_of_the_page_does_not_have_it(site: Site) -> None:
    session = site.signed_in(site.key("read", tenant=site.other))
    shown = session.get(f"{site.url}/usage", params={"customer": "dave"}, timeout=30).text
    assert "Usage of dave" in shown
    assert not [part for part in ('id="alerts"', "periods-title", "At the end of the period") if part in shown]
    csv_page = session.get(f"{site.url}/usage/periods.csv", params={"customer": "dave"}, timeout=30)
    assert csv_page.status_code == 404
