"""Beam's servers for Python workers on loopback, by a jar before Flink's own (`python -m … FLINK_PYTHON_JAR LIB`).

The TaskManager talks with its Python workers over gRPC, without TLS or a token, and one of these services reads any
file of its user. Beam computes a loopback address for them, tells it to the workers, and then listens on the port of
all interfaces. Here the one call that loses the address is replaced in Beam's class; a class without it is refused.
"""

from __future__ import annotations

import struct
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tidemark.core.errors import TidemarkError

CLASS = "org/apache/beam/sdk/fn/server/ServerFactory$InetSocketAddressServerFactory.class"
# Sorts before flink-python-….jar, and Flink puts its jars in this order.
JAR = "beam-loopback.jar"
_UTF8, _METHOD, _NAME_AND_TYPE = 1, 10, 12
# Bytes after the tag, by tag; Utf8 says its own length. Long and double take two places.
_SIZES = {3: 4, 4: 4, 5: 8, 6: 8, 7: 2, 8: 2, 9: 4, 10: 4, 11: 4, 12: 4, 15: 3, 16: 2, 17: 4, 18: 4, 19: 2, 20: 2}
_WIDE = (5, 6)
_INVOKEVIRTUAL, _INVOKESTATIC, _NOP = 0xB6, 0xB8, 0


@dataclass(slots=True)
class Pool:
    """Constants of a class file: where each begins, with its tag; `end` is the first byte after them."""

    data: bytes
    places: dict[int, int]
    count: int
    end: int

    @classmethod
    def of(cls, data: bytes) -> Pool:
        """Read the constants."""
        (count,) = struct.unpack_from(">H", data, 8)
        places, place, index = {}, 10, 1
        while index < count:
            places[index] = place
            tag = data[place]
            size = 2 + struct.unpack_from(">H", data, place + 1)[0] if tag == _UTF8 else _SIZES[tag]
            place += 1 + size
            index += 2 if tag in _WIDE else 1
        return cls(data, places, count, place)

    def text(self, index: int) -> str:
        """A Utf8 constant."""
        place = self.places[index]
        (length,) = struct.unpack_from(">H", self.data, place + 1)
        return self.data[place + 3 : place + 3 + length].decode()

    def pair(self, index: int) -> tuple[int, int]:
        """The two indexes in a constant."""
        first, second = struct.unpack_from(">HH", self.data, self.places[index] + 1)
        return first, second

    def method(self, name: str) -> tuple[int, str]:
        """Index and descriptor of the only method of that name that is called."""
        found = []
        for index, place in self.places.items():
            if self.data[place] == _METHOD:
                called, descriptor = self.pair(self.pair(index)[1])
                if self.text(called) == name:
                    found.append((index, self.text(descriptor)))
        if len(found) != 1:
            raise _unknown(f"it calls {name} of {len(found)} classes")
        return found[0]


def patched(data: bytes) -> bytes:
    """The class with `forPort(address.getPort())` replaced by `forAddress(address)`.

    Raises
    ------
    TidemarkError
        It is another class than the one this was written for.
    """
    pool = Pool.of(data)
    get_port, for_port = (_of(pool, "java/net/InetSocketAddress", "getPort"), pool.method("forPort"))
    index, descriptor = for_port
    call = struct.pack(">BHBH", _INVOKEVIRTUAL, get_port, _INVOKESTATIC, index)
    if data.count(call) != 1:
        raise _unknown(f"it calls forPort(getPort()) {data.count(call)} times")
    instead = bytes([_NOP] * 3) + call[3:]
    added = _utf8("forAddress") + _utf8(descriptor.replace("(I)", "(Ljava/net/SocketAddress;)", 1))
    added += struct.pack(">BHH", _NAME_AND_TYPE, pool.count, pool.count + 1)
    constants = bytearray(data[: pool.end])
    struct.pack_into(">H", constants, 8, pool.count + 3)
    struct.pack_into(">H", constants, pool.places[index] + 3, pool.count + 2)
    return bytes(constants) + added + data[pool.end :].replace(call, instead)


def write(flink_python: Path, target: Path) -> None:
    """Write the jar, from the class in Flink's Python jar."""
    with zipfile.ZipFile(flink_python) as whole:
        content = patched(whole.read(CLASS))
    with zipfile.ZipFile(target, "w") as jar:
        # The same bytes each time.
        jar.writestr(zipfile.ZipInfo(CLASS), content)


def _of(pool: Pool, owner: str, name: str) -> int:
    for index, place in pool.places.items():
        if pool.data[place] == _METHOD:
            class_index, named = pool.pair(index)
            (class_name,) = struct.unpack_from(">H", pool.data, pool.places[class_index] + 1)
            if (pool.text(class_name), pool.text(pool.pair(named)[0])) == (owner, name):
                return index
    raise _unknown(f"it does not call {owner}.{name}")


def _utf8(text: str) -> bytes:
    return struct.pack(">BH", _UTF8, len(text)) + text.encode()


def _unknown(why: str) -> TidemarkError:
    return TidemarkError(f"Beam's ServerFactory is not the one that is known: {why}.", "use the pinned apache-flink.")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]) / JAR)
