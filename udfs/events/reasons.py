"""Why an event was not counted: the codes in the dead-letter topic, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """Reason code of a dead-letter record; `meaning` says it in a line."""

    meaning: str

    def __new__(cls, code: str, meaning: str = "") -> Self:
        """A member whose value is the code alone, so that the meaning can be reworded freely."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    EMPTY_VALUE = "empty_value", "The Kafka value is null, empty or blank."
    EVENT_TOO_LARGE = "event_too_large", "The value is over the size limit."
    INVALID_UTF8 = "invalid_utf8", "The bytes are not UTF-8."
    MALFORMED_JSON = "malformed_json", "The text is not JSON."
    TRUNCATED_JSON = "truncated_json", "The text is truncated JSON."
    NOT_AN_OBJECT = "not_an_object", "The JSON is not an object."
    NESTING_TOO_DEEP = "nesting_too_deep", "Objects and arrays are nested over the limit."
    DUPLICATE_KEY = "duplicate_key", "An object has a key twice, so its meaning depends on the reader."
    NUL_CHARACTER = "nul_character", "A string holds \\u0000, which the database cannot store."
    INVALID_UNICODE = "invalid_unicode", "A string holds an unpaired surrogate."
    MISSING_FIELD = "missing_field", "A required field is absent."
    WRONG_TYPE = "wrong_type", "A field has another JSON type than its contract."
    INVALID_ID = "invalid_id", "An id is empty or holds control characters, line separators or marks of text direction."
    ID_TOO_LONG = "id_too_long", "An id is over the length limit."
    UNKNOWN_TENANT = "unknown_tenant", "The catalog has no such tenant at the event time."
    SOURCE_NOT_ALLOWED = "source_not_allowed", "The tenant does not take events of this source at the event time."
    UNKNOWN_EVENT_TYPE = "unknown_event_type", "No meter of the tenant accepts this event type at the event time."
    UNSUPPORTED_SCHEMA_VERSION = "unsupported_schema_version", "The schema version is unknown."
    INVALID_TIMESTAMP = "invalid_timestamp", "The timestamp is null, not RFC 3339, or outside 1970 to 2100."
    TIMESTAMP_WITHOUT_ZONE = "timestamp_without_zone", "The timestamp has no UTC offset, so it is not an instant."
    TOO_LATE = "too_late", "The event arrived later after its event time than the grace allows."
    IN_FUTURE = "in_future", "The event time is further after the arrival than clock skew allows."
    NON_FINITE_QUANTITY = "non_finite_quantity", "The quantity is NaN or infinite."
    INVALID_QUANTITY = "invalid_quantity", "The quantity is a string that is not a decimal number."
    QUANTITY_OUT_OF_RANGE = "quantity_out_of_range", "The quantity is not within +-10^18, or +-10^12 for weighted_sum."
    QUANTITY_TOO_PRECISE = (
        "quantity_too_precise",
        "A value has more than 9 decimals, and a meter of this event requires exact values.",
    )
    NEGATIVE_QUANTITY = "negative_quantity", "A meter of this event does not allow negative quantities."
    MISSING_VALUE = "missing_value", "A meter measures a property that the event does not have, or has as null."
    NO_PERIOD = "no_period", "The customer's calendar has no billing period at the event time."
    TOO_MANY_PROPERTIES = "too_many_properties", "The event has more properties than the limit."
    DIMENSION_TOO_LONG = "dimension_too_long", "The group-by values of a meter are over the length limit."
    INTERNAL_ERROR = (
        "internal_error",
        "Tidemark failed on this event; the log has the cause. Worth a replay once fixed.",
    )


class Rejected(Exception):  # noqa: N818 - an outcome of an event, not a failure
    """One event cannot be counted.

    Parameters
    ----------
    reason:
        Code of the dead-letter record.
    detail:
        What was wrong, with the value against its limit, made safe by `shown`.
    ids:
        The event's ids by field name, as far as they could be read.
    """

    def __init__(self, reason: Reason, detail: str, ids: Mapping[str, str] | None = None) -> None:
        super().__init__(reason, detail, ids)
        self.reason = reason
        self.detail = detail
        self.ids = ids or {}


# Longest piece of somebody's event in a detail; the whole is in the record's `raw`.
SHOWN_CHARS = 120


def shown(value: str) -> str:
    """A piece of an event, fit for a log line: shortened, control characters and half surrogates escaped."""
    cut = value if len(value) <= SHOWN_CHARS else value[: SHOWN_CHARS - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)
