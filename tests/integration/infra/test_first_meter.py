"""What a newcomer types, as it stands in README and docs, and `tidemark quickstart`, on a run of this test."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from jobs.flink.rest import wait_until
from jobs.flink.submit import submit_all
from tests.integration.catalog.own_database import own_database
from tests.integration.infra.reader import Reader, code_block, figure, free_address, promised, shell_blocks
from tests.integration.serve.test_serve import serving
from tests.pipeline import HASTY, Pipeline
from tidemark.cli.main import app
from tidemark.core import migrate, postgres, redis, topics
from tidemark.core.settings import Settings

COUNTED_WITHIN_S = 120.0
# Of the README: those that follow, that start further jobs, and those whose results are of this machine.
NOT_RUN = ("tidemark serve", "tidemark alerts tail", "tidemark replay", "tidemark archive", "tidemark doctor",
           "tidemark dlq redrive", "tidemark upgrade run")  # fmt: skip
# Roles and periods of this run are not those of a deployment: 1 says what is missing.
MAY_REFUSE = ("tidemark status", "tidemark close", "tidemark reconcile")


@pytest.fixture(scope="module")
def settings(stack: Any, submitted_warm: None) -> Iterator[Settings]:  # noqa: ARG001
    """A run with a database of its own: its catalog is empty, as that of somebody who begins. Its jobs run."""
    with own_database(stack, "first") as own:
        served = {"api.listen": free_address(), "web.listen": free_address(), "web.secure_cookie": False}
        run = own.with_changes({"run_id": "first", "topics.events": "test.first", "serve.listen": "off",
                                **served, **HASTY})  # fmt: skip
        topics.apply(run)
        migrate.migrate(run)
        try:
            submit_all(run)
            yield run
        finally:
            Pipeline(run, {}).cancel()


@pytest.fixture(scope="module")
def reader(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has called `make up`."""
    folder = tmp_path_factory.mktemp("first")
    with serving(settings, "live,api,web", folder / "serve.log") as served:
        for role in ("api", "web"):
            served.wait("listening", role)
        yield Reader(settings, {"/tmp/spool": str(folder / "spool")})  # noqa: S108  what a page shows


@pytest.fixture(scope="module")
def first(reader: Reader) -> Reader:
    """The same with the catalog and the events of the first meter."""
    _, by_hand = shell_blocks("docs/first-meter.md")
    *before, usage = by_hand.splitlines()
    for command in before:
        reader.runs(command)
    wait_until(lambda: "1830" in reader.tries(usage).stdout, COUNTED_WITHIN_S, "the usage of the first events")
    cells = [line.split("│")[1].strip() for line in reader.runs(usage).splitlines() if "│" in line]
    assert {"requests", "tokens"} <= set(cells)
    return reader


def used(reader: Reader, customer: str) -> str:
    """Stored tokens of a customer, once there are any."""
    usage = json.loads(reader.tries(f"tidemark usage acme {customer} --meter tokens --json").stdout or "{}")
    return next((meter["stored"]["value"] for meter in usage.get("meters", []) if meter["stored"]), "")


def test_quickstart_says_what_to_start_where_nothing_answers(settings: Settings, tmp_path: Path) -> None:
    nowhere = Reader(settings.with_changes({"api.listen": free_address()}))
    early = nowhere.tries("tidemark quickstart --template ai-tokens", tmp_path)
    assert (early.returncode, list(tmp_path.iterdir())) == (3, [])
    assert "fix:   `tidemark up --jobs`" in early.stderr


def test_quickstart_ends_with_the_number_on_the_page(reader: Reader, tmp_path: Path) -> None:
    up, activate, begin = shell_blocks("README.md")[0].splitlines()
    assert (up.split("  ")[0], activate) == ("make up", "source .venv/bin/activate")
    # When its curl is run as it is printed, twice, then the page has the number once.
    _, command, _, page, *rest = reader.runs(begin, tmp_path).split("\n\n")
    for _ in range(2):
        assert '"accepted":1' in reader.runs(command)
    wait_until(lambda: figure(page, "tokens") == "1520", COUNTED_WITHIN_S, "the number on the page")
    assert "tidemark catalog apply quickstart.yaml" in rest[-1]
    # When it is repeated, the catalog stays, the old key still works, and the new event adds.
    again = reader.runs(begin, tmp_path).split("\n\n")
    assert "0 added, 0 changed" in reader.runs("tidemark catalog plan quickstart.yaml", tmp_path)
    assert '"accepted":1' in reader.runs(command)
    assert '"accepted":1' in reader.runs(again[1])
    wait_until(lambda: figure(again[3], "tokens") == "3040", COUNTED_WITHIN_S, "both numbers")
    keys = [line for line in reader.runs("tidemark keys list quickstart").splitlines() if line.startswith("│")]
    assert len(keys) == 2
    # Another catalog never overwrites the file, and one that cannot be applied leaves none.
    other = reader.tries("tidemark quickstart --template storage", tmp_path)
    assert (other.returncode, "quickstart.yaml is there and says something else" in other.stderr) == (2, True)
    wrong = reader.tries("tidemark quickstart --template storage --tenant $'a\\tb' --file wrong.yaml", tmp_path)
    assert (wrong.returncode, (tmp_path / "wrong.yaml").exists()) == (2, False)


