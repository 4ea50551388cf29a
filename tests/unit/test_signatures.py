"""What a signature of an event proves: every byte of its entry, its stream, its time and its key."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.signatures import (
    LONGEST_WAIT,
    NONCES_KEPT,
    SIGNATURE_FIELDS,
    SigningKey,
    SigningRules,
    UntrustedError,
    age_problem,
    read_signature,
    sign,
    signed_bytes,
)

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
AI, SIGNAL = "ai.decision.made", "signal.execute"
STREAM = f"quantum:stream:{AI}"
SECRET, OTHER_SECRET = b"a-secret-of-the-tests-with-40-characters", b"b-secret-of-the-tests-with-40-characters"
NONCE = "0123456789abcdef"
FIELDS = {"event_type": AI, "payload": '{"symbol":"BTCUSDT"}', "trace_id": "t", "event_id": "e", "source": "ai"}


def key(key_id: str = "ai-1", secret: bytes = SECRET, *streams: str) -> SigningKey:
    return SigningKey(key_id=key_id, producer="ai-engine", secret=secret, streams=frozenset(streams or {AI}))


RULES = SigningRules(keys={"ai-1": key(), "ai-2": key("ai-2", OTHER_SECRET)}, max_age=timedelta(seconds=300))


def signed(fields: Mapping[str, str] = FIELDS, **how: Any) -> dict[str, str]:
    given_by: dict[str, Any] = {"stream": STREAM, "key_id": "ai-1", "secret": SECRET, "at": NOW, "nonce": NONCE}
    return sign(fields, **given_by | how)


def raw(fields: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode() for name, value in fields.items()}


def refusal(fields: Mapping[bytes, bytes], stream: str = STREAM, event_type: str = AI) -> str:
    with pytest.raises(UntrustedError) as caught:
        read_signature(stream, event_type, fields, RULES)
    return caught.value.code


def test_a_true_signature_names_its_key_time_and_nonce() -> None:
    found = read_signature(STREAM, AI, raw(signed()), RULES)

    assert (found.key.producer, found.key.key_id, found.signed_at, found.nonce) == ("ai-engine", "ai-1", NOW, NONCE)


def test_both_keys_of_a_producer_are_its_own_while_they_are_exchanged() -> None:
    found = read_signature(STREAM, AI, raw(signed(key_id="ai-2", secret=OTHER_SECRET)), RULES)

    assert found.key.producer == "ai-engine"


def test_what_is_signed_is_written_down_byte_by_byte() -> None:
    """Producers in other languages rely on it."""
    entry = {"event_type": AI, "payload": "{}", "é": "ü"} | dict.fromkeys(SIGNATURE_FIELDS, "x")

    assert signed_bytes("s", raw(entry)) == (
        b"17:execution-event-1,1:s,1:x,1:x,1:x,10:event_type,16:ai.decision.made,7:payload,2:{},2:\xc3\xa9,2:\xc3\xbc,"
    )
    assert signed()["signature"] == "6474d4e0bb5da8b9f47b43109c3a6317d87c3cabbbff25680f243c1d2eaf96c3"


def test_the_documented_producer_signs_what_is_proven() -> None:
    """The page's own lines are run."""
    text = (ROOT / "docs/contracts.md").read_text()
    [source] = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(source, names)  # noqa: S102 -- the lines that a reader copies
    rules = SigningRules(keys=RULES.keys, max_age=RULES.max_age)
    fields = FIELDS | {"ä": "1:2,3", "": "empty", "signaturf": "x"}

    entry = names["signed"](STREAM, fields, "ai-1", SECRET.decode())

    assert read_signature(STREAM, AI, raw(entry), rules).key.key_id == "ai-1"
    assert fields.items() <= entry.items()


