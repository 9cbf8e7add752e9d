"""Property paths as columns: the type and the text of each are looked up once in the JSON of an event."""

from __future__ import annotations

import re

from tidemark.core.errors import UsageError

# Fields of the event, in the order of `own_types` and `own_texts` of `amounted.sql`.
_OWN = (
    "event_id", "tenant_id", "customer_id", "event_type", "timestamp", "quantity", "source", "resource_id", "user_id",
    "session_id", "region",
)  # fmt: skip
_JSON_PATH = re.compile(r"""\$(?:\.[^.\[\]'"]+|\['[^']+'\]|\["[^"]+"\])+""")
_STEP = re.compile(r"""\.([^.\[\]'"]+)|\['([^']+)'\]|\["([^"]+)"\]""")
_PREFIX = "properties."


def quoted(text: str) -> str:
    """An SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def chains_of(path: str) -> list[list[str]]:
    """Chains of nested property names that a path may mean; the first chain that exists is used.

    Raises
    ------
    UsageError
        It is a JSONPath with anything but names.

    """
    if path.startswith(("$.", "$[")):
        if not _JSON_PATH.fullmatch(path):
            raise UsageError(f"the oracle does not know the path {path}.", "write names: $.a.b or $['a.b'].")
        return [["".join(groups) for groups in _STEP.findall(path)]]
    name = path.removeprefix(_PREFIX)
    return [[name], name.split(".")] if "." in name else [[name]]


class Paths:
    """The paths in use; each gets columns p0_kind, p0_text, p1_kind, ... of the table `looked_up`.

    What is computed from them (`computed`) is a column c0, c1, ... of it too: the macros for numbers are long, and a
    statement that repeats them in each of its meters takes DuckDB many seconds to plan.

    A path means the property of that name; if it has dots and there is no such property, objects inside objects; if
    there are neither, the event's own field of that name. A path that starts with `properties.`, or a JSONPath, never
    means a field. A null counts as missing.
    """

    def __init__(self) -> None:
        self._columns: dict[str, str] = {}
        self._pointers: dict[str, int] = {}
        self._parts: dict[str, str] = {}
        self._computed: dict[str, str] = {}

    def kind(self, path: str) -> str:
        """Column of the JSON type, NULL when missing."""
        return f"{self._column(path)}_kind"

    def text(self, path: str) -> str:
        """Column of the text: strings as they are, numbers and booleans as written; NULL when missing."""
        return f"{self._column(path)}_text"

    def group_text(self, path: str) -> str:
        """SQL of the text that a value is grouped by, one for all equal numbers; NULL when missing."""
        kind, text = self.kind(path), self.text(path)
        return self.computed(f"group_text({kind}, {text}, {self.parts(text)})")

    def is_number(self, path: str) -> str:
        """SQL of whether it is a JSON number; NULL when missing."""
        return f"{self.kind(path)} IN ('BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE')"

    def scalar(self, path: str) -> str:
        """Text of a value that is neither object nor array; else NULL."""
        return f"CASE WHEN {self.kind(path)} NOT IN ('OBJECT', 'ARRAY') THEN {self.text(path)} END"

    def number(self, path: str) -> str:
        """Key that orders numbers and numeric texts; else NULL."""
        return self.computed(f"number_key({self.scalar(path)}, {self.parts(self.text(path))})")

    def computed(self, expression: str) -> str:
        """Column of an expression over the columns of `looked_up`, computed once an event."""
        return self._computed.setdefault(expression, f"c{len(self._computed)}")

    def parts(self, text: str) -> str:
        """Column of the parts of a number in a column of texts, which most of the macros for numbers take."""
        return self._parts.setdefault(text, f"{text}_parts")

    def statement(self) -> str:
        """SQL of the table `looked_up`: the placed events with the columns of all paths."""
        # Step 1: names come first, because they may register pointers.
        selected = ["* EXCLUDE (own_types, own_texts" + (", kinds, texts)" if self._columns else ")")]
        for path, column in self._columns.items():
            kind, text = self._looked_up(path)
            selected.append(f"nullif({kind}, 'NULL') AS {column}_kind")
            selected.append(f"CASE WHEN {kind} <> 'NULL' THEN {text} END AS {column}_text")
        # Step 2: the JSON is read once for all pointers.
        lists = ""
        if self._columns:
            kinds, texts = (self._extracted(call) for call in ("json_type(body", "json_extract_string(numbered"))
            lists = f", {kinds} AS kinds, {texts} AS texts"
        # Step 3: parts of numbers, and step 4: what is computed from them.
        parts = "".join(f", number_parts({text}) AS {column}" for text, column in self._parts.items())
        computed = "".join(f", {expression} AS {column}" for expression, column in self._computed.items())
        return f"""CREATE TABLE looked_up AS
WITH extracted AS (
    SELECT a.* EXCLUDE (value, body, numbered, outcome), p.* EXCLUDE (partition, "offset", outcome){lists}
    FROM amounted AS a
    JOIN placed AS p USING (partition, "offset")
    WHERE p.outcome IS NULL
),
found AS (SELECT {", ".join(selected)} FROM extracted),
divided AS MATERIALIZED (SELECT *{parts} FROM found)
SELECT *{computed} FROM divided"""

    def _column(self, path: str) -> str:
        return self._columns.setdefault(path, f"p{len(self._columns)}")

    def _extracted(self, call: str) -> str:
        """A list with one element per pointer, from the properties of either form of event."""
        lists = [
            f"{call}, [{', '.join(quoted(root + pointer) for pointer in self._pointers)}])"
            for root in ("/data", "/properties")
        ]
        return f"CASE WHEN is_cloud THEN {lists[0]} ELSE {lists[1]} END"

    def _pointer(self, names: list[str]) -> int:
        """Index of a JSON pointer in the lists, from 1."""
        pointer = "".join("/" + name.replace("~", "~0").replace("/", "~1") for name in names)
        return self._pointers.setdefault(pointer, len(self._pointers) + 1)

    def _looked_up(self, path: str) -> tuple[str, str]:
        """SQL of type and text of a path, by the first of its meanings that exists."""
        cases = []
        for names in chains_of(path):
            objects = [f"kinds[{self._pointer(names[:size])}] = 'OBJECT'" for size in range(1, len(names))]
            inner = self._pointer(names)
            there = " AND ".join([*objects, f"kinds[{inner}] IS NOT NULL"])
            cases.append((there, f"kinds[{inner}]", f"texts[{inner}]"))
        if path in _OWN:
            own = _OWN.index(path) + 1
            cases.append((f"own_types[{own}] IS NOT NULL", f"own_types[{own}]", f"own_texts[{own}]"))
        kind, text = (" ".join(f"WHEN {case[0]} THEN {case[i]}" for case in cases) for i in (1, 2))
        return f"(CASE {kind} END)", f"(CASE {text} END)"
