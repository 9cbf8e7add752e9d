"""The readers as a service sees them: arguments, keys, a Redis that is not there, and an import without Flink."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from tests.ports import free_port
from tests.unit.sdk.reader_parts import judge
from tidemark_client import AsyncLimitReader, Decision, LimitReader, Reason
from tidemark_client.decision import ALLOWS
from tidemark_client.keys import counter_key, heartbeat_key, limits_key
from tidemark_client.layout import keys_of

DOCS = Path(__file__).parents[3] / "docs" / "reader.md"


@pytest.mark.parametrize("wanted", [-1, "-0.1", 1.0, True, "x", "", None, "NaN", Decimal("Infinity"), Decimal("sNaN")])
def test_what_is_no_amount_is_refused(wanted: Any) -> None:
    with pytest.raises(ValueError, match="wanted is"):
        judge().question("t", "c", "m", wanted)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("on_unknown", "open"), ("max_age_s", 0), ("max_age_s", float("nan")), ("timeout_s", 0), ("timeout_s", -1.0)],
)
@pytest.mark.parametrize("kind", [LimitReader, AsyncLimitReader])
def test_a_setting_that_is_not_valid_is_refused(kind: Any, setting: str, value: Any) -> None:
    with pytest.raises(ValueError, match=setting):
        kind("redis://127.0.0.1:1/0", **{setting: value})


def test_a_client_that_waits_for_ever_is_refused() -> None:
    with pytest.raises(ValueError, match="socket_timeout"):
        LimitReader(redis.Redis(port=1))


ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(ids, ids, ids)
def test_what_is_read_is_where_it_is_written(tenant: str, customer: str, meter: str) -> None:
    keys = keys_of("usage:", tenant, customer, meter)
    assert keys.counter == counter_key("usage:", tenant, customer, meter)
    assert keys.defaults == limits_key("usage:", tenant)
    assert keys.heartbeat == heartbeat_key("usage:")


@given(st.tuples(ids, ids), st.tuples(ids, ids))
def test_no_key_is_taken_for_another(left: tuple[str, str], right: tuple[str, str]) -> None:
    keys = keys_of("usage:", *left, "suspended")
    other = keys_of("usage:", *right, ":suspended")
    assert len({keys.counter, keys.suspension, keys.defaults, keys.marker, keys.heartbeat, keys.switch}) == 6
    assert (keys.suspension == other.suspension) == (left == right)
    assert keys.suspension != other.counter


def test_what_is_counted_is_read_of_another_version_and_what_people_decided_is_not() -> None:
    own, other = keys_of("usage:", "t", "c", "m"), keys_of("usage:", "t", "c", "m", "usage_r:")
    moved = keys_of("usage_r:", "t", "c", "m")
    assert (other.suspension, other.switch) == (own.suspension, own.switch)
    assert (other.counter, other.defaults, other.marker, other.heartbeat) == (
        moved.counter, moved.defaults, moved.marker, moved.heartbeat,
    )  # fmt: skip


def test_a_refused_connection_is_answered_by_both_readers() -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"

    async def ask() -> Decision:
        async with AsyncLimitReader(url, on_unknown="fail_closed", timeout_s=5) as reader:
            return await reader.check("t", "c", "m")

    with LimitReader(url, on_unknown="fail_closed", timeout_s=5) as reader:
        decision, other = reader.check("t", "c", "m"), asyncio.run(ask())
    assert (decision.reason, decision.allowed) == (other.reason, other.allowed) == ("redis_unreachable", False)


ALONE = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] not in {'tidemark_client', 'redis', 'jwt', 'hiredis', *sys.stdlib_module_names}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
for name in 'pyflink pandas psycopg msgspec kafka duckdb pydantic jobs udfs tidemark'.split():
    try: __import__(name)
    except ImportError: continue
    raise SystemExit(name + ' can be imported')
from tidemark_client import LimitReader
print(LimitReader('redis://127.0.0.1:1/0').check('t', 'c', 'm').reason)
print(sorted(name for name in sys.modules if name.startswith('tidemark')))
"""


def test_the_reader_needs_nothing_but_redis_py() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    reason, modules = done.stdout.splitlines()
    assert reason == "redis_unreachable"
    assert re.fullmatch(r"\['tidemark_client'(, 'tidemark_client\.\w+')+\]", modules)


def test_every_reason_is_documented_with_its_answer() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (yes|no|policy) \|", DOCS.read_text(), re.MULTILINE)
    words = {True: "yes", False: "no", None: "policy"}
    assert dict(rows) == {reason: words[allows] for reason, allows in ALLOWS.items()}
    assert set(ALLOWS) == set(get_args(Reason))
