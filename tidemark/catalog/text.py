"""YAML as it is written: keys and identifiers stay text, only JSON's numbers and booleans are numbers and booleans."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import yaml

# Larger exponents would make a line of zeros of a short text.
_MOST_DIGITS = 100
_TAG = "tag:yaml.org,2002:"
_OWN_RULE = {_TAG + name for name in ("timestamp", "bool", "merge", "value", "int", "float")}
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a file, and where."""

    path: str
    message: str


class Loader(yaml.SafeLoader):
    """Mappings with the faults that only the text shows in `faults`: keys given twice, text no database can store."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.faults: list[Fault] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of YAML."""
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            # A customer named 007 or NO is no number and no boolean.
            key = str(key_node.value)
            self._storable(key, key_node)
            if key in mapping:
                self._fault(key_node, f"the key {key!r} is given twice.")
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping

    def construct_text(self, node: yaml.ScalarNode) -> str:
        """A string of YAML."""
        text = str(self.construct_scalar(node))
        self._storable(text, node)
        return text

    def construct_decimal(self, node: yaml.ScalarNode) -> Decimal:
        """A number that is no whole one, exactly as written."""
        number = Decimal(str(self.construct_scalar(node)))
        if not number.is_finite() or abs(number.adjusted()) > _MOST_DIGITS:
            self._fault(node, f"{node.value} is not a number of at most {_MOST_DIGITS} digits.")
            return Decimal(0)
        return number

    def _storable(self, text: str, node: yaml.Node) -> None:
        if _UNSTORABLE.search(text):
            self._fault(node, f"{text[:40]!r} holds a NUL or half a surrogate pair, which cannot be stored.")

    def _fault(self, node: yaml.Node, message: str) -> None:
        self.faults.append(Fault(f"line {node.start_mark.line + 1}", message))


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in _OWN_RULE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_DIGITS = list("-0123456789")
# Not YAML 1.1's: 010 is no octal eight, 1_000 no thousand, 12:30:45 no number of seconds, and no is no boolean.
Loader.add_implicit_resolver(_TAG + "bool", re.compile(r"^(?:true|false)$"), list("tf"))
Loader.add_implicit_resolver(_TAG + "int", re.compile(r"^-?(?:0|[1-9][0-9]{0,99})$"), _DIGITS)
Loader.add_implicit_resolver(
    _TAG + "float", re.compile(r"^-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?$"), _DIGITS
)
Loader.add_constructor(_TAG + "float", Loader.construct_decimal)
Loader.add_constructor(_TAG + "str", Loader.construct_text)
