"""The few calls of S3's REST API that listing and small files need, on loopback, with objects in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

from tests.http_server import serving

WRITTEN = "2026-01-02T03:04:05.000Z"
_HTTP_DATE = "Fri, 02 Jan 2026 03:04:05 GMT"


class _Handler(BaseHTTPRequestHandler):
    store: S3Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        query = parse_qs(split.query)
        if "list-type" in query:
            self._answer(200, self.store.listing(split.path.strip("/"), query.get("prefix", [""])[0]))
        else:
            self._object(unquote(split.path.strip("/")))

    def do_HEAD(self) -> None:
        self._object(unquote(urlsplit(self.path).path.strip("/")))

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "x-amz-decoded-content-length" in self.headers:
            size, _, rest = body.partition(b"\r\n")
            body = rest[: int(size.split(b";")[0], 16)]
        name = unquote(urlsplit(self.path).path.strip("/"))
        if self.headers.get("If-None-Match") == "*" and name in self.store.objects:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        self.store.objects[name] = body
        self.store.signed_by.add(re.findall(r"Credential=([^/]*)/", self.headers.get("Authorization", ""))[0])
        self._answer(200, b"")

    def do_POST(self) -> None:
        # An upload in parts; one part is enough for small files, and it is the object already.
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        begins = "uploads" in urlsplit(self.path).query
        kind = "InitiateMultipartUploadResult" if begins else "CompleteMultipartUploadResult"
        self._answer(200, f"<{kind}><UploadId>u</UploadId><ETag>e</ETag></{kind}>".encode())

    def _object(self, name: str) -> None:
        if "/" not in name:
            self._answer(200 if name in self.store.buckets else 404, b"")
            return
        if name in self.store.objects:
            body = self.store.objects[name]
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            first, last = map(int, asked.groups()) if asked else (0, len(body))
            self._answer(206 if asked else 200, body[first : last + 1])
        else:
            self._answer(404, b"")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", _HTTP_DATE)
        self.send_header("ETag", '"e"')
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class S3Server:
    """Objects by `bucket/key`; `url` is the endpoint, `signed_by` whose keys signed what was written."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.written: dict[str, str] = {}
        self.signed_by: set[str] = set()
        self.buckets = {"bucket"}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"store": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def listing(self, bucket: str, prefix: str) -> bytes:
        """The answer of ListObjectsV2."""
        rows = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>{self.written.get(name, WRITTEN)}</LastModified>"
            f"<Size>{len(body)}</Size></Contents>"
            for name, body in sorted(self.objects.items())
            if name.startswith(f"{bucket}/") and (key := name.removeprefix(f"{bucket}/")).startswith(prefix)
        )
        return (
            '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{bucket}</Name><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>"
        ).encode()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    server = S3Server()
    with serving(server.server):
        yield server
