"""Slack incoming webhooks: https://docs.slack.dev/reference/block-kit/blocks/section-block/."""

from __future__ import annotations

from typing import Any

from tidemark.delivery.document import Notification, facts
from udfs.alerts.event import Alert

# Limits of Block Kit: 3000 characters a text, 50 blocks a message. Beyond them whole messages are refused
# (`msg_blocks_too_long`) at about 13 000 characters, a limit that is seen and not documented.
TEXT_LENGTH = 3_000
BLOCKS = 50
TOTAL_LENGTH = 10_000
_HEADING_LENGTH = 600
_LINE_LENGTH = 500

_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " ", "\r": " "}
# The rest of the facts is in the summary.
_SHOWN = ("tenant_id", "customer_id", "meter", "value", "threshold", "period", "rule")


def message(notification: Notification) -> dict[str, Any]:
    """A heading, a line for each alert as far as there is room, and what to do; `text` is what a phone shows."""
    state = "RESOLVED" if notification.status == "resolved" else notification.severity.upper()
    kind = "digest, " if notification.digest else ""
    heading = escaped(f"[{kind}{state}] {notification.summary}", _HEADING_LENGTH)
    lines = _single(notification.alerts[0]) if len(notification.alerts) == 1 else _many(notification.alerts)
    texts = [heading, *_packed(lines)]
    # Unformatted, what a phone shows too: no id becomes bold, code, a link or a call of people.
    return {"text": heading, "mrkdwn": False, "blocks": [_section(text) for text in texts]}


def escaped(text: str, length: int) -> str:
    """A text on one line with its control characters escaped, at most `length` characters after that."""
    pieces: list[str] = []
    left = length - 1
    for character in text:
        piece = _ESCAPES.get(character, character)
        left -= len(piece)
        if left < 0:
            return "".join(pieces) + "…"
        pieces.append(piece)
    return "".join(pieces)


def _single(alert: Alert) -> list[str]:
    texts = facts(alert)
    shown = [escaped(f"{name}: {texts[name]}", _LINE_LENGTH) for name in _SHOWN if name in texts]
    advice = [alert.suggested_action, f"runbook: {alert.runbook}"]
    return [*shown, *(escaped(text, _LINE_LENGTH) for text in advice if text)]


def _many(alerts: tuple[Alert, ...]) -> list[str]:
    lines: list[str] = []
    # One length in hand for the heading, one for the line that says how many are left out.
    left = TOTAL_LENGTH - _HEADING_LENGTH - _LINE_LENGTH
    for alert in alerts:
        state = "resolved" if alert.status == "resolved" else alert.severity
        line = escaped(f"• [{state}] {alert.summary}", _LINE_LENGTH)
        left -= len(line) + 1
        if left < 0:
            return [*lines, f"… and {len(alerts) - len(lines)} more"]
        lines.append(line)
    return lines


def _packed(lines: list[str]) -> list[str]:
    """Lines put together into as few texts as there may be."""
    texts: list[str] = []
    for line in lines:
        if texts and len(texts[-1]) + 1 + len(line) <= TEXT_LENGTH:
            texts[-1] += f"\n{line}"
        else:
            texts.append(line)
    return texts


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "plain_text", "text": text, "emoji": False}}
