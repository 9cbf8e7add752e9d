"""How tools and Flink's REST interface prove to each other who they are."""

from __future__ import annotations

from typing import Any

from tidemark.core.settings import FlinkSettings


def request_options(flink: FlinkSettings) -> dict[str, Any]:
    """Certificates as `requests` takes them: whom to trust, and our own for an interface that asks for one."""
    options: dict[str, Any] = {}
    if flink.rest_ca_file is not None:
        options["verify"] = str(flink.rest_ca_file)
    if flink.rest_cert_file is not None and flink.rest_key_file is not None:
        options["cert"] = (str(flink.rest_cert_file), str(flink.rest_key_file))
    return options
