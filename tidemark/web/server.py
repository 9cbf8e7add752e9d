"""The service of the role `web`."""

from __future__ import annotations

from tidemark.api.answer_cache import AnswerCache
from tidemark.api.connections import Connections
from tidemark.api.context import Counts
from tidemark.api.http_thread import HttpThread, bound
from tidemark.api.key_ring import KeyRing
from tidemark.api.server import limits_of
from tidemark.core.service import Service, logger
from tidemark.core.settings import Settings
from tidemark.web.app import build
from tidemark.web.context import WebContext, secret_of

log = logger("web")

CHECK_S = 5.0


class Server:
    """Answers until it is closed; raises UnavailableError where its address is taken."""

    def __init__(self, settings: Settings, address: tuple[str, int]) -> None:
        secret = secret_of(settings.web)
        taken = bound(address, "web.listen")
        counts = Counts()
        self._context = WebContext(
            settings=settings, keys=KeyRing(settings.postgres.ops, settings.api.key_cache_s),
            reads=Connections(settings), limits=limits_of(settings), answers=AnswerCache(settings, counts.answers),
            counts=counts, secret=secret,
        )  # fmt: skip
        self._http = HttpThread("web", build(self._context), taken, self._context.limits.aclose)
        log("listening", address=self._http.address)

    def step(self) -> None:
        """Raise RuntimeError when it answers no more, and is made again; UnavailableError while Postgres is away."""
        self._http.check()
        self._context.keys.write_used()
        with self._context.reads.using() as db:
            db.execute("SELECT 1")

    def close(self) -> None:
        """Take no more requests, and answer those that are here."""
        self._context.counts.stopping = True
        self._http.stop()
        self._context.close()


def service(settings: Settings) -> Service[Server, None]:
    """Answers at `web.listen`, which is set."""
    address = settings.web.address
    assert address is not None  # noqa: S101  the role is not configured without
    return Service("web", CHECK_S, lambda: Server(settings, address), Server.step, log)
