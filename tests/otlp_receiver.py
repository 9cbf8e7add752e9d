"""A receiver of OTLP over HTTP on loopback, which keeps the spans it gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.http_server import serving


@dataclass
class Receiver:
    """Spans by name, as they were sent, and the resource they are of."""

    endpoint: str = ""
    paths: set[str] = field(default_factory=set)
    resource: dict[str, str] = field(default_factory=dict)
    spans: list[Any] = field(default_factory=list)

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive until the block ends."""
    got = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = decompress(body)
            got.paths.add(self.path)
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                got.resource |= {one.key: one.value.string_value for one in resource.resource.attributes}
                got.spans += [span for scope in resource.scope_spans for span in scope.spans]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    got.endpoint = f"http://127.0.0.1:{server.server_port}"
    with serving(server):
        yield got
