"""The few calls of Confluent's Schema Registry API that are needed; Apicurio, Karapace and Redpanda have them too.

Credentials and authorities are those that `requests` finds: `.netrc` (NETRC) and REQUESTS_CA_BUNDLE.
"""

from __future__ import annotations

import json
from typing import Any, Literal
from urllib.parse import quote, urlsplit

import requests

from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.registry.subjects import Subject

Compatibility = Literal["BACKWARD"]
_TIMEOUT_S = 30
_NOT_FOUND, _CONFLICT = 404, 409
_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
FIX = (
    "take the change back, or make it one that older records pass (an optional field, a wider type); a contract that "
    "must break is a new topic: docs/events.md#changing-a-contract."
)


class RefusedError(TidemarkError):
    """The registry takes no version that those who read with it could not read older records with."""


class Registry:
    """Client of one registry.

    Parameters
    ----------
    url:
        Where the API begins: `http://127.0.0.1:8081`, of Apicurio `http://127.0.0.1:8080/apis/ccompat/v7`.

    Raises
    ------
    UsageError
        The URL has no scheme, or a password, which would be in the list of processes.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"{url!r} is no URL of a registry.", "write http://HOST:PORT or https://HOST/PATH.")
        if parts.password is not None:
            raise UsageError("the URL of the registry holds a password.", "put it into ~/.netrc, or the file of NETRC.")
        self._url = url.rstrip("/")

    def version(self, subject: Subject) -> int | None:
        """The version that holds exactly this schema, or None."""
        found = self._call("POST", f"/subjects/{_path(subject)}", _body(subject), none_at=_NOT_FOUND)
        return None if found is None else int(found["version"])

    def is_new(self, subject: Subject) -> bool:
        """Whether the registry has no version of it yet."""
        return not self._call("GET", f"/subjects/{_path(subject)}/versions", none_at=_NOT_FOUND)

    def differences(self, subject: Subject) -> list[str]:
        """Why the registry would refuse this schema after its latest version, a line each; empty: it would not."""
        path = f"/compatibility/subjects/{_path(subject)}/versions/latest?verbose=true"
        found = self._call("POST", path, _body(subject))
        if found["is_compatible"]:
            return []
        return [str(line) for line in found.get("messages") or ["the registry says no more"]]

    def latest(self, subject: Subject) -> dict[str, Any]:
        """The schema of the latest version."""
        schema: dict[str, Any] = json.loads(self._call("GET", f"/subjects/{_path(subject)}/versions/latest")["schema"])
        return schema

    def register(self, subject: Subject) -> int:
        """Make it the latest version, or find the version that it is; its id, which is one for all subjects.

        Raises
        ------
        RefusedError
            It is not compatible.
        """
        return int(self._call("POST", f"/subjects/{_path(subject)}/versions", _body(subject))["id"])

    def set_compatibility(self, subject: Subject, level: Compatibility) -> None:
        """Which later versions the registry takes."""
        self._call("PUT", f"/config/{_path(subject)}", {"compatibility": level})

    def _call(self, method: str, path: str, body: Any = None, *, none_at: int = 0) -> Any:
        headers = {"Accept": _MEDIA_TYPE, "Content-Type": _MEDIA_TYPE}
        try:
            answer = requests.request(method, self._url + path, json=body, headers=headers, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            raise UnavailableError(
                f"no registry answers at {self._url} ({type(error).__name__}).", "correct --registry, or start it."
            ) from error
        if answer.status_code == none_at:
            return None
        if answer.status_code == _CONFLICT:
            raise RefusedError(f"the registry refused {path}: {_message(answer)}", FIX)
        if not answer.ok:
            raise TidemarkError(f"the registry answered {method} {path} with {answer.status_code}: {_message(answer)}")
        return _document(answer, self._url)


def _path(subject: Subject) -> str:
    return quote(subject.name, safe="")


def _body(subject: Subject) -> dict[str, str]:
    return {"schemaType": "JSON", "schema": subject.schema}


def _document(answer: requests.Response, url: str) -> Any:
    try:
        return answer.json() if answer.content else None
    except requests.JSONDecodeError as error:
        raise TidemarkError(
            f"{url} answers, and not as a registry does.", "end --registry where the API begins: /apis/ccompat/v7."
        ) from error


def _message(answer: requests.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (requests.JSONDecodeError, KeyError, TypeError):
        return answer.text[:300]
