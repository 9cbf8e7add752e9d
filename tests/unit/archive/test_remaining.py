"""How an id stands in what an erasure searches."""

from __future__ import annotations

import json

import pytest

from tidemark.archive.remaining import written


@pytest.mark.parametrize("customer", ["c-1", 'a"b', "a\\b", "ü/ä", "a%b_c"])
def test_an_id_is_found_in_texts_documents_and_bytes_of_a_row_as_json(customer: str) -> None:
    rows = (
        {"note": f"of {customer}."},
        {"body": {"data": {"customer_id": customer}}},
        {"payload": json.dumps({"customer_id": customer}, ensure_ascii=False)},
    )
    for row in rows:
        assert any(one in json.dumps(row, ensure_ascii=False) for one in written(customer)), row
    plain = {"raw": f"\\x{customer.encode().hex()}"}
    assert any(one in json.dumps(plain) for one in written(customer))
