"""What requests and answers look like, for the OpenAPI document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tidemark.api.admission import FOREIGN_TENANT
from tidemark.api.body import CLOUDEVENT, CLOUDEVENTS, JSON, MAX_EVENTS, NDJSON
from tidemark.api.problem import MEDIA_TYPE
from udfs.events.reasons import Reason

_REASONS: list[JsonValue] = [*map(str, Reason), FOREIGN_TENANT]


class EventOutcome(BaseModel):
    """What became of one event of a request."""

    index: int = Field(ge=0, description="Its place in the request.")
    id: str | None = Field(description="Its id as sent; null where it cannot be read.")
    status: Literal["accepted", "rejected"]
    reason: str | None = Field(
        None, description="Why it is rejected.", json_schema_extra={"examples": _REASONS, "x-open-enum": True}
    )
    detail: str | None = Field(None, description="The same in words, with the value against its limit.")


class EventsAnswer(BaseModel):
    """Outcome of a request of which at least one event is accepted."""

    accepted: int = Field(ge=0, description="Events that the brokers have.")
    rejected: int = Field(ge=0, description="Events that were not kept.")
    events: list[EventOutcome] = Field(description="One for each event, in their order.")


class ProblemAnswer(BaseModel):
    """A refusal, as RFC 9457 has it; members that are not listed may be there."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="`about:blank`: the title is that of the status.")
    title: str
    status: int = Field(ge=400, le=599)
    code: str = Field(description="What is wrong, for programs.")
    detail: str = Field(description="What is wrong, the value against the limit, and what to do.")


class AllRejected(ProblemAnswer):
    """No event of a request is accepted."""

    accepted: int | None = None
    rejected: int | None = None
    events: list[EventOutcome] | None = Field(None, description="One for each event, in their order.")


class NativeEvent(BaseModel):
    """A native event; docs/events.md has all rules."""

    model_config = ConfigDict(extra="allow")

    event_id: str = Field(min_length=1)
    tenant_id: str = Field("", description="Absent: the tenant of the key.")
    customer_id: str = Field(min_length=1)
    event_type: str = Field(min_length=1)
    timestamp: str = Field(json_schema_extra={"format": "date-time"})
    quantity: float | str = Field(1, description="A number or a decimal in a string.")
    properties: dict[str, Any] | None = None
    source: str | None = None
    voids: str | None = Field(None, description="Id of the event that this one takes back.")
    schema_version: Literal[1, 2] | None = None