CHANGES: dict[str, Callable[[dict[bytes, bytes]], object]] = {
    "the payload": lambda entry: entry.update({b"payload": b'{"symbol":"ETHUSDT"}'}),
    "a space in it": lambda entry: entry.update({b"payload": entry[b"payload"] + b" "}),
    "the identity": lambda entry: entry.update({b"event_id": b"other"}),
    "the trace": lambda entry: entry.update({b"trace_id": b"other"}),
    "the type": lambda entry: entry.update({b"event_type": SIGNAL.encode()}),
    "a field more": lambda entry: entry.update({b"data": b"{}"}),
    "an empty field more": lambda entry: entry.update({b"": b""}),
    "a field less": lambda entry: entry.pop(b"trace_id"),
    "no payload": lambda entry: entry.pop(b"payload"),
    "a field's other name": lambda entry: entry.update({b"data": entry.pop(b"payload")}),
    "a byte moved over": lambda entry: entry.update({b"event_id": b"et", b"trace_id": b""}),
    "the time": lambda entry: entry.update({b"signature_time": b"1900000000000"}),
    "the nonce": lambda entry: entry.update({b"signature_nonce": b"x" * 16}),
    "another key of the producer": lambda entry: entry.update({b"signature_key": b"ai-2"}),
    "the signature": lambda entry: entry.update({b"signature": b"0" * 64}),
    "its capitals": lambda entry: entry.update({b"signature": entry[b"signature"].upper()}),
    "its half": lambda entry: entry.update({b"signature": entry[b"signature"][:32]}),
    "a line's end": lambda entry: entry.update({b"signature": entry[b"signature"] + b"\n"}),
    "not ASCII": lambda entry: entry.update({b"signature": "é".encode() * 64}),
    "no signature": lambda entry: entry.pop(b"signature"),
    "no key": lambda entry: entry.pop(b"signature_key"),
    "no time": lambda entry: entry.pop(b"signature_time"),
    "a short nonce": lambda entry: entry.update({b"signature_nonce": b"x" * 15}),
    "a time in other digits": lambda entry: entry.update({b"signature_time": "\u0661".encode() * 13}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_is_noticed(change: str) -> None:
    entry = raw(signed())
    CHANGES[change](entry)

    assert refusal(entry) == "SIGNATURE_INVALID"


def test_an_entry_of_another_stream_is_not_what_was_signed() -> None:
    assert refusal(raw(signed()), stream=f"quantum:stream:{SIGNAL}") == "SIGNATURE_INVALID"


def test_a_key_signs_for_its_streams_only() -> None:
    stream = f"quantum:stream:{SIGNAL}"

    assert refusal(raw(signed(stream=stream)), stream, SIGNAL) == "SIGNATURE_STREAM_NOT_ALLOWED"


def test_without_any_mark_it_is_unsigned_and_an_unknown_key_is_named() -> None:
    assert refusal(raw(FIELDS)) == "SIGNATURE_MISSING"
    assert refusal(raw(signed(key_id="ai-9"))) == "SIGNATURE_KEY_UNKNOWN"


def told(entry: Mapping[str, str], keys: Mapping[str, SigningKey] = RULES.keys) -> tuple[str, ...]:
    with pytest.raises(UntrustedError) as caught:
        read_signature(STREAM, AI, raw(entry), SigningRules(keys=keys, max_age=RULES.max_age))
    error = caught.value
    assert str(error) == f"{error.code}: {error.sentence}"
    return error.code, error.sentence, error.claimed


def test_a_refusal_says_what_is_wrong_and_whose_key_was_named() -> None:
    assert told(FIELDS) == ("SIGNATURE_MISSING", "the entry is not signed", "")
    assert told(signed(key_id="ai-9")) == (
        "SIGNATURE_KEY_UNKNOWN",
        "key=ai-9: is not among EVENT_SIGNING_KEYS",
        "",
    )
    changed = "key=ai-1 producer=ai-engine: signed with another secret, for another stream, or changed since"
    assert told(signed(secret=OTHER_SECRET)) == ("SIGNATURE_INVALID", changed, "ai-engine")
    two = key("ai-1", SECRET, "b", "a")
    assert told(signed(), {"ai-1": two}) == (
        "SIGNATURE_STREAM_NOT_ALLOWED",
        f"key=ai-1 producer=ai-engine: may sign a, b, not {AI}",
        "ai-engine",
    )


@pytest.mark.parametrize("left", sorted(SIGNATURE_FIELDS))
def test_one_mark_alone_is_no_unsigned_entry_and_the_others_are_named(left: str) -> None:
    entry = FIELDS | {left: signed()[left]}
    others = [name for name in ("signature_key", "signature_time", "signature_nonce", "signature") if name != left]

    assert told(entry) == ("SIGNATURE_INVALID", f"{', '.join(others)}: missing or malformed", "")


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("signature_key", ["a", "A.z_9-", "k" * 64], ["", "k" * 65, "a b", "a/b", "a\n"]),
        ("signature_nonce", ["n" * 16, "N_-4" * 16], ["n" * 15, "n" * 65, "n." * 8]),
        ("signature_time", ["1000000000000", "9999999999999"], ["100000000000", "10000000000000", "-100000000000"]),
        ("signature", ["0" * 64, "abcdef0123456789" * 4], ["0" * 63, "0" * 65, "A" * 64, "g" * 64]),
    ],
)
def test_each_mark_has_its_form(name: str, good: list[str], bad: list[str]) -> None:
    for value in good:
        assert not told(signed() | {name: value})[1].endswith("missing or malformed")
    for value in bad:
        assert told(signed() | {name: value}) == ("SIGNATURE_INVALID", f"{name}: missing or malformed", "")


