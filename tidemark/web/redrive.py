"""Dead letters sent again from the page: a plan to look at, and a confirmation that is good for that plan alone.

What is planned and sent is what `tidemark dlq redrive` plans and sends, without repairs; the audit and the header of
each record say by which key.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response

from tidemark.api.problem import Problem
from tidemark.api.reading import read_as
from tidemark.catalog.workers import settle_in_s
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.service import logger
from tidemark.core.settings import Settings
from tidemark.dead_letters import tool
from tidemark.dead_letters.fixes import Fixes
from tidemark.dead_letters.plan import Item, Outcome, Plan
from tidemark.dead_letters.records import Position, Wanted, position_of
from tidemark.web.context import web_context_of
from tidemark.web.render import page
from tidemark.web.sign_in import fields
from tidemark.web.tokens import Claims, sign, verified
from tidemark.web.viewer import Viewer, admin_of

# Of one redrive; all of them are in its address.
MOST = 100
# For who looks at a plan to agree to it.
_CONFIRM_S = 900
_WORDS = {
    Outcome.SEND: "is sent again", Outcome.ALREADY: "was sent again already", Outcome.COPY: "the same event twice",
    Outcome.REFUSED: "refused",
}  # fmt: skip

log = logger("web")


async def plan(request: Request) -> Response:
    """What a redrive of the chosen dead letters would do; changes nothing."""
    viewer = await admin_of(request)
    chosen = _chosen(request)
    made = await _planned(request, viewer, chosen)
    rows = [_row(item) for item in made.items]
    confirm = sign(web_context_of(request).secret, "redrive", _claims(viewer, chosen))
    return page(request, "redrive.html", viewer, rows=rows, sends=len(made.sends), warnings=made.warnings(),
                confirm=confirm, target=f"/operations/dead-letters/redrive?{request.url.query}")  # fmt: skip


async def redrive(request: Request) -> Response:
    """Send what was planned, for who has seen the plan; what was sent meanwhile is left out."""
    viewer = await admin_of(request)
    chosen = _chosen(request)
    given = (await fields(request)).get("confirm", "")
    claims = verified(web_context_of(request).secret, "redrive", given, time.time())
    wanted = _claims(viewer, chosen)
    if claims is None or (claims.key_id, claims.about) != (wanted.key_id, wanted.about):
        raise Problem(403, "not_confirmed", "nothing was sent: look at the plan again, and agree to it there.")
    # The audit has it before anything is sent.
    made = await _planned(request, viewer, chosen)
    settings = web_context_of(request).settings
    sent = await to_thread.run_sync(_send, settings, made, f"key {viewer.key.key_id}")
    log("redriven", key=viewer.key.key_id, tenant=viewer.tenant, sent=sent.sent, expired=sent.expired)
    return page(request, "redriven.html", viewer, sent=sent, left=len(made.items) - sent.sent)


def _chosen(request: Request) -> tuple[Position, ...]:
    """Positions of the address; raises Problem for none, too many or what is no position."""
    texts = request.query_params.getlist("at")
    if not 1 <= len(texts) <= MOST:
        raise Problem(422, "invalid_parameter", f"{len(texts)} dead letters are chosen: choose 1 to {MOST}.")
    try:
        return tuple(sorted({position_of(text) for text in texts}))
    except UsageError as error:
        raise Problem(422, "invalid_parameter", str(error)) from None


def _row(item: Item) -> dict[str, str]:
    why = ": ".join(part for part in (item.code, item.detail) if part)
    return {
        "at": item.dead_letter["at"], "customer": item.dead_letter.get("customer_id") or "",
        "outcome": _WORDS[item.outcome], "why": why,
    }  # fmt: skip


async def _planned(request: Request, viewer: Viewer, chosen: Sequence[Position]) -> Plan:
    """The plan, of dead letters of the tenant alone; raises Problem."""
    wanted: Wanted = {"tenant": viewer.tenant, "at": frozenset(chosen)}
    return await read_as(
        request, viewer.key, lambda of: tool.load_plan(of.settings, wanted, Fixes()), lambda made: len(made.items)
    )


def _claims(viewer: Viewer, chosen: Sequence[Position]) -> Claims:
    about = sha256(f"{viewer.tenant}\0{' '.join(map(str, chosen))}".encode()).hexdigest()
    return Claims(viewer.key.key_id, viewer.home, int(time.time()) + _CONFIRM_S, about=about)


def _send(settings: Settings, made: Plan, by: str) -> tool.Sent:
    if not made.sends:
        return tool.Sent(0, 0)
    try:
        # Workers that count by an older catalog would reject the events once more.
        time.sleep(settle_in_s(settings))
        return tool.send(settings, made, by=by)
    except TidemarkError as error:
        log("redrive failed", level="error", error=str(error))
        raise Problem(503, "unavailable", "not all was sent; redrive again, nothing counts twice.") from None
