"""An address to listen on, as sections have it that open one."""

from __future__ import annotations

from pydantic import field_validator

from tidemark.core.settings.section import Section

OFF = "off"
ADDRESS = rf"^({OFF}|(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):[0-9]{{1,5}})$"
_MAX_PORT = 65_535


class Listening(Section):
    """A section with an address to listen on."""

    listen: str

    @property
    def address(self) -> tuple[str, int] | None:
        """Host and port; None where nothing listens."""
        if self.listen == OFF:
            return None
        host, _, port = self.listen.rpartition(":")
        return host.strip("[]"), int(port)

    @field_validator("listen")
    @classmethod
    def _is_port(cls, listen: str) -> str:
        if listen != OFF and int(listen.rpartition(":")[2]) > _MAX_PORT:
            raise ValueError(f"has a port above {_MAX_PORT}")
        return listen
