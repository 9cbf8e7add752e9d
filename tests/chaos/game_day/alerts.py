"""What fires in Prometheus."""

from __future__ import annotations

from typing import Any

import requests

# Name of the alert, and its labels.
Firing = frozenset[tuple[str, str]]


def firing(url: str) -> set[Firing]:
    """Alerts that fire now, each as its labels."""
    answer = requests.get(f"{url}/api/v1/alerts", timeout=10)
    answer.raise_for_status()
    return of_answer(answer.json())


def of_answer(answer: dict[str, Any]) -> set[Firing]:
    """The same of an answer of Prometheus; one that is pending does not fire."""
    return {frozenset(one["labels"].items()) for one in answer["data"]["alerts"] if one["state"] == "firing"}


def is_of(alert: Firing, name: str, about: str) -> bool:
    """Whether it is an alert of this name about a job or role; without one, of any."""
    labels = dict(alert)
    return labels["alertname"] == name and (not about or about in labels.values())
