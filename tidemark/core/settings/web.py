"""Options of the role `web`: where its pages are, who may put them into theirs, and what they look like."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from tidemark.core.settings.addresses import PlainPath
from tidemark.core.settings.listening import ADDRESS, OFF, Listening
from tidemark.core.settings.section import Section

_COLOUR = r"^#[0-9a-fA-F]{6}$"
# What a Content-Security-Policy takes as a host; nothing that could end a directive.
Origin = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.*-]+(:([0-9]{1,5}|[*]))?$")]


Module = Literal["projection", "days", "dimensions", "alerts", "periods"]


class Brand(Section):
    """How the pages of a tenant look; what is not given is that of Tidemark."""

    tenant: str = Field(min_length=1, description="Tenant.")
    name: str = Field("", max_length=60, description="What its pages are called.")
    logo_url: str = Field("", pattern=r"^(https://[^\s\"'<>;,]+)?$", description="Picture beside the name.")
    accent: str = Field("", pattern=rf"^$|{_COLOUR}", description="Colour of bars and buttons, as #rrggbb.")
    accent_dark: str = Field("", pattern=rf"^$|{_COLOUR}", description="The same in the dark.")
    hidden: tuple[Module, ...] = Field((), description="Parts of a customer's page that it does not have.")


_PLAIN = Brand(tenant="*")


class WebSettings(Listening):
    """Where the role `web` answers, who may embed its pages, and what they look like."""

    listen: str = Field(
        OFF, pattern=ADDRESS, description="host:port where the role `web` answers; port 0: a free one; `off`: no role."
    )
    secret_file: PlainPath | None = Field(
        None,
        description="File with at least 32 characters that sign sessions and tokens, the same for all processes; when "
        "empty each process makes its own, and sessions end with it.",
    )
    secure_cookie: bool = Field(
        True, description="Whether the session is sent over https alone; false only for a page on plain http."
    )
    session_h: int = Field(12, ge=1, le=720, description="When people have to sign in again.")
    token_s: int = Field(900, ge=10, le=86_400, description="How long a token to embed a page is good.")
    frame_ancestors: tuple[Origin, ...] = Field(
        (), description="Origins whose pages may embed that of a customer in an iframe; none: none may."
    )
    operators: tuple[str, ...] = Field(
        (), description="Tenants whose `admin` keys see the pages of all tenants and the pipeline, not only their own."
    )
    brands: tuple[Brand, ...] = Field(
        (),
        description="How the pages of a tenant look, each {tenant, name, logo_url, accent, accent_dark, hidden}; "
        f"`hidden` has some of {', '.join(get_args(Module))}.",
    )

    @field_validator("brands")
    @classmethod
    def _once(cls, brands: tuple[Brand, ...]) -> tuple[Brand, ...]:
        tenants = [brand.tenant for brand in brands]
        double = sorted({tenant for tenant in tenants if tenants.count(tenant) > 1})
        if double:
            raise ValueError(f"{', '.join(double)} is there more than once; give each tenant one brand")
        return brands

    def brand_of(self, tenant: str) -> Brand:
        """How the pages of a tenant look."""
        return next((one for one in self.brands if one.tenant == tenant), _PLAIN)
