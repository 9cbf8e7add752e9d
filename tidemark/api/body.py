"""Bodies of `POST /v1/events` to the bytes of single events: pure, and bounded while it decompresses."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from urllib.parse import unquote

import msgspec
from msgspec import Raw

from tidemark.api.problem import Problem
from udfs.events.parse import BYTE_ORDER_MARK

MAX_BODY_BYTES = 1_048_576
MAX_EVENTS = 1_000
JSON, NDJSON = "application/json", "application/x-ndjson"
CLOUDEVENT, CLOUDEVENTS = "application/cloudevents+json", "application/cloudevents-batch+json"
# Prefix of the headers that make a request a CloudEvent in binary mode.
CE = "ce-"
# Says that zlib finds a gzip header and trailer.
_GZIP_BITS = 16 + zlib.MAX_WBITS

_decode_array = msgspec.json.Decoder(list[Raw]).decode
_encode = msgspec.json.Encoder().encode


class Inflater:
    """Decompresses a body piece by piece, and refuses it as soon as it is too large.

    Parameters
    ----------
    encoding:
        Value of Content-Encoding; empty for none.
    limit:
        Most bytes, compressed and not.
    """

    def __init__(self, encoding: str, limit: int = MAX_BODY_BYTES) -> None:
        if encoding.lower() not in {"", "identity", "gzip", "x-gzip"}:
            detail = f"Content-Encoding {encoding!r} is not known; send gzip or none."
            raise Problem(415, "unsupported_encoding", detail, headers={"Accept-Encoding": "gzip"})
        self._inflate = zlib.decompressobj(_GZIP_BITS) if "gzip" in encoding.lower() else None
        self._limit = limit
        self._taken = 0
        self._body = bytearray()

    def feed(self, piece: bytes) -> None:
        """Take one piece of the body; raises Problem."""
        self._taken += len(piece)
        if self._taken > self._limit:
            raise self._too_large("as sent")
        if self._inflate is None:
            self._body += piece
            return
        while piece:
            piece = self._feed_compressed(self._inflate, piece)

    def body(self) -> bytes:
        """The whole body; raises Problem when it ends within its compression."""
        if self._inflate is not None and self._taken and not self._inflate.eof:
            raise Problem(400, "malformed_gzip", "the gzip stream is cut off; send it again, whole.")
        return bytes(self._body)

    def _feed_compressed(self, inflate: zlib._Decompress, piece: bytes) -> bytes:
        """Decompress; returns what belongs to a further gzip member."""
        if inflate.eof:
            self._inflate = inflate = zlib.decompressobj(_GZIP_BITS)
        # One byte more than is allowed, to see that there is one.
        room = self._limit - len(self._body) + 1
        try:
            self._body += inflate.decompress(piece, room)
        except zlib.error as error:
            raise Problem(400, "malformed_gzip", f"the body is not gzip: {error}.") from None
        if len(self._body) > self._limit:
            raise self._too_large("decompressed")
        return inflate.unused_data if inflate.eof else inflate.unconsumed_tail

    def _too_large(self, when: str) -> Problem:
        detail = f"the body has over {self._limit} bytes {when}, which is the limit; send smaller batches."
        return Problem(413, "body_too_large", detail)


def events_of(headers: Mapping[str, str], body: bytes) -> list[bytes]:
    """The bytes of each event of a body, in their order; headers by lower-case name.

    Raises
    ------
    Problem
        The type of the content is not known, it is no JSON where an array is due, or it has no events or too many.
    """
    content = headers.get("content-type", JSON)
    media = content.partition(";")[0].strip().lower()
    if f"{CE}specversion" in headers and media not in {CLOUDEVENT, CLOUDEVENTS}:
        return [_binary(headers, content, body)]
    split = _SPLIT.get(media)
    if split is None:
        known = ", ".join(_SPLIT)
        detail = f"Content-Type {content!r} is not known; send {known}, or a CloudEvent in binary mode."
        raise Problem(415, "unsupported_media_type", detail, headers={"Accept-Post": known})
    _check_charset(content)
    events = split(body)
    if not events:
        raise Problem(400, "no_events", "the body has no event; send at least one.")
    if len(events) > MAX_EVENTS:
        detail = f"the body has {len(events)} events; the limit is {MAX_EVENTS}. Send smaller batches."
        raise Problem(413, "too_many_events", detail)
    return events


def _check_charset(content: str) -> None:
    message = Message()
    message["content-type"] = content
    charset = message.get_content_charset("utf-8")
    if charset not in {"utf-8", "utf8", "us-ascii"}:
        raise Problem(415, "unsupported_charset", f"charset {charset} is not known; JSON is UTF-8.")


def _one_or_many(body: bytes) -> list[bytes]:
    return _array(body) if _begins_array(body) else _one(body)


def _one(body: bytes) -> list[bytes]:
    return [body] if body.strip() else []


def _begins_array(body: bytes) -> bool:
    return body.removeprefix(BYTE_ORDER_MARK).lstrip()[:1] == b"["


def _array(body: bytes) -> list[bytes]:
    try:
        items = _decode_array(body.removeprefix(BYTE_ORDER_MARK))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Problem(400, "malformed_json", f"the body is no JSON array of events: {error}.") from None
    return [bytes(item) for item in items]


def _lines(body: bytes) -> list[bytes]:
    return [line for line in body.removeprefix(BYTE_ORDER_MARK).split(b"\n") if line.strip()]


def _binary(headers: Mapping[str, str], content: str, body: bytes) -> bytes:
    """A CloudEvent in binary mode as one in structured mode."""
    document: dict[str, str | Raw] = dict(_attributes(headers))
    document["datacontenttype"] = content
    if body.strip():
        document["data"] = Raw(body)
    try:
        return _encode(document)
    except (UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise Problem(400, "malformed_header", f"a ce- header is not text: {error}.") from None


def _attributes(headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in headers.items():
        if name.startswith(CE):
            # CloudEvents' HTTP binding percent-encodes what a header cannot hold.
            yield name.removeprefix(CE), unquote(value.strip('"') if value[:1] == value[-1:] == '"' else value)


_SPLIT: Mapping[str, Callable[[bytes], list[bytes]]] = {
    JSON: _one_or_many,
    NDJSON: _lines,
    "application/ndjson": _lines,
    CLOUDEVENT: _one,
    CLOUDEVENTS: _array,
}