class CloudEventSent(BaseModel):
    """A CloudEvent 1.0 in structured mode."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    subject: str = Field(min_length=1, description="The customer.")
    time: str | None = Field(None, json_schema_extra={"format": "date-time"})
    data: dict[str, Any] | None = Field(None, description="Properties; `quantity` among them is the quantity.")
    tenantid: str | None = Field(None, description="Absent: the tenant of the key.")
    voids: str | None = None


class Rows(BaseModel):
    """A page of rows; decimals are text."""

    model_config = ConfigDict(extra="allow")

    rows: list[dict[str, Any]]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class UsageRow(BaseModel):
    """A bucket of usage."""

    start: str = Field(description="First instant of the bucket; a date for days of customers.")
    customer_id: str | None = Field(None, description="Where it was grouped by.")
    dims: dict[str, str] = Field(description="Values of the dimensions it was grouped by.")
    value: str = Field(description="Exact decimal.")
    samples: int = Field(description="Measurements, less those taken back.")
    n: int = Field(description="Version: measurements applied, which only grow.")


class UsageAnswer(BaseModel):
    """Usage of a meter in buckets."""

    meter: str
    aggregation: str
    unit: str
    grain: str
    zone: str | None
    rows: list[UsageRow]
    next: str | None = Field(description="Cursor of the next page; null on the last.")


class LimitAnswer(BaseModel):
    """Whether a customer may use more."""

    allowed: bool
    reason: str
    known: bool = Field(description="Whether the figures are those of a pipeline that moves.")
    used: str | None
    limit: str | None
    remaining: str | None
    wanted: str
    period_start: str | None
    period_end: str | None
    projected_exhaustion_at: str | None
    age_s: float | None
    rule: str | None
    mode: str | None
    detail: str


class CurrentMeter(BaseModel):
    """A meter of the running period."""

    model_config = ConfigDict(extra="allow")

    meter: str
    unit: str
    aggregation: str
    limit: LimitAnswer
    projected: str | None = Field(description="Value at the end of the period, if use goes on as so far.")


class CurrentAnswer(BaseModel):
    """The running period of a customer."""

    model_config = ConfigDict(extra="allow")

    tenant_id: str
    customer_id: str
    meters: list[CurrentMeter]
    unavailable: dict[str, str] = Field(description="Sides that could not be read, and why.")


class Explanation(BaseModel):
    """What is behind a number."""

    model_config = ConfigDict(extra="allow")

    tenant_id: str
    customer_id: str
    meter: str
    period_start: str
    period_end: str
    versions: list[dict[str, Any]]
    current: list[dict[str, Any]]
    sources: list[dict[str, Any]]


class Window(BaseModel):
    """A window of a meter, as OpenMeter has it."""

    value: float
    windowStart: str  # noqa: N815  OpenMeter's names
    windowEnd: str  # noqa: N815
    subject: str | None
    customerId: str | None  # noqa: N815
    groupBy: dict[str, str]  # noqa: N815


class QueryAnswer(BaseModel):
    """Windows of a meter, as OpenMeter has them."""

    model_config = ConfigDict(extra="allow")

    data: list[Window]


class ConditionAsked(BaseModel):
    """What the value of a dimension must meet, as OpenMeter has it: all that is given."""

    model_config = ConfigDict(extra="forbid")

    eq: str | None = Field(None, alias="$eq")
    ne: str | None = Field(None, alias="$ne")
    gt: str | None = Field(None, alias="$gt")
    gte: str | None = Field(None, alias="$gte")
    lt: str | None = Field(None, alias="$lt")
    lte: str | None = Field(None, alias="$lte")
    like: str | None = Field(None, alias="$like")
    nlike: str | None = Field(None, alias="$nlike")
    ilike: str | None = Field(None, alias="$ilike")
    nilike: str | None = Field(None, alias="$nilike")
    in_: list[str] | None = Field(None, alias="$in")
    nin: list[str] | None = Field(None, alias="$nin")
    and_: list[dict[str, Any]] | None = Field(None, alias="$and", description="The same, all of which it must meet.")
    or_: list[dict[str, Any]] | None = Field(None, alias="$or", description="The same, one of which it must meet.")


class QueryAsked(BaseModel):
    """A query of a meter, as OpenMeter has it."""

    model_config = ConfigDict(extra="forbid")

    clientId: str = ""  # noqa: N815
    from_: str = Field("", alias="from")
    to: str = ""
    windowSize: Literal["MINUTE", "HOUR", "DAY", "MONTH"] | None = None  # noqa: N815
    windowTimeZone: str = "Etc/UTC"  # noqa: N815
    subject: list[str] = []
    filterCustomerId: list[str] = []  # noqa: N815
    filterGroupBy: dict[str, list[str]] = {}  # noqa: N815
    advancedMeterGroupByFilters: dict[str, ConditionAsked] = {}  # noqa: N815
    groupBy: list[str] = []  # noqa: N815


def problems(*statuses: int, model: type[BaseModel] = ProblemAnswer) -> dict[int | str, dict[str, Any]]:
    """Refusals of an operation, as FastAPI takes them."""
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {status: {"description": _MEANING[status], "content": content} for status in statuses}


_MEANING = {
    400: "It cannot be read.",
    401: "There is no valid key.",
    403: "The key lacks the scope.",
    404: "There is no such thing, or it is another tenant's.",
    408: "The body took too long.",
    413: "It is too large.",
    415: "Its type, charset or encoding is not known.",
    422: "It can be read, and is not valid.",
    429: "It is too much for the tenant or the key; Retry-After says when to send again.",
    503: "Send it again, as it is, after Retry-After.",
}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def _many(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1, "maxItems": MAX_EVENTS}


_ANY = {"anyOf": [_ref(NativeEvent), _ref(CloudEventSent)]}
# Bodies are read by the job's parser, not by FastAPI.
EVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "At most 1 MiB decompressed and 1 000 events; gzip by Content-Encoding. With headers `ce-…` the "
        "body is the data of a CloudEvent in binary mode.",
        "content": {
            JSON: {"schema": {"anyOf": [_ref(NativeEvent), _ref(CloudEventSent), _many(_ANY)]}},
            NDJSON: {"schema": {"type": "string", "description": "An event a line."}},
            CLOUDEVENT: {"schema": _ref(CloudEventSent)},
            CLOUDEVENTS: {"schema": _many(_ref(CloudEventSent))},
        },
    }
}
QUERY_BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {JSON: {"schema": _ref(QueryAsked)}}}}
CLOUDEVENTS_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            CLOUDEVENT: {"schema": _ref(CloudEventSent)},
            CLOUDEVENTS: {"schema": _many(_ref(CloudEventSent))},
            JSON: {"schema": {"anyOf": [_ref(CloudEventSent), _many(_ref(CloudEventSent))]}},
        },
    }
}
# Models that operations name by reference alone.
REFERRED: tuple[type[BaseModel], ...] = (
    ProblemAnswer, AllRejected, EventOutcome, NativeEvent, CloudEventSent, QueryAsked, ConditionAsked,
)  # fmt: skip
