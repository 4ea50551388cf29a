import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from execution.domain.ports import StreamEntry
from execution.domain.reasons import Reason
from execution.signals.envelope import MalformedEventError, decode, entry_time, parse_json

ENTRY_ID = "1765855800123-0"
DECISION = {"symbol": "BTCUSDT", "side": "buy", "position_size_usd": 100.0}
TEXT = json.dumps(DECISION)


def entry(entry_id: str = ENTRY_ID, /, **fields: str | bytes) -> StreamEntry:
    raw = {name.encode(): value.encode() if isinstance(value, str) else value for name, value in fields.items()}
    return StreamEntry(
        stream="quantum:stream:ai.decision.made", event_type="ai.decision.made", entry_id=entry_id, fields=raw
    )


def refused(**fields: str | bytes) -> MalformedEventError:
    """Decode what must be refused, and return the refusal."""
    with pytest.raises(MalformedEventError) as caught:
        decode(entry(ENTRY_ID, **fields))
    return caught.value


def identity(entry_id: str = ENTRY_ID, /, **fields: str) -> str:
    return decode(entry(entry_id, **fields)).identity


def test_the_wrapper_of_the_event_bus() -> None:
    event = decode(
        entry(
            event_type="ai.decision.made",
            payload=TEXT,
            trace_id="t-1",
            timestamp="2025-12-16T04:32:45.123456",
            source="ai-engine",
        )
    )

    assert event.event_type == "ai.decision.made"
    assert event.payload == DECISION
    assert event.trace_id == "t-1"
    # It should take the time of Redis, not one that the producer wrote
    assert event.published_at == datetime(2025, 12, 16, 3, 30, 0, 123000, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"event_type": "ai.decision.made", "payload": TEXT, "timestamp": "2025-12-16T04:32:45Z", "source": "bridge"},
        {"payload": TEXT},
        {"data": TEXT},
        {"payload": TEXT, "data": "not looked at"},
        {"payload": TEXT, "symbol": "not looked at"},
    ],
)
def test_other_wrappers_of_the_same_payload(fields: dict[str, str]) -> None:
    event = decode(entry(**fields))

    assert event.payload == DECISION
    assert event.trace_id == ""


def test_the_flat_form_is_its_fields_less_the_envelope() -> None:
    envelope = {
        "event_type": "ai.decision.made",
        "event_id": "e-1",
        "trace_id": "t-1",
        "correlation_id": "c-1",
        "source": "apply_layer",
        "schema_version": "1",
        "sequence": "4",
    }

    event = decode(entry(**envelope, symbol="BTCUSDT", stop_loss="48750.0", timestamp="1765855800"))

    # It should keep every value as the text that it was, the timestamp included
    assert event.payload == {"symbol": "BTCUSDT", "stop_loss": "48750.0", "timestamp": "1765855800"}
    assert event.trace_id == "t-1"


def test_a_trace_id_may_stand_in_the_payload() -> None:
    event = decode(entry(payload=json.dumps({**DECISION, "trace_id": "inside"}), trace_id=""))

    assert event.trace_id == "inside"


def test_numbers_keep_every_digit() -> None:
    event = decode(entry(payload='{"entry_price": 0.1, "tiny": 1e-8, "long": 12345678901234567.123456789, "n": 7}'))

    assert event.payload == {
        "entry_price": Decimal("0.1"),
        "tiny": Decimal("0.00000001"),
        "long": Decimal("12345678901234567.123456789"),
        "n": 7,
    }


