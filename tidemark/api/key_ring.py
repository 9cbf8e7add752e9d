"""Keys as requests ask for them: from memory for a few seconds, and what was known before while Postgres is down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from tidemark.api.key_store import SCHEMA, find, used
from tidemark.api.keys import Scope, StoredKey, check, id_of, unauthorized
from tidemark.core.errors import TidemarkError, UnavailableError
from tidemark.core.postgres import Database
from tidemark.core.service import logger
from tidemark.core.settings import PostgresSettings

log = logger("api")

# How long keys that were read are good while Postgres is down: a longer outage stops whoever was revoked meanwhile.
OUTAGE_S = 900.0
# When the last use of keys is written.
USED_EVERY_S = 60.0
# Ids that somebody makes up must not fill memory.
MOST_KEYS = 50_000
TIMEOUT_MS = 2_000

Entry = tuple[StoredKey | None, float]


class KeyRing:
    """Looks up keys; safe between threads.

    Parameters
    ----------
    postgres:
        Where they are stored.
    fresh_s:
        How long a key that was read is not read again, and Postgres is not asked again after a failure.
    clock:
        Seconds that only grow.
    """

    def __init__(self, postgres: PostgresSettings, fresh_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = Database(postgres, "api keys", SCHEMA, timeout_ms=TIMEOUT_MS)
        self._lock = threading.Lock()
        self._fresh_s = fresh_s
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._used: set[str] = set()
        self._down_until_s = 0.0
        self._written_at = clock()

    def known(self, text: str) -> Entry | None:
        """The key as memory has it, and when it was read; None when it must be read."""
        return self._known(id_of(text) or "")

    def read(self, text: str) -> Entry:
        """The key as Postgres has it; what memory had of it, while Postgres is down.

        Raises
        ------
        UnavailableError
            Postgres is down, and the key was not read lately.
        """
        key_id = id_of(text)
        return (None, self._clock()) if key_id is None else self._read(key_id)

    def current(self, key_id: str) -> StoredKey | None:
        """The key of an id, for who has shown it before; None once it is revoked or has expired; raises as `read`."""
        key = (self._known(key_id) or self._read(key_id))[0]
        if key is None or not key.is_current(datetime.now(UTC)):
            return None
        self._used.add(key_id)
        return key

    def _known(self, key_id: str) -> Entry | None:
        entry, now_s = self._entries.get(key_id), self._clock()
        if entry is None or now_s - entry[1] > OUTAGE_S:
            return None
        return entry if now_s - entry[1] < self._fresh_s or now_s < self._down_until_s else None

    def _read(self, key_id: str) -> Entry:
        with self._lock:
            # Another request may have found out meanwhile; a Postgres that does not answer is not asked by each.
            if (before := self._known(key_id)) is not None:
                return before
            if self._clock() < self._down_until_s:
                raise UnavailableError("keys cannot be read: Postgres did not answer just now.", "try again.")
            try:
                entry = self._database.run(lambda connection: find(connection, key_id)), self._clock()
            except TidemarkError as error:
                self._down_until_s = self._clock() + self._fresh_s
                log("keys cannot be read", level="error", error=str(error))
                if (before := self._known(key_id)) is None:
                    raise
                return before
            if len(self._entries) >= MOST_KEYS:
                self._entries.clear()
            self._entries[key_id] = entry
            return entry

    def checked(self, entry: Entry, text: str, scope: Scope) -> StoredKey:
        """The key, if it is valid and allows this, and remember its use; raises Problem."""
        if id_of(text) is None:
            raise unauthorized("what was sent is no key; a key begins with tmk_.")
        key = check(entry[0], text, scope, datetime.now(UTC))
        self._used.add(key.key_id)
        return key

    def write_used(self) -> None:
        """Store which keys were used, if it is time; a failure is logged and tried again later."""
        if self._clock() - self._written_at < USED_EVERY_S:
            return
        self._written_at = self._clock()
        with self._lock:
            seen, self._used = self._used, set()
            try:
                if seen:
                    self._database.run(lambda connection: used(connection, seen))
            except TidemarkError as error:
                self._used |= seen
                log("last use not stored", level="warning", keys=len(seen), error=str(error))

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            self._database.close()
