"""Reads every wire form of the event bus: wrapped in `payload`, wrapped in `data`, or flat."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import InvalidOperation

from execution.domain import bounds
from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.signals.schemas import ENVELOPE_FIELDS

MAX_EVENT_BYTES = 64 * 1024
# Deeper than any event, and far below what would exhaust the stack of a later reader.
MAX_NESTING = 32
IDENTITY_LENGTH = 200
# Fields that hold the payload as JSON; without them the entry is flat.
WRAPPERS = ("payload", "data")


class MalformedEventError(Exception):
    """A message cannot become an event. Carries reason code and sentence for the dead letter.

    `broken`: each field with the rule that it breaks, where fields are at fault.
    """

    def __init__(
        self,
        code: Reason,
        sentence: str,
        payload: Mapping[str, object] | None = None,
        *,
        broken: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.payload = payload or {}
        self.broken = tuple(broken)

    @classmethod
    def by_field(
        cls, broken: Iterable[tuple[str, str]], payload: Mapping[str, object] | None = None
    ) -> "MalformedEventError":
        """Return the error of fields that break rules, each a pair of both."""
        pairs = tuple(broken)
        sentence = "; ".join(f"{name or 'event'}: {rule}" for name, rule in pairs)[:2000]
        return cls(Reason.INVALID_FIELD, sentence, payload, broken=pairs)


@dataclass(frozen=True, kw_only=True)
class WireEvent:
    """An event as it was published, before its payload is validated."""

    event_type: str
    identity: str
    payload: Mapping[str, object]
    trace_id: str
    published_at: datetime


def decode(entry: StreamEntry) -> WireEvent:
    """Turn a stream entry into an event.

    Raises:
        MalformedEventError: too large, not UTF-8, not a JSON object, or in another event's wrapper.

    """
    fields = _text_fields(entry.fields)
    declared = fields.get("event_type", entry.event_type)
    if declared != entry.event_type:
        raise MalformedEventError(
            Reason.MALFORMED_ENVELOPE, f"event_type: expected {entry.event_type}, got {declared[:64]!r}"
        )
    wrapper = next((name for name in WRAPPERS if name in fields), None)
    payload = _json_object(wrapper, fields[wrapper]) if wrapper else _flat(fields)
    trace_id = fields.get("trace_id", "")[:200]
    return WireEvent(
        event_type=entry.event_type,
        identity=_identity(fields, payload, entry.entry_id),
        payload=payload,
        trace_id=trace_id or str(payload.get("trace_id") or "")[:200],
        published_at=entry_time(entry.entry_id),
    )


def legible(fields: Mapping[bytes, bytes]) -> tuple[str, dict[str, str]]:
    """Return an entry's payload as text, and its ids, for an operator to correct.

    What cannot be read is left out or replaced.
    """
    text = {_lenient(name): _lenient(value) for name, value in fields.items()}
    ids = {name: text[name][:IDENTITY_LENGTH] for name in ("event_id", "trace_id") if text.get(name)}
    for wrapper in WRAPPERS:
        if wrapper in text:
            return text[wrapper][:MAX_EVENT_BYTES], ids
    return json.dumps(_flat(text))[:MAX_EVENT_BYTES], ids


def entry_time(entry_id: str) -> datetime:
    """Return when Redis took the entry: the milliseconds before the dash of its id."""
    # A producer may choose the id, and Redis counts on from the highest: such a stream must go on being read.
    milliseconds = int(entry_id.partition("-")[0])
    ends = (int(bounds.EARLIEST.timestamp()) * 1000, int(bounds.LATEST.timestamp()) * 1000)
    return datetime.fromtimestamp(min(max(milliseconds, ends[0]), ends[1]) / 1000, tz=UTC)


def parse_json(text: str) -> object:
    """Parse JSON without losing a digit. Fractions are Decimals. NaN and Infinity are refused.

    Raises:
        ValueError: not JSON, nested too deeply, or with a text or number that cannot be stored and read back.

    """
    try:
        value = json.loads(text, parse_float=bounds.number_of, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except InvalidOperation:
        raise ValueError("contains a number with an absurd exponent") from None
    if problem := bounds.json_problem(value, deepest=MAX_NESTING):
        raise ValueError(problem)
    return value


def check_size(fields: Mapping[bytes, bytes]) -> None:
    """Refuse an entry that is larger than any event, before anything else is done with it.

    Raises:
        MalformedEventError: it is larger.

    """
    size = sum(len(name) + len(value) for name, value in fields.items())
    if size > MAX_EVENT_BYTES:
        raise MalformedEventError(Reason.PAYLOAD_TOO_LARGE, f"expected<={MAX_EVENT_BYTES} bytes actual={size}")


def _text_fields(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    check_size(fields)
    if any(b"\x00" in part for field in fields.items() for part in field):
        raise MalformedEventError(Reason.MALFORMED_ENVELOPE, "contains a NUL character")
    try:
        return {name.decode(): value.decode() for name, value in fields.items()}
    except UnicodeDecodeError as error:
        raise MalformedEventError(Reason.MALFORMED_ENVELOPE, f"not UTF-8: {error.reason}") from None


def _flat(fields: Mapping[str, str]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if name not in ENVELOPE_FIELDS}


def _lenient(part: bytes) -> str:
    """Read any bytes as text that the database can hold."""
    return part.decode(errors="replace").replace("\x00", "\ufffd")


def _json_object(wrapper: str, text: str) -> dict[str, object]:
    try:
        value = parse_json(text)
    except ValueError as error:
        raise MalformedEventError(Reason.MALFORMED_PAYLOAD, f"{wrapper}: not JSON: {str(error)[:200]}") from None
    if not isinstance(value, dict):
        raise MalformedEventError(Reason.MALFORMED_PAYLOAD, f"{wrapper}: expected an object")
    return value


def _identity(fields: Mapping[str, str], payload: Mapping[str, object], entry_id: str) -> str:
    """Return the event's identity, by which a second delivery is recognised.

    A trace may hold one decision for each symbol, so the symbol belongs to its identity. Events without ids but with
    a timestamp of their own are the same event when their contents are equal.
    """
    event_id = fields.get("event_id") or payload.get("event_id")
    if event_id:
        return _short(f"event:{event_id}")
    trace_id = fields.get("trace_id") or payload.get("trace_id")
    if trace_id:
        return _short(f"trace:{trace_id}:{payload.get('symbol', '')}")
    if payload.get("timestamp"):
        meaning = json.dumps(payload, sort_keys=True, default=str)
        return f"content:{hashlib.sha256(meaning.encode()).hexdigest()}"
    return f"entry:{entry_id}"


def _short(identity: str) -> str:
    """Fit an identity into its column. Cutting it would make two long ones the same event."""
    return identity if len(identity) <= IDENTITY_LENGTH else f"digest:{hashlib.sha256(identity.encode()).hexdigest()}"


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")
