"""The pages in a real browser, Debian's chromium: narrow and wide, in the dark, by keyboard and screen reader."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import axe_core_python
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.integration.web.conftest import Site, alert, dead_letter
from tests.integration.web.conftest import site as site  # noqa: PLC0414  a fixture
from tidemark.core import postgres
from tidemark.core.kafka import dump

pytestmark = pytest.mark.drill
AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
TOTAL = (
    "SELECT trim_scale(value)::text FROM usage_total WHERE tenant_id = %s AND customer_id = 'alice' AND meter = 'calls'"
)
# Counts the limits that a page was sent and has shown.
SEEN = """
let seen = 0;
const add = EventSource.prototype.addEventListener;
EventSource.prototype.addEventListener = function (name, then) {
  add.call(this, name, (event) => {
    then(event);
    if (name === "limit") document.body.dataset.seen = ++seen;
  });
};
"""
WITHIN_MS = 30_000
SIZES = {"narrow": {"width": 360, "height": 740}, "wide": {"width": 1280, "height": 900}}
PAGES = {
    "usage": "/usage?customer=alice", "customers": "/customers", "operations": "/operations",
    "dead_letters": "/operations/dead-letters", "periods": "/operations/periods", "pipeline": "/operations/pipeline",
    "why": "/operations/periods?why=1", "zone": "/zone",
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = shutil.which("chromium")
    assert found, "install it: apt-get install --no-install-recommends chromium"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])


@contextmanager
def opened(browser: Browser, site: Site, key: str, size: str = "wide", scheme: Any = "light") -> Iterator[Page]:
    """A page of who has signed in with a key."""
    context: BrowserContext = browser.new_context(
        viewport=SIZES[size],
        color_scheme=scheme,
        timezone_id="America/New_York",
        bypass_csp=False,  # type: ignore[arg-type]
    )
    page = context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.goto(f"{site.url}/sign-in")
    # By the keyboard alone.
    page.get_by_label("API key").focus()
    page.keyboard.type(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Customers")
    yield page
    assert problems == []
    context.close()


def violations(page: Page) -> list[str]:
    """What axe finds, by rule and place."""
    # Evaluated by the debugger, which the policy of the page does not bind.
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run()")["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:120]}" for one in found]


def picture(page: Page, name: str) -> None:
    """A picture, where somebody wants them: PICTURES names a folder."""
    if folder := os.environ.get("PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", list(SIZES))
def test_every_page_fits_and_can_be_read_by_everybody(browser: Browser, site: Site, size: str, scheme: str) -> None:
    with opened(browser, site, site.key("admin"), size, scheme) as page:
        for name, path in PAGES.items():
            page.goto(f"{site.url}{path}")
            expect(page.get_by_role("heading", level=1)).to_be_visible()
            wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            picture(page, f"{name}-{size}-{scheme}")
            assert (name, wide) == (name, 0)
            assert (name, violations(page)) == (name, [])


@pytest.mark.parametrize(("size", "scheme"), [("wide", "light"), ("narrow", "dark")])
def test_who_only_reads_is_not_shown_what_is_for_operators(
    browser: Browser, site: Site, size: str, scheme: str
) -> None:
    with opened(browser, site, site.key("read"), size, scheme) as page:
        page.goto(f"{site.url}/usage?customer=alice")
        expect(page.locator("[data-meter=calls]")).to_be_visible()
        expect(page.get_by_role("link", name="Operations")).to_have_count(0)
        picture(page, f"web-{size}-{scheme}")


def test_figures_and_alerts_move_by_themselves_and_equal_those_of_sql(browser: Browser, site: Site) -> None:
    with opened(browser, site, site.key("read")) as page:
        page.goto(f"{site.url}/usage?customer=alice")
        card = page.locator("[data-meter=calls]")
        expect(page.locator("#live")).to_contain_text("Live", timeout=WITHIN_MS)
        before = card.locator("[data-used]").get_attribute("title")
        site.use_more(4_321)
        ((stored,),) = site.sql(TOTAL, site.tenant)
        assert stored != before
        expect(card.locator("[data-used]")).to_have_attribute("title", stored, timeout=WITHIN_MS)
        expect(card.locator("[data-used]")).to_have_text(f"{int(stored):,}")
        with postgres.connect(site.run.postgres) as db:
            alert(db, site.run, site.tenant, f"a-{stored}", f"alice is at {stored}")
        expect(page.locator("#alerts li").first).to_have_text(f"alice is at {stored}", timeout=WITHIN_MS)
        expect(page.get_by_text("Times and days are those of America/New_York")).to_be_visible()


def test_a_period_that_has_ended_keeps_its_figure(browser: Browser, site: Site) -> None:
    with opened(browser, site, site.key("read")) as page:
        page.add_init_script(SEEN)
        page.goto(f"{site.url}/usage?customer=carol")
        expect(page.locator("body")).to_have_attribute("data-seen", re.compile("[2-9]"), timeout=WITHIN_MS)
        expect(page.locator("[data-meter=calls] [data-used]")).to_have_text("321")


def test_a_dead_letter_is_sent_again_by_keyboard_after_a_look_at_the_plan(browser: Browser, site: Site) -> None:
    at = dead_letter(site, "browser-1")
    with opened(browser, site, site.key("admin"), "narrow") as page:
        page.goto(f"{site.url}/operations/dead-letters")
        page.get_by_role("checkbox", name=f"Send {at} again").focus()
        page.keyboard.press("Space")
        page.get_by_role("button", name="Plan a redrive of the chosen").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Send dead letters of {site.tenant} again")
        expect(page.get_by_role("row").nth(1)).to_contain_text("is sent again")
        picture(page, "redrive")
        assert violations(page) == []
        page.get_by_role("button", name="Send 1 again").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text("1 sent again")
        assert violations(page) == []
    assert [
        json.loads(record.value or b"")["event_id"] for record in dump(site.run.kafka, site.run.topics.redrive)
    ] == ["browser-1"]


class _Host(http.server.BaseHTTPRequestHandler):
    """Somebody else's page, which has one of ours in an iframe."""

    frame = ""

    def do_GET(self) -> None:
        body = f'<!doctype html><title>Host</title><iframe src="{self.frame}" width="600" height="600"></iframe>'
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