def test_another_events_wrapper_is_refused() -> None:
    error = refused(event_type="order.placed", payload=TEXT)

    assert error.code is Reason.MALFORMED_ENVELOPE
    assert error.sentence == "event_type: expected ai.decision.made, got 'order.placed'"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not JSON"),
        (b"buy bitcoin", "not JSON"),
        (b'{"symbol": "BTCUSDT"', "not JSON"),
        (b'{"stop_loss": NaN}', "NaN is not a number"),
        (b'{"stop_loss": Infinity}', "Infinity is not a number"),
        (b'{"stop_loss": -Infinity}', "-Infinity is not a number"),
        (b'{"model": "a\\u0000b"}', "contains the character U+0000"),
        (b'{"model": "\\ud800"}', "contains the character U+D800"),
        (b'{"\\udfff": 1}', "contains the character U+DFFF"),
        (b'{"a":' + b"[" * 33 + b"]" * 33 + b"}", "nested deeper than 32 levels"),
        (b'{"a":' * 20000 + b"1" + b"}" * 2000, "nested too deeply"),
        (b"[" * 60000, "nested too deeply"),
        (b'{"leverage": ' + b"9" * 5000 + b"}", "4300 digits"),
        (b'{"leverage": 1e999999999999999999999}', "must be a number in at most 64 ASCII characters"),
        (b'{"metadata": {"x": 1e400}}', "contains a number that is too large"),
        (b'{"metadata": {"x": -1e400}}', "contains a number that is too large"),
        (b'{"x": 1' + b"0" * 400 + b"}", "contains a number that is too large"),
        (b'{"x": 0.' + b"1" * 400 + b"}", "must be a number in at most 64 ASCII characters"),
        (b"[]", "expected an object"),
        (b"null", "expected an object"),
        (b'"text"', "expected an object"),
        (b"5", "expected an object"),
    ],
)
def test_a_payload_that_is_no_json_object_is_refused(payload: bytes, reason: str) -> None:
    payload = payload[:60_000]

    for wrapper in ("payload", "data"):
        error = refused(**{wrapper: payload})
        # It should name the wrapper and the fault, within what a person reads
        assert error.code is Reason.MALFORMED_PAYLOAD
        assert error.sentence.startswith(f"{wrapper}: ")
        assert reason in error.sentence
        assert len(error.sentence) < 260


def test_nesting_that_a_person_would_write_passes() -> None:
    event = decode(entry(payload=json.dumps({"metadata": {"a": [{"b": [[1]]}]}})))

    assert event.payload == {"metadata": {"a": [{"b": [[1]]}]}}
    # It should know its limit
    assert decode(entry(payload=b'{"a":' + b"[" * 32 + b"]" * 32 + b"}")).payload


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": b"\xff\xfe"},
        {"symbol": b"BTC\xc3"},
        {"payload": TEXT, "trace_id": b"\x80"},
        # a surrogate half written as if it were UTF-8
        {"symbol": b"\xed\xa0\x80"},
    ],
)
def test_what_is_not_utf8_is_refused(fields: dict[str, bytes]) -> None:
    error = refused(**fields)

    assert error.code is Reason.MALFORMED_ENVELOPE
    assert error.sentence.startswith("not UTF-8: ")


@pytest.mark.parametrize(
    "fields",
    [
        {"symbol": "BTC\x00USDT"},
        {"sym\x00bol": "BTCUSDT"},
        {"payload": TEXT, "trace_id": "t\x00"},
        {"payload": TEXT, "event_id": "\x00"},
    ],
)
def test_a_nul_is_refused_wherever_the_database_would_meet_it(fields: dict[str, str]) -> None:
    assert refused(**fields).code is Reason.MALFORMED_ENVELOPE


def test_a_megabyte_is_refused_before_it_is_read() -> None:
    error = refused(payload=b"{" + b" " * 1024 * 1024)

    assert error.code is Reason.PAYLOAD_TOO_LARGE
    assert error.sentence == "expected<=65536 bytes actual=1048584"


def test_the_largest_event_that_passes() -> None:
    padding = "x" * (64 * 1024 - len('payload{"a":""}'))

    assert decode(entry(payload=f'{{"a":"{padding}"}}')).payload == {"a": padding}
    assert refused(payload=f'{{"a":"{padding}x"}}').code is Reason.PAYLOAD_TOO_LARGE


