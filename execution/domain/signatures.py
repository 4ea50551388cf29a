"""Signatures of events on the bus: what is signed, with which key, and what a signature proves. Pure.

A signed entry has four more fields: the key's id, the time, a nonce, and an HMAC-SHA256 over everything else of the
entry and the name of its stream. So nothing of it can be changed, added, left out, or moved to another stream.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from execution.domain.clocks import CLOCKS_DIFFER
from execution.domain.reasons import Reason

KEY_FIELD, TIME_FIELD, NONCE_FIELD, SIGNATURE_FIELD = (
    *("signature_key", "signature_time", "signature_nonce"),
    "signature",
)
SIGNATURE_FIELDS = frozenset({KEY_FIELD, TIME_FIELD, NONCE_FIELD, SIGNATURE_FIELD})
# The first part of what is signed: a signature of another protocol, or of a later form of this one, is none of these.
FORM = b"execution-event-1"
ID_FORM = re.compile(r"[A-Za-z0-9._-]{1,64}")
NONCE_FORM = re.compile(r"[A-Za-z0-9_-]{16,64}")
# Milliseconds since 1970, of the years 2001 to 2286.
TIME_FORM = re.compile(r"[0-9]{13}")
DIGEST_FORM = re.compile(r"[0-9a-f]{64}")
# An entry that waited for longer than this is not believed, however young its signature was when it arrived.
LONGEST_WAIT = timedelta(days=1)
# A nonce is forgotten when its signature has been too old for as long again: a clock may have been set.
NONCES_KEPT = 2 * LONGEST_WAIT


@dataclass(frozen=True, kw_only=True)
class SigningKey:
    """A producer's key. During a key exchange a producer has two.

    It is one producer under both. `streams`: the event types that it may sign.
    """

    key_id: str
    producer: str
    secret: bytes = field(repr=False)
    streams: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class SigningRules:
    """The rules for every incoming entry. `max_age`: how old a signature may be on arrival."""

    keys: Mapping[str, SigningKey]
    max_age: timedelta


@dataclass(frozen=True, kw_only=True)
class Signature:
    """A signature that is true: who made it and when."""

    key: SigningKey
    signed_at: datetime
    nonce: str


class UntrustedError(Exception):
    """An entry that is not proven to come from a producer.

    `claimed` is the producer whose key it names, if it is known.
    """

    def __init__(self, code: Reason, sentence: str, *, claimed: str = "") -> None:
        super().__init__(f"{code}: {sentence}")
        self.code = code
        self.sentence = sentence
        self.claimed = claimed


def sign(
    fields: Mapping[str, str], *, stream: str, key_id: str, secret: bytes, at: datetime, nonce: str
) -> dict[str, str]:
    """Return the fields of a stream entry with their signature. `stream` is its whole Redis key."""
    marks = {KEY_FIELD: key_id, TIME_FIELD: str(int(at.timestamp() * 1000)), NONCE_FIELD: nonce}
    marked = {**fields, **marks}
    encoded = {name.encode(): value.encode() for name, value in marked.items()}
    return {**marked, SIGNATURE_FIELD: _digest(secret, stream, encoded)}


def signed_bytes(stream: str, fields: Mapping[bytes, bytes]) -> bytes:
    """Return what is signed: form, stream, key id, time, nonce, then all other fields by name.

    Each part is its length in decimal digits, a colon, its bytes and a comma, so that no two entries have the same
    bytes, whatever stands in them. The body is taken as it is sent, so no reader has to write JSON anew.
    """
    marks = [fields.get(name.encode(), b"") for name in (KEY_FIELD, TIME_FIELD, NONCE_FIELD)]
    others = sorted((name, value) for name, value in fields.items() if name.decode("latin-1") not in SIGNATURE_FIELDS)
    parts = [FORM, stream.encode(), *marks, *(part for field in others for part in field)]
    return b"".join(b"%d:%b," % (len(part), part) for part in parts)


def read_signature(stream: str, event_type: str, fields: Mapping[bytes, bytes], rules: SigningRules) -> Signature:
    """Return the signature of an entry after proving it.

    Neither its age nor whether it came before is checked here.

    Raises:
        UntrustedError: it has none, its key is unknown or not for this stream, or something differs from what was
            signed.

    """
    marks = {name: fields.get(name.encode(), b"").decode("latin-1") for name in SIGNATURE_FIELDS}
    if not any(marks.values()):
        raise UntrustedError(Reason.SIGNATURE_MISSING, "the entry is not signed")
    forms = {KEY_FIELD: ID_FORM, TIME_FIELD: TIME_FORM, NONCE_FIELD: NONCE_FORM, SIGNATURE_FIELD: DIGEST_FORM}
    if broken := [name for name, form in forms.items() if not form.fullmatch(marks[name])]:
        raise UntrustedError(Reason.SIGNATURE_INVALID, f"{', '.join(broken)}: missing or malformed")
    key = rules.keys.get(marks[KEY_FIELD])
    if key is None:
        raise UntrustedError(Reason.SIGNATURE_KEY_UNKNOWN, f"key={marks[KEY_FIELD]}: is not among EVENT_SIGNING_KEYS")
    who = f"key={key.key_id} producer={key.producer}"
    if not hmac.compare_digest(_digest(key.secret, stream, fields), marks[SIGNATURE_FIELD]):
        sentence = f"{who}: signed with another secret, for another stream, or changed since"
        raise UntrustedError(Reason.SIGNATURE_INVALID, sentence, claimed=key.producer)
    if event_type not in key.streams:
        sentence = f"{who}: may sign {', '.join(sorted(key.streams))}, not {event_type}"
        raise UntrustedError(Reason.SIGNATURE_STREAM_NOT_ALLOWED, sentence, claimed=key.producer)
    signed_at = datetime.fromtimestamp(int(marks[TIME_FIELD]) / 1000, tz=UTC)
    return Signature(key=key, signed_at=signed_at, nonce=marks[NONCE_FIELD])


def age_problem(signature: Signature, rules: SigningRules, *, arrived: datetime, now: datetime) -> str:
    """Return why a signature is of another time, or an empty text.

    Its age counts up to the arrival on the stream, so that what waits while the service is down stays good, for a day.
    The arrival is read from the entry's id, which the writer may choose, so one in the future counts as now.
    """
    arrival = min(arrived, now)
    age, waited = arrival - signature.signed_at, now - signature.signed_at
    if age < -CLOCKS_DIFFER:
        return f"signed {_seconds(-age)} after its arrival, expected<={_seconds(CLOCKS_DIFFER)}"
    if age > rules.max_age:
        return f"signed {_seconds(age)} before its arrival, expected<={_seconds(rules.max_age)}"
    return f"signed {_seconds(waited)} ago, expected<={_seconds(LONGEST_WAIT)}" if waited > LONGEST_WAIT else ""


def _digest(secret: bytes, stream: str, fields: Mapping[bytes, bytes]) -> str:
    return hmac.new(secret, signed_bytes(stream, fields), hashlib.sha256).hexdigest()


def _seconds(length: timedelta) -> str:
    return f"{length.total_seconds():.0f}s"
