"""Small streams for the tests of the oracle: events as bytes, instants, and an oracle over them."""

import json
from datetime import UTC, datetime
from decimal import Decimal

from tidemark.oracle.oracle import Oracle

ARRIVAL = "2013-03-10T12:00:00"
NOON = "2013-03-10T09:00:00Z"


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def millis(text):
    return int(at(text).timestamp() * 1000)


def event(event_id, when=NOON, quantity="1", customer="c", **more):
    """A native event of type `use`; the quantity is JSON text, None leaves it out."""
    fields = {"event_id": event_id, "tenant_id": "t", "customer_id": customer, "event_type": "use", **more}
    tail = "" if quantity is None else f', "quantity": {quantity}'
    return (json.dumps(fields)[:-1] + f', "timestamp": "{when}"{tail}}}').encode()


def void(event_id, when=NOON, quantity="1", **more):
    """An event that takes back the event of that id, and has an id of its own."""
    return event(f"void of {event_id}", when, quantity, voids=event_id, **more)


def cloud(event_id="1", **changed):
    """A CloudEvent of type `use`; a value of None leaves an attribute out."""
    attributes = {
        "specversion": "1.0", "id": event_id, "source": "/s", "subject": "c", "type": "use", "tenantid": "t",
        "time": NOON, "data": {"quantity": 2, "colour": "red"},
    } | changed  # fmt: skip
    return json.dumps({name: value for name, value in attributes.items() if value is not None}).encode()


def catalog_of(**meters):
    """Tenants `t` and `other` with meters of type `use`, each given by what is special about it."""
    return {
        "tenants": {"t": None, "other": None},
        "meters": {name: {"event_types": "use", "unit": "u", **meter} for name, meter in meters.items()},
    }


def oracle_of(catalog, *values, arrival=ARRIVAL, rules=None):
    """All in partition 0, in order, and arrived at once."""
    arrival_ms = millis(arrival)
    return Oracle(catalog, [(0, offset, arrival_ms, value) for offset, value in enumerate(values)], rules)


def parts(oracle, relation="usage_period"):
    """Part, n, samples, total, lo, hi and latest of each row, numbers as plain text."""
    columns = "part, n, samples, total, lo, hi, latest"
    rows = oracle.db.execute(f"SELECT {columns} FROM {relation} ORDER BY ALL").fetchall()
    return [tuple(map(plain, row)) for row in rows]


def values(oracle, relation="value_period"):
    oracle.build_values()
    query = f"SELECT meter, value FROM {relation} ORDER BY ALL"
    return {meter: plain(value) for meter, value in oracle.db.execute(query).fetchall()}


def plain(value):
    """Decimals as text without trailing zeros; everything else as it is."""
    if not isinstance(value, Decimal):
        return value
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