def test_an_event_id_names_the_event_before_all_else() -> None:
    body = json.dumps({**DECISION, "timestamp": 1, "event_id": "inside", "trace_id": "t"})

    assert identity(payload=body, event_id="outside", trace_id="t") == "event:outside"
    assert identity(payload=body, trace_id="t") == "event:inside"


def test_a_trace_names_one_decision_a_symbol() -> None:
    timestamped = {**DECISION, "timestamp": "2025-12-16T03:30:00+00:00"}

    assert identity(payload=json.dumps(timestamped), trace_id="t-1") == "trace:t-1:BTCUSDT"
    assert identity(payload=json.dumps(timestamped | {"symbol": "ETHUSDT"}), trace_id="t-1") == "trace:t-1:ETHUSDT"
    # It should read the trace in the payload when the envelope has none
    assert identity(payload=json.dumps(timestamped | {"trace_id": "t-2"}), trace_id="") == "trace:t-2:BTCUSDT"


def test_without_ids_equal_content_with_a_timestamp_is_the_same_event() -> None:
    first = identity("1-0", payload='{"symbol":"BTCUSDT","timestamp":"2025-12-16T03:30:00","entry_price":50000.0}')
    shuffled = identity("2-0", payload='{"entry_price":50000.0,"timestamp":"2025-12-16T03:30:00","symbol":"BTCUSDT"}')
    later = identity("3-0", payload='{"symbol":"BTCUSDT","timestamp":"2025-12-16T03:30:01","entry_price":50000.0}')

    assert first.startswith("content:")
    assert first == shuffled
    assert later != first


def test_without_ids_and_timestamp_only_the_same_entry_is_the_same_event() -> None:
    assert identity("1765855800123-4", payload=TEXT) == "entry:1765855800123-4"
    assert identity("1765855800123-5", payload=TEXT) == "entry:1765855800123-5"


def test_long_identities_fit_and_stay_apart() -> None:
    long = "t" * 300
    bitcoin, ether = (
        identity(payload=json.dumps(DECISION | {"symbol": symbol}), trace_id=long) for symbol in ("BTCUSDT", "ETHUSDT")
    )

    assert bitcoin != ether
    assert max(len(bitcoin), len(ether)) <= 200
    # It should keep what fits as it is
    assert identity(payload=TEXT, event_id="e" * 194) == "event:" + "e" * 194


def test_an_entry_id_tells_when_redis_took_it() -> None:
    # It should stay within what can be stored, whatever id a producer has chosen
    assert entry_time("0-1") == datetime(2000, 1, 1, tzinfo=UTC)
    assert entry_time("18446744073709551615-1") == datetime(2100, 1, 1, tzinfo=UTC)
    assert entry_time("1765855800123-7") == datetime(2025, 12, 16, 3, 30, 0, 123000, tzinfo=UTC)


names = st.sampled_from([b"payload", b"data", b"event_type", b"trace_id", b"event_id", b"symbol"]) | st.binary()
json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
values = (
    st.binary()
    | st.text().map(lambda text: text.encode(errors="replace"))
    | json_like.map(lambda value: json.dumps(value).encode())
)


@given(st.dictionaries(names, values, max_size=5))
@example({b"payload": b'{"a":1e-99999999999999999999}'})
@example({b"payload": b'"\\ud83d"'})
def test_whatever_arrives_is_decoded_or_refused(fields: dict[bytes, bytes]) -> None:
    message = StreamEntry(stream="s", event_type="ai.decision.made", entry_id=ENTRY_ID, fields=fields)
    try:
        event = decode(message)
    except MalformedEventError:
        return
    # It should give what the database can hold
    stored = json.dumps([dict(event.payload), event.identity, event.trace_id], ensure_ascii=False, default=str)
    assert b"\\u0000" not in stored.replace("\\\\", "").encode()
    assert 0 < len(event.identity) <= 200
    assert len(event.trace_id) <= 200


@given(st.text())
def test_any_text_is_json_or_a_value_error(text: str) -> None:
    try:
        value = parse_json(text)
    except ValueError:
        return
    assert json.loads(text, parse_float=Decimal) == value