@pytest.mark.drill
def test_every_beginning_is_a_catalog_whose_event_is_counted(reader: Reader, tmp_path: Path) -> None:
    expected = {"--template api-calls": ("calls", "1"), "--template storage": ("stored_peak", "250"),
                "--event-type a.b --group-by zone": ("a_b_total", "12")}  # fmt: skip
    pages = {}
    for answers, (meter, _) in expected.items():
        call = f'tidemark quickstart {answers} --tenant {meter} --customer "o\'c 7" --file {meter}.yaml'
        _, command, _, page, *_ = reader.runs(call, tmp_path).split("\n\n")
        reader.runs(command)
        pages[page] = meter
    wait_until(
        lambda: [figure(page, meter) for page, meter in pages.items()] == [value for _, value in expected.values()],
        COUNTED_WITHIN_S, "the numbers on the pages",
    )  # fmt: skip


def test_every_way_in_is_counted(first: Reader, tmp_path: Path) -> None:
    assert first.runs(shell_blocks("README.md")[-1]) == promised("README.md").strip()
    assert first.runs(*shell_blocks("docs/from-curl.md")).startswith(promised("docs/from-curl.md").strip())
    (recorder,) = shell_blocks("docs/recorder.md")
    assert "error" not in first.runs(recorder)
    (kafka,) = shell_blocks("docs/from-kafka.md")
    first.runs(kafka.splitlines()[0])
    names: dict[str, Any] = {}
    key = json.loads(first.runs("tidemark keys create acme --scope admin --json"))["key"]
    topic = first.settings.topics.events
    here = {"tmk_…": key, "127.0.0.1:9092": first.settings.kafka.bootstrap, "/var/lib/checkout/tidemark": str(tmp_path),
            'tenant="acme"),': f'tenant="acme", topic="{topic}"),'}  # fmt: skip
    by = Reader(first.settings, here)
    for page in ("docs/from-kafka.md", "docs/from-openmeter.md"):
        exec(by.placed(code_block(page, "python")), names)  # noqa: S102
    assert names["client"].close()
    everything = {"c-7": "1847", "c-8": "42", "c-9": "42", "c-10": "50"}
    wait_until(lambda: {name: used(first, name) for name in everything} == everything, COUNTED_WITHIN_S, "all of it")
    asked = names["openmeter"].meters.query_json("tokens", subject=["c-9"]).data
    assert [row.value for row in asked] == [42]


def test_the_commands_of_the_readme_run(first: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in first.settings.environment().items():
        monkeypatch.setenv(name, value)
    events = tmp_path / "events.ndjson"
    events.write_text(first.runs("python docs/first-meter/send.py"))
    _, redis_block, commands, _ = shell_blocks("README.md")
    month = f"{datetime.now(UTC):%Y-%m}"
    here = {
        "FILE.ndjson": str(events), "FILE": "docs/first-meter/catalog.yaml", "EVENT_ID": "e-1",
        "JFK B6": "acme c-7", "JFK flights": "acme requests", "LGA DL flights 2013-03": f"acme c-7 requests {month}",
    }  # fmt: skip
    by = Reader(first.settings, here)
    for line in commands.splitlines():
        if not line.startswith(NOT_RUN):
            words = by.placed(line.partition("  #")[0]).split()
            done = CliRunner().invoke(app, words[1:])
            assert done.exit_code in ({0, 1} if line.startswith(MAY_REFUSE) else {0}), f"{line}: {done.output}"
    with redis.client(first.settings.redis) as live:
        command, _ = redis_block.split(maxsplit=1)
        assert live.execute_command(command, f"{first.settings.names.redis_prefix}{{acme/c-7}}:requests")
    names = first.settings.names
    own = {"report.": f'"{names.report_schema}".', "billing.": f'"{names.billing_schema}".'}
    queries = re.sub("|".join(map(re.escape, own)), lambda match: own[match[0]], code_block("README.md", "sql"))
    with postgres.connect(first.settings.postgres) as db:
        db.execute(queries.encode())