def test_a_signature_takes_the_place_of_an_earlier_one_and_has_its_time_in_milliseconds() -> None:
    later = NOW + timedelta(milliseconds=123, microseconds=900)
    entry = signed(FIELDS | {"signature": "x", "signature_time": "y"}, at=later)

    assert entry == signed(at=later)
    assert entry == FIELDS | {
        "signature_key": "ai-1",
        "signature_time": "1772366400123",
        "signature_nonce": NONCE,
        "signature": entry["signature"],
    }
    assert read_signature(STREAM, AI, raw(entry), RULES).signed_at == NOW + timedelta(milliseconds=123)


def test_a_nonce_is_kept_for_twice_as_long_as_its_signature_may_be_believed() -> None:
    assert (timedelta(days=1), timedelta(days=2)) == (LONGEST_WAIT, NONCES_KEPT)


@pytest.mark.parametrize(
    ("signed_at", "arrived", "problem"),
    [
        (-301, 0, "signed 301s before its arrival, expected<=300s"),
        (61, 0, "signed 61s after its arrival, expected<=60s"),
        # Of its arrival: it waited for half of that behind it.
        (-700, -350, "signed 350s before its arrival, expected<=300s"),
        (-86_500, -86_400, "signed 86500s ago, expected<=86400s"),
        (-86_400, -86_300, ""),
    ],
)
def test_what_is_of_another_time_is_told_with_its_seconds(signed_at: int, arrived: int, problem: str) -> None:
    found = read_signature(STREAM, AI, raw(signed(at=NOW + timedelta(seconds=signed_at))), RULES)

    assert age_problem(found, RULES, arrived=NOW + timedelta(seconds=arrived), now=NOW) == problem


def test_a_key_does_not_print_its_secret() -> None:
    assert SECRET.decode() not in repr(RULES)


TEXT = st.text(max_size=12)


@given(st.dictionaries(TEXT, TEXT, max_size=6), st.dictionaries(TEXT, TEXT, max_size=6))
def test_two_entries_never_have_the_same_bytes(one: dict[str, str], other: dict[str, str]) -> None:
    same = {n: v for n, v in one.items() if n != "signature"} == {n: v for n, v in other.items() if n != "signature"}

    assert (signed_bytes("s", raw(one)) == signed_bytes("s", raw(other))) == same


@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=12), max_size=6))
def test_whatever_arrives_is_proven_or_refused(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(UntrustedError):
        read_signature(STREAM, AI, fields, RULES)


@pytest.mark.parametrize(
    ("signed_at", "arrived", "now", "refused"),
    [
        (0, 0, 0, False),
        (-300, 0, 0, False),
        (-301, 0, 0, True),
        # A producer's clock may be a little ahead
        (60, 0, 0, False),
        (61, 0, 0, True),
        # What waits while we are down stays good, for a day
        (-86_400, -86_400, 0, False),
        (-86_401, -86_401, 0, True),
        # An id in the future counts as now: neither does it make all that follow too old
        (0, 10**8, 0, False),
        (-301, 10**8, 0, True),
        # An id in the past does not make an old signature young without end
        (-86_401, -86_400, 0, True),
    ],
)
def test_an_age_counts_up_to_the_arrival(signed_at: int, arrived: int, now: int, *, refused: bool) -> None:
    found = read_signature(STREAM, AI, raw(signed(at=NOW + timedelta(seconds=signed_at))), RULES)

    problem = age_problem(found, RULES, arrived=NOW + timedelta(seconds=arrived), now=NOW + timedelta(seconds=now))

    assert bool(problem) == refused, problem
