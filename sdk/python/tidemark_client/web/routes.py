"""Names of routes: templates, never paths, and only so many of them; each is a group that a meter may count by."""

from __future__ import annotations

import re

MOST = 200
OTHER, UNMATCHED = "other", "unmatched"
# A part of a path that is one of many: digits, a UUID or a long number in hexadecimal, or just long.
_ONE_OF_MANY = re.compile(r"\d+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|(?=.*\d)[0-9a-fA-F]{8,}|.{33,}|(?=.*\d)[\w.~=-]{16,}")


def template_of(path: str) -> str:
    """A path with what looks like an id in it replaced: `/users/17/files` is `/users/{}/files`."""
    return "/".join("{}" if _ONE_OF_MANY.fullmatch(part) else part for part in path.split("/"))


class Routes:
    """Bounds the number of names: whatever is met after the first `most` is `other`."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._names: set[str] = set()

    def name(self, template: str | None) -> str:
        """The name of a route; `unmatched` for a request that no route took."""
        if template is None:
            return UNMATCHED
        if template in self._names:
            return template
        if len(self._names) >= self._most:
            return OTHER
        self._names.add(template)
        return template
