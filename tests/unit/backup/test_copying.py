"""Files of a backup: what has passed is measured, and what is damaged is named."""

from __future__ import annotations

import hashlib
import io

import pytest
import zstandard

from tidemark.backup.copying import Hashed, _blocks
from tidemark.core.errors import DifferenceError

ROWS = b"a\t1\nb\\n\t2\n" * 1_000


def compressed() -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(ROWS)


def test_what_passes_is_measured() -> None:
    written = io.BytesIO()
    hashed = Hashed(written)
    hashed.write(b"ab")
    hashed.write(b"c")
    assert (hashed.size, hashed.sha256, written.getvalue()) == (3, hashlib.sha256(b"abc").hexdigest(), b"abc")


def test_rows_come_back_as_they_were() -> None:
    assert b"".join(_blocks(Hashed(io.BytesIO(compressed())), "t")) == ROWS


@pytest.mark.parametrize("place", [0, 10, -1])
def test_a_damaged_file_is_named(place: int) -> None:
    data = bytearray(compressed())
    data[place] ^= 255
    with pytest.raises(DifferenceError, match=r"t\.zst cannot be read.*damaged"):
        b"".join(_blocks(Hashed(io.BytesIO(bytes(data))), "t.zst"))
