"""Characters that would move a cursor or change the direction of text: in ids they are user data, and are escaped."""

from __future__ import annotations

import re
from collections.abc import Callable

# C0, DEL and C1, line and paragraph separators, the controls of bidirectional text, and unpaired surrogates, which no
# terminal accepts.
CONTROLS = "\x00-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL = re.compile(f"[{CONTROLS}]")


def escaped(text: str, how: Callable[[str], str]) -> str:
    """A text in which `how` replaces each control character."""
    return _CONTROL.sub(lambda match: how(match[0]), text)


def safe_json(text: str) -> str:
    """JSON text in which control characters, which can only be inside strings, are escaped."""
    return escaped(text, lambda character: f"\\u{ord(character):04x}")
