"""The schema that a run measures by: a plain identifier, and `catalog` unless another is set."""

from __future__ import annotations

import pytest

from tidemark.core.errors import UsageError
from tidemark.core.settings import load


def test_a_run_measures_by_the_present_catalog_unless_another_is_set() -> None:
    assert load().catalog.schema_name == "catalog"
    assert load(**{"catalog.schema_name": "catalog_r1"}).catalog.schema_name == "catalog_r1"


@pytest.mark.parametrize("schema", ["", "Catalog", "1st", "a-b", "a.b", 'a"; DROP', "x" * 64, "catalog\n"])
def test_the_schema_of_a_catalog_is_a_plain_identifier(schema: str) -> None:
    with pytest.raises(UsageError, match=r"catalog\.schema_name"):
        load(**{"catalog.schema_name": schema})
