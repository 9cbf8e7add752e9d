"""Results as JSON: the only source of every figure on docs/benchmarks.md and docs/scaling.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jsonschema import Draft202012Validator

from tests.bench.report.quantities import QUANTITIES
from tests.bench.report.stats import Spread

FOLDER = Path(__file__).parents[1] / "results"
Status = Literal["ok", "not equal", "did not finish", "failed", "not run"]
_NAME = {"type": "string", "minLength": 1}
_FIGURE = {
    "type": "object", "additionalProperties": False, "required": ["subject", "quantity", "values"],
    "properties": {
        "subject": _NAME, "quantity": {"enum": list(QUANTITIES)},
        "values": {"type": "array", "minItems": 1, "items": {"type": "number"}},
    },
}  # fmt: skip
_MADE_FROM = {"commit": {"type": "string", "pattern": "^[0-9a-f]{7,40}$"}, "changed": {"type": "boolean"}}
_MEASURED = {
    "type": "object", "additionalProperties": False,
    "required": ["status", "detail", "commit", "changed", "load_before", "figures"],
    "properties": {
        **_MADE_FROM,
        "status": {"enum": ["ok", "not equal", "did not finish", "failed", "not run"]}, "detail": {"type": "string"},
        "load_before": {"type": "number"}, "figures": {"type": "array", "items": _FIGURE},
    },
    # A figure is what was equal to the oracle; anything else has none.
    "if": {"properties": {"status": {"const": "ok"}}}, "else": {"properties": {"figures": {"maxItems": 0}}},
}  # fmt: skip
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object", "additionalProperties": False,
    "required": ["version", "mode", "commit", "changed", "started_at", "seconds", "machine", "versions", "measures"],
    "properties": {
        "version": {"const": 2}, "mode": {"enum": ["quick", "full"]},
        **_MADE_FROM,
        "started_at": _NAME, "seconds": {"type": "number"},
        "machine": {
            "type": "object", "additionalProperties": False,
            "required": ["cores", "memory_gib", "kernel", "cpu", "load_before"],
            "properties": {
                "cores": {"type": "integer"}, "memory_gib": {"type": "number"}, "kernel": {"type": "string"},
                "cpu": {"type": "string"}, "load_before": {"type": "number"},
            },
        },
        "versions": {"type": "object", "additionalProperties": {"type": "string"}},
        "measures": {"type": "object", "additionalProperties": _MEASURED},
    },
}  # fmt: skip

# Subject and quantity.
Key = tuple[str, str]


@dataclass(slots=True)
class Found:
    """What one measure found: values by figure, in the order they were measured.

    Parameters
    ----------
    commit, changed:
        What was measured: each has its own, since `--only` leaves the others as they are.
    """

    status: Status = "ok"
    detail: str = ""
    commit: str = ""
    changed: bool = False
    load_before: float = 0.0
    figures: dict[Key, list[float]] = field(default_factory=dict)

    def add(self, subject: str, **values: float) -> None:
        """One run more of some figures of a subject."""
        for quantity, value in values.items():
            self.figures.setdefault((subject, quantity), []).append(round(value, 4))

    def add_all(self, other: Found) -> None:
        """All runs of another."""
        for key, values in other.figures.items():
            self.figures.setdefault(key, []).extend(values)

    def spread(self, subject: str, quantity: str) -> Spread | None:
        """The runs of a figure, or None."""
        values = self.figures.get((subject, quantity))
        return Spread(tuple(values)) if values else None

    def document(self) -> dict[str, Any]:
        """As JSON; what is not ok keeps no figures."""
        figures = [
            {"subject": subject, "quantity": quantity, "values": values}
            for (subject, quantity), values in self.figures.items()
        ]
        return {
            "status": self.status, "detail": self.detail, "commit": self.commit, "changed": self.changed,
            "load_before": self.load_before,
            "figures": figures if self.status == "ok" else [],
        }  # fmt: skip

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Found:
        """From JSON."""
        figures = {(row["subject"], row["quantity"]): list(row["values"]) for row in document["figures"]}
        about = {name: document[name] for name in ("status", "detail", "commit", "changed", "load_before")}
        return cls(**about, figures=figures)


@dataclass(slots=True)
class Results:
    """What each measure found, in one session or, some of them, in earlier ones; where and when the last one was."""

    head: dict[str, Any]
    measures: dict[str, Found] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As JSON.

        Raises
        ------
        jsonschema.ValidationError
            It is not of the schema.
        """
        document = {**self.head, "measures": {name: found.document() for name, found in self.measures.items()}}
        Draft202012Validator(SCHEMA).validate(document)
        return document

    def write(self, folder: Path = FOLDER) -> Path:
        """Write MODE.json, whole or not at all."""
        target = folder / f"{self.head['mode']}.json"
        temporary = target.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
        temporary.replace(target)
        return target


def read(file: Path) -> Results:
    """Read results; raises jsonschema.ValidationError."""
    document = json.loads(file.read_text(encoding="utf-8"))
    Draft202012Validator(SCHEMA).validate(document)
    measures = {name: Found.of(found) for name, found in document.pop("measures").items()}
    return Results(document, measures)


def stored(folder: Path = FOLDER) -> list[Results]:
    """All results of the repository: full ones first."""
    files: Iterable[Path] = (folder / f"{mode}.json" for mode in ("full", "quick"))
    return [read(file) for file in files if file.is_file()]


def newest(results: Iterable[Results], measure: str) -> tuple[Results, Found] | None:
    """What was found of a measure: in a full run, or else in a quick one."""
    for result in results:
        found = result.measures.get(measure)
        if found is not None and found.status != "not run":
            return result, found
    return None
