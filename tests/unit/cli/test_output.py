"""What commands print: ids as they are, a row on a line, nothing cut; and that there is no other way to print."""

from __future__ import annotations

import ast
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from tidemark.cli import output
from tidemark.cli.main import app
from tidemark.core import terminal

ROOT = Path(__file__).parents[3]
HOSTILE = {
    "\n": r"\n", "\r": r"\r", "\t": r"\t", "\x1b[31m": r"\x1b[31m", "\x07": r"\x07", "\x7f": r"\x7f",
    "\x85": r"\x85", "\x9b": r"\x9b", "\u2028": r"\u2028", "\u2029": r"\u2029", "\u202e": r"\u202e",
    "\u2066": r"\u2066", "\u200f": r"\u200f", "\u061c": r"\u061c", "\ud800": r"\ud800",
}  # fmt: skip
PLAIN = ("org:id:42", "[eu]c-7", "team[/prod]", "[red]", ":100:", "a\\nb", "é", "日本", "👩\u200d💻", "\u00a0")


def shown(capsys: pytest.CaptureFixture[str], text: object) -> str:
    output.emit({}, text, as_json=False)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", PLAIN)
def test_a_name_is_shown_as_it_is_wherever_it_stands(capsys, name):
    table = output.Table("customer", name, title=f"of {name}", caption=f"by {name}")
    table.add_row(name, "1")
    text = shown(capsys, output.Group(table, output.one_line(name)))
    assert text.count(name) == 5
    assert shown(capsys, name) == f"{name}\n"


@pytest.mark.parametrize(("raw", "escaped"), HOSTILE.items(), ids=HOSTILE.values())
def test_control_characters_are_escaped_in_every_kind_of_text(capsys, raw, escaped):
    name = f"c{raw}-7"
    table = output.Table("customer", name, title=name, caption=name)
    table.add_row(name, "1")
    text = shown(capsys, output.Group(table, output.one_line(name)))
    assert text.count(f"c{escaped}-7") == 5
    assert len(text.splitlines()) == 8  # title, a table of one row, caption, line
    assert shown(capsys, [name, "next"]) == f"c{escaped}-7\nnext\n"
    output.put(name)
    output.say(name.replace("\n", r"\n"))
    assert capsys.readouterr() == (f"c{escaped}-7\n",) * 2


@given(st.text())
def test_a_line_holds_no_line_end_and_nothing_but_control_characters_changes(text):
    line = output.printable(text)
    assert line.splitlines() in ([line], [])
    kept = "".join(c for c in text if output.printable(c) == c)
    assert output.printable(kept) == kept


@given(st.text())
def test_a_json_document_says_the_same_with_its_control_characters_escaped(text):
    document = output.as_document({"id": text})
    assert json.loads(document) == {"id": text}
    assert output.printable(document) == document


def test_a_table_is_not_cut_or_folded_off_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(terminal.console, "_width", 40)
    table = output.Table("event", "detail")
    table.add_row("e" * 300, "d" * 5_000)
    row = next(line for line in shown(capsys, table).splitlines() if "eee" in line)
    assert "e" * 300 in row
    assert "d" * 5_000 in row


def test_a_table_folds_on_a_narrow_terminal_and_loses_nothing(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(terminal.console, "_width", 40)
    # Its property would give it today's stdout for good when that is undone.
    monkeypatch.setattr(terminal.console, "_file", Terminal())
    table = output.Table("event", "detail")
    table.add_row("e" * 60, "d" * 60)
    output.draw(table)
    text = terminal.console.file.getvalue()
    assert max(map(len, text.splitlines())) <= 40 + len("\x1b[1m\x1b[0m") * 4
    assert (text.count("e"), text.count("d")) == (60 + 3, 60 + 1)
    assert "…" not in text


def dry_run(tmp_path: Path, group: str, events: list[dict[str, object]]) -> list[str]:
    meter = {"event_types": "call", "aggregation": "count", "unit": "u", "group_by": [group]}
    (tmp_path / "catalog.yaml").write_text(json.dumps({"tenants": {"acme": {"meters": {"n": meter}}}}))
    common = {"tenant_id": "acme", "event_type": "call", "timestamp": "2026-03-01T12:00:00Z"}
    lines = [json.dumps({"event_id": str(n), **common, **event}) for n, event in enumerate(events)]
    (tmp_path / "events.ndjson").write_text("\n".join(lines))
    words = ["dry-run", "--catalog", str(tmp_path / "catalog.yaml"), "--events", str(tmp_path / "events.ndjson")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_a_dry_run_prints_ids_with_colons_as_they_are(tmp_path):
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod"
    lines = dry_run(
        tmp_path,
        "route",
        [
            {"customer_id": arn, "properties": {"route": "svc:key:get"}},
            {"customer_id": "org:id:42", "properties": {"route": "a:100:b"}},
        ],
    )
    assert [line.split("  ")[0] for line in lines[1:3]] == [f"acme/{arn}", "acme/org:id:42"]
    assert "n route=svc:key:get" in lines[1]
    assert "n route=a:100:b" in lines[2]


def test_a_dry_run_prints_a_group_that_holds_a_row_of_its_own_on_one_line(tmp_path):
    forged = "eu\nacme/vip  n region=us  2026-03-01T00:00:00Z - 2026-04-01T00:00:00Z  999999  u"
    lines = dry_run(
        tmp_path,
        "region",
        [
            {"customer_id": "c-1", "properties": {"region": forged}},
            {"customer_id": "c-1", "properties": {"region": "\x1b[31mred"}},
        ],
    )
    rows = lines[1 : lines.index("")]
    assert len(rows) == 2
    assert all(row.startswith("acme/c-1  ") for row in rows)
    assert any(r"region=\x1b[31mred" in row for row in rows)
    assert any(forged.replace("\n", r"\n") in row for row in rows)


def _prints(tree: ast.AST) -> list[str]:
    """Ways around `tidemark.core.terminal` in a module."""
    result = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich":
            result += [f"{node.module}.{name.name}" for name in node.names]
        elif isinstance(node, ast.Import):
            result += [name.name for name in node.names if name.name.split(".")[0] == "rich"]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in {"print", "typer.echo", "typer.secho", "click.echo", "sys.stdout.write", "console.print"}:
                result.append(called)
    return result


def test_there_is_one_way_to_print():
    # What moves is drawn on the console of progress, and a plain table needs the width of a text.
    allowed = {"rich.progress", "rich.live", "rich.cells"}
    sources = [path for top in ("tidemark", "jobs", "infra", "udfs", "sdk") for path in ROOT.glob(f"{top}/**/*.py")]
    result = {
        str(path.relative_to(ROOT)): [way for way in ways if way.rpartition(".")[0] not in allowed]
        for path in sources
        if (ways := _prints(ast.parse(path.read_text(encoding="utf-8")))) and path != Path(terminal.__file__)
    }
    # It is called by the script that starts Flink, not by a person.
    assert result.pop("infra/local/flink_conf.py") == ["sys.stdout.write"]
    assert {path: ways for path, ways in result.items() if ways} == {}


def test_a_way_around_is_seen():
    text = "import rich\nfrom rich.table import Table\nprint(1)\ntyper.echo('x')"
    assert _prints(ast.parse(text)) == ["rich", "rich.table.Table", "print", "typer.echo"]
