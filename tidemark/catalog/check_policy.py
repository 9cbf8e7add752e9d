"""Faults of the alert policy of a catalog file by its meaning: each fault with its path, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tidemark.catalog.check_limits import Known
from tidemark.catalog.entries import MATCHERS, policy_entries
from tidemark.catalog.instants import instant_ms
from tidemark.catalog.text import Fault
from udfs.meters.meter import BEGINNING_MS

# Requests to these receivers are signed, or carry their key.
_SECRET_KINDS = ("pagerduty", "webhook")
# No folder, no name with a dot before it, and short words alone: a secret pasted by mistake hardly looks like it.
_FILE = re.compile(r"[A-Za-z0-9]{1,20}([._-][A-Za-z0-9]{1,20}){0,5}")
_CREDENTIAL = re.compile(r"(.*[_.-])?(token|secret|password|passwd|key|apikey|signature|sig)", re.IGNORECASE)


def policy_faults(content: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults of receivers and maintenance windows; other types are the schema's to refuse."""
    for kind, _, path, entry in policy_entries(content):
        if kind == "receiver":
            yield from _receiver_faults(path, entry)
        elif kind == "maintenance":
            yield from _window_faults(path, entry)


def _receiver_faults(path: str, entry: Mapping[str, Any]) -> Iterator[Fault]:
    kind, secret, url = entry.get("kind"), entry.get("secret_file"), entry.get("url")
    if secret is None:
        if kind in _SECRET_KINDS:
            yield Fault(
                f"{path}.secret_file", f"a {kind} needs one: a file of delivery.secrets_dir that holds its secret."
            )
    elif not isinstance(secret, str) or not _FILE.fullmatch(secret):
        yield Fault(
            f"{path}.secret_file",
            "it is no name of a file (words of 1 to 20 letters and digits, between them . _ or -); a secret must not "
            "stand here.",
        )
    if isinstance(url, str) and (message := _url_fault(url)) is not None:
        yield Fault(f"{path}.url", message)


def _url_fault(url: str) -> str | None:
    """Why a receiver cannot have this URL; the URL may hold a secret and is not repeated."""
    try:
        parts = urlsplit(url)
        port_is_fine, query = parts.port != 0, parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "it is no URL."
    if parts.scheme not in ("http", "https"):
        return "it must begin with http:// or https://."
    if not parts.hostname or not port_is_fine or not url.isprintable() or " " in url:
        return "it is no URL of a host."
    if "@" in parts.netloc or any(_CREDENTIAL.fullmatch(name) for name, _ in query):
        return "it holds credentials: put them into the file that secret_file names."
    return None


def _window_faults(path: str, entry: Mapping[str, Any]) -> Iterator[Fault]:
    instants: list[int] = []
    for part in ("from", "until"):
        text = entry.get(part)
        if not isinstance(text, str):
            continue  # reported by the schema
        try:
            ms = instant_ms(text)
        except ValueError as error:
            yield Fault(f"{path}.{part}", str(error))
            continue
        if ms == BEGINNING_MS:
            yield Fault(f"{path}.{part}", "a window begins and ends at an instant.")
        instants.append(ms)
    if len(instants) == len(("from", "until")) and instants[0] >= instants[1]:
        yield Fault(f"{path}.until", f"{entry['until']} is not after {entry['from']}.")


def policy_entry_faults(content: Mapping[str, Any], known: Known) -> Iterator[Fault]:
    """Faults of whole entries: a suppression names its alerts, a route names receivers that exist."""
    receivers = {name for kind, name, _, _ in policy_entries(content) if kind == "receiver"} | {*known.receivers}
    for kind, _, path, entry in policy_entries(content):
        if kind == "suppression" and not any(entry.get(one) for one in MATCHERS[kind]):
            yield Fault(path, f"it would suppress every alert: name one of {', '.join(MATCHERS[kind])} at least.")
        named = entry.get("receivers")
        for index, one in enumerate(named if kind == "route" and isinstance(named, list) else ()):
            if isinstance(one, str) and one not in receivers:
                yield Fault(f"{path}.receivers.{index}", f"there is no receiver {one!r}, here or stored.")