@contextmanager
def hosted(frame: str) -> Iterator[int]:
    handler = type("Host", (_Host,), {"frame": frame})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_a_token_shows_its_customer_in_frames_that_are_allowed_and_a_foreign_one_nothing(
    browser: Browser, site: Site
) -> None:
    path = site.token(site.key("read"), "bob")["path"]
    foreign = path.replace("embed.", "embed.e30", 1)
    page = browser.new_page(timezone_id="America/New_York")
    with hosted(f"{site.url}{path}") as port:
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.frame_locator("iframe").get_by_role("heading", level=1)).to_have_text("Usage of bob")
        expect(page.frame_locator("iframe").locator("#live")).to_contain_text("Live", timeout=WITHIN_MS)
        expect(page.frame_locator("iframe").get_by_text("America/New_York")).to_be_visible()
        # The same site under a name that is not allowed.
        page.goto(f"http://localhost:{port}/")
        expect(page.frame_locator("iframe").get_by_text("Usage of bob")).to_have_count(0)
    with hosted(f"{site.url}{foreign}") as port:
        page.goto(f"http://127.0.0.1:{port}/")
        expect(page.frame_locator("iframe").get_by_text("alice")).to_have_count(0)
    assert page.goto(f"{site.url}{foreign}").status == 401  # type: ignore[union-attr]
    assert page.goto(f"{site.url}{path}").status == 200  # type: ignore[union-attr]
    picture(page, "embedded")
    page.close()
