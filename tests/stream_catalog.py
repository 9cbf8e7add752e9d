"""The catalog of the seeded stream: every kind of calendar, aggregation, filter and value."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.stream_events import SOURCES

# Local times in London, GMT until 31 March: events of its customer before and after have no period.
RETAIL_BOUNDARIES = ("2024-03-01", "2024-03-29", "2024-04-05T06:00:00")
RETAIL_MS = (1_709_251_200_000, 1_712_293_200_000)
RETAIL_CUSTOMER = "ivan"

# Those of the stream, and none.
_SOURCES = ["", *SOURCES]
EIGHT = ["region", "zone", "plan", "host.name", "http.method", "app", "build", "team"]

CATALOG: dict[str, Any] = {
    "calendars": {
        "utc-month": {"anchor": "2024-01-01T00:00:00", "interval": "P1M", "timezone": "Etc/UTC"},
        "new-york-31st": {"anchor": "2023-12-31T00:00:00", "interval": "P1M", "timezone": "America/New_York"},
        "berlin-30th": {"anchor": "2023-12-30T02:30:00", "interval": "P1M", "timezone": "Europe/Berlin"},
        "new-york-skipped": {"anchor": "2024-02-10T02:30:00", "interval": "P1M", "timezone": "America/New_York"},
        "tokyo-quarter": {"anchor": "2024-01-01T00:00:00", "interval": "P3M", "timezone": "Asia/Tokyo"},
        "honolulu-year": {"anchor": "2020-02-29T00:00:00", "interval": "P1Y", "timezone": "Pacific/Honolulu"},
        "sydney-week": {"anchor": "2024-01-01T00:00:00", "interval": "P1W", "timezone": "Australia/Sydney"},
        "kolkata-days": {"anchor": "2024-01-01T00:00:00", "interval": "P10D", "timezone": "Asia/Kolkata"},
        "paris-weeks": {"interval": "P1W", "timezone": "Europe/Paris"},
        "retail": {"boundaries": [*RETAIL_BOUNDARIES], "timezone": "Europe/London"},
    },
    "tenants": {
        "acme": {
            "calendar": "new-york-31st",
            "sources": _SOURCES,
            "customers": {
                "alice": {"calendar": "new-york-31st", "plan": "pro"},
                "bob": {"calendar": "berlin-30th", "limits": {"gigabytes": {"cap": 50, "mode": "hard"}}},
                "carol": {"calendar": "tokyo-quarter"},
                "dave": {"calendar": "new-york-skipped"},
                "erin/ä %41 {x}:y": {"calendar": "honolulu-year"},
            },
            # Voids and refunds take totals back below them.
            "limits": {
                "calls": {"cap": 100, "thresholds": ["50%", 77, {"every": 40}]},
                "refunds": {"cap": "12.5", "mode": "hard", "thresholds": ["0.000000001"]},
            },
            "plans": {
                "pro": {"limits": {"calls": {"cap": 1_000, "mode": "hard", "thresholds": ["12.5%", {"every": "5%"}]}}},
            },
            "meters": {
                "refunds": {"event_types": ["refund"], "aggregation": "sum", "unit": "EUR", "allow_negative": True},
            },
        },
        "globex": {
            "calendar": "sydney-week",
            "sources": _SOURCES,
            "limits": {"visitors": {"cap": 10, "thresholds": ["20%", {"every": 4}]}, "tokens": {"cap": 0}},
            "customers": {
                "frank": {"calendar": "kolkata-days"}, "grace": {"calendar": "utc-month"}, "heidi": None,
                "judy": {"calendar": "paris-weeks"}, RETAIL_CUSTOMER: {"calendar": "retail"},
            },
            "meters": {
                "tokens": {"event_types": ["completion"], "aggregation": "sum", "unit": "t", "group_by": ["model"]},
                # Hides the common one: only what is sent as a property, never the event's own field.
                "visitors": {
                    "event_types": ["request"], "aggregation": "unique", "unit": "users",
                    "value": "user.id", "on_missing": "skip", "filter": {"property": "http.status", "lt": 500},
                },
            },
        },
        "initech": {"sources": _SOURCES},
    },
    "meters": {
        "calls": {"event_types": ["call", "completion"], "aggregation": "count", "unit": "calls"},
        "tokens": {
            "event_types": ["completion"], "aggregation": "sum", "unit": "tokens", "group_by": ["region", "model"],
        },
        # Fields of the event itself, in all its forms.
        "origins": {
            "event_types": ["call", "transfer"], "aggregation": "count", "unit": "events",
            "group_by": ["source", "event_type"], "filter": {"property": "quantity", "gte": "0.3"},
        },
        "gigabytes": {"event_types": "transfer", "aggregation": "sum", "unit": "GB"},
        # Requests.
        "requests": {
            "event_types": "request", "aggregation": "count", "unit": "requests", "group_by": ["http.method"],
        },
        "errors": {
            "event_types": "request", "aggregation": "count", "unit": "requests",
            "filter": {"any": [
                {"property": "http.status", "gte": 500},
                {"all": [{"property": "http.status", "in": [408, 429]}, {"property": "retried", "eq": True}]},
            ]},
        },
        "latency": {
            "event_types": "request", "aggregation": "percentile", "unit": "ms", "value": "latency",
            "on_missing": "skip",
        },
        "latency_mean": {
            "event_types": "request", "aggregation": "avg", "unit": "ms", "value": "latency", "on_missing": "skip",
            "group_by": ["region"],
        },
        "latency_least": {
            "event_types": "request", "aggregation": "min", "unit": "ms", "value": "latency", "on_missing": "skip",
        },
        "latency_most": {
            "event_types": "request", "aggregation": "max", "unit": "ms", "value": "latency", "on_missing": "skip",
        },
        "visitors": {
            "event_types": "request", "aggregation": "unique", "unit": "users", "value": "user_id",
            "on_missing": "skip", "group_by": ["plan"],
        },
        "detailed": {
            "event_types": "request", "aggregation": "count", "unit": "requests", "group_by": EIGHT,
            "filter": {"property": "team", "exists": True},
        },
        # Levels.
        "disk": {
            "event_types": "resize", "aggregation": "weighted_sum", "unit": "GB-hours", "group_by": ["volume"],
            "per": "hour",
        },
        "cores": {
            "event_types": "resize", "aggregation": "weighted_sum", "unit": "core-seconds", "value": "cores",
            "on_missing": "skip", "per": "second",
        },
        # Refuses events that the levels take.
        "iops": {"event_types": "resize", "aggregation": "sum", "unit": "operations", "value": "iops"},
        # Readings.
        "seats": {
            "event_types": "reading", "aggregation": "latest", "unit": "seats", "value": "seats",
            "on_missing": "reject", "precision": "exact",
        },
        "celsius": {
            "event_types": "reading", "aggregation": "percentile", "unit": "C", "value": "sensor.celsius",
            "on_missing": "skip", "allow_negative": True,
        },
        "celsius_last": {
            "event_types": "reading", "aggregation": "latest", "unit": "C", "value": "sensor.celsius",
            "on_missing": "skip", "allow_negative": True, "group_by": ["resource_id"],
        },
        "celsius_mean": {
            "event_types": "reading", "aggregation": "avg", "unit": "C", "value": "sensor.celsius",
            "on_missing": "skip", "allow_negative": True,
        },
        "celsius_least": {
            "event_types": "reading", "aggregation": "min", "unit": "C", "value": "sensor.celsius",
            "on_missing": "skip", "allow_negative": True,
        },
        "celsius_most": {
            "event_types": "reading", "aggregation": "max", "unit": "C", "value": "sensor.celsius",
            "on_missing": "skip", "allow_negative": True,
        },
        # Jobs: only what is done and cost something is measured.
        "jobs_done": {
            "event_types": "job", "aggregation": "count", "unit": "jobs",
            "filter": {"all": [
                {"property": "state", "eq": "done"}, {"property": "priority", "gt": 2},
                {"property": "priority", "lte": 5}, {"property": "test", "ne": True},
            ]},
        },
        "job_cost": {
            "event_types": "job", "aggregation": "sum", "unit": "EUR", "value": "cost", "on_missing": "skip",
            "filter": {"property": "state", "in": ["done", "failed"]},
        },
    },
}  # fmt: skip

# The last of each tenant is not in the catalog: it is counted on the tenant's calendar.
CUSTOMERS = {
    "acme": [*CATALOG["tenants"]["acme"]["customers"], "walk-in"],
    "globex": [*CATALOG["tenants"]["globex"]["customers"], "walk-in"],
    "initech": ["peter", "samir"],
}


def _moved() -> dict[str, Any]:
    """The catalog later: a customer has moved, a tenant's default too, a calendar is another, a meter is finer."""
    later = deepcopy(CATALOG)
    later["tenants"]["acme"]["customers"]["alice"] = {"calendar": "berlin-30th"}
    later["tenants"]["globex"]["calendar"] = "paris-weeks"
    later["calendars"]["kolkata-days"]["interval"] = "P7D"
    later["meters"]["requests"]["group_by"] = ["http.method", "region"]
    return later


# Versions of the catalog in the order they are applied; each holds from an event time on.
HISTORY: list[dict[str, Any]] = [
    {"valid_from": "beginning", "catalog": CATALOG},
    {"valid_from": "2024-03-17T12:34:00Z", "catalog": _moved()},
]
