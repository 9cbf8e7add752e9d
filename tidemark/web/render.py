"""Pages from templates: all that is shown is escaped, and scripts and styles are files of ours alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tidemark.web import shown
from tidemark.web.context import web_context_of
from tidemark.web.viewer import Viewer

_pages = Environment(
    loader=PackageLoader("tidemark.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip


def when(text: str | None, zone: str) -> Markup:
    """An instant for people, with the exact one for programs."""
    return Markup('<time datetime="{}">{}</time>').format(text or "", shown.moment(text, zone))


_pages.filters.update(number=shown.number, when=when, day=shown.day, share=shown.share, about=shown.about)
_HEADERS = {"Cache-Control": "private, no-store"}


def page(request: Request, name: str, viewer: Viewer | None, *, status: int = 200, **values: Any) -> Response:
    """A page for who looks; without a viewer that of somebody who is not signed in."""
    brand = web_context_of(request).settings.web.brand_of("" if viewer is None else viewer.tenant)
    about: Mapping[str, Any] = {
        "viewer": viewer,
        "brand": brand,
        "name": brand.name or "Usage",
        "path": request.url.path,
    }
    return HTMLResponse(_pages.get_template(name).render(**about, **values), status, headers=_HEADERS)
