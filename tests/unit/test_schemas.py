import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from execution.domain.trading import Direction, TimeInForce
from execution.signals.envelope import parse_json
from execution.signals.schemas import (
    AiDecision,
    EssStateChanged,
    EssTripped,
    Incoming,
    ManualOrder,
    ModelPromoted,
    PolicyUpdated,
)

DECISION = """
{"symbol":"BTCUSDT","side":"buy","confidence":0.85,"entry_price":50000.0,
 "quantity":100.0,"leverage":5,"stop_loss":48750.0,"take_profit":53000.0,
 "trail_percent":null,"model":"ensemble","ensemble_confidence":0.85,
 "strategy":"momentum","meta_strategy":"momentum","regime":"high_vol_trending",
 "position_size_usd":100.0,"timestamp":"2025-12-16T03:30:00.123456+00:00"}
"""
MOMENT = datetime(2025, 12, 16, 3, 30, tzinfo=UTC)
WHEN = "2025-12-16T03:30:00+00:00"
SMALLEST_DECISION: dict[str, Any] = {"symbol": "BTCUSDT", "side": "buy", "position_size_usd": 100}
SMALLEST_ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.002"}


def decision(**fields: Any) -> AiDecision:
    return AiDecision.model_validate(SMALLEST_DECISION | fields)


def order(**fields: Any) -> ManualOrder:
    return ManualOrder.model_validate(SMALLEST_ORDER | fields)


def problems(schema: type[Incoming], fields: dict[str, Any]) -> dict[str, str]:
    """Validate what must be refused; return the sentence of each field."""
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(fields)
    return {str(error["loc"][0]) if error["loc"] else "": error["msg"] for error in caught.value.errors()}


def test_the_decision_of_the_ai_engine_is_read_exactly() -> None:
    actual = AiDecision.model_validate(parse_json(DECISION))

    assert actual.model_dump() == {
        "symbol": "BTCUSDT",
        "side": Direction.LONG,
        "confidence": Decimal("0.85"),
        "entry_price": Decimal("50000.0"),
        "position_size_usd": Decimal("100.0"),
        "equity_percent": None,
        "risk_usd": None,
        "risk_percent": None,
        "leverage": 5,
        "stop_loss": Decimal("48750.0"),
        "stop_loss_percent": None,
        "stop_loss_atr": None,
        "take_profit": Decimal("53000.0"),
        "take_profit_percent": None,
        "take_profit_r": None,
        "take_profit_atr": None,
        "atr_interval": None,
        "atr_period": None,
        "trail_percent": None,
        "model": "ensemble",
        "strategy": "momentum",
        "meta_strategy": "momentum",
        "regime": "high_vol_trending",
        "timestamp": datetime(2025, 12, 16, 3, 30, 0, 123456, tzinfo=UTC),
    }
    # It should not know a quantity: its unit differs by producer
    assert "quantity" not in AiDecision.model_fields


def test_the_smallest_decision() -> None:
    actual = decision()

    assert actual.position_size_usd == 100
    # It should invent nothing for what was not said
    assert {name for name, value in actual.model_dump().items() if value not in (None, "")} == {
        "symbol",
        "side",
        "position_size_usd",
    }


@pytest.mark.parametrize(
    ("word", "direction"),
    [
        ("buy", Direction.LONG),
        ("BUY", Direction.LONG),
        ("long", Direction.LONG),
        (" Long ", Direction.LONG),
        ("sell", Direction.SHORT),
        ("SELL", Direction.SHORT),
        ("SHORT", Direction.SHORT),
    ],
)
def test_sides_in_every_spelling(word: str, direction: Direction) -> None:
    assert decision(side=word).side is direction
    assert order(side=word).side is direction


@pytest.mark.parametrize("word", ["hold", "HOLD", "Hold"])
def test_hold_is_a_decision_without_a_side_or_size(word: str) -> None:
    actual = AiDecision.model_validate({"symbol": "BTCUSDT", "side": word})

    assert actual.side is None
    # It should be no order of a person
    assert problems(ManualOrder, SMALLEST_ORDER | {"side": word}) == {
        "side": "Value error, must be one of buy, long, sell, short"
    }


def test_action_is_the_later_name_of_side() -> None:
    actual = AiDecision.model_validate({"symbol": "BTCUSDT", "action": "SELL", "position_size_usd": 100})

    assert actual.side is Direction.SHORT


@pytest.mark.parametrize("word", ["close", "", "BUY ME", None, 1, True, ["buy"], {"side": "buy"}])
def test_an_unknown_side_is_refused(word: object) -> None:
    assert problems(AiDecision, SMALLEST_DECISION | {"side": word}) == {
        "side": "Value error, must be one of buy, long, sell, short, hold"
    }


def test_a_decision_without_a_side_is_refused() -> None:
    assert list(problems(AiDecision, {"symbol": "BTCUSDT", "position_size_usd": 100})) == ["side"]


@pytest.mark.parametrize("size", [{}, {"position_size_usd": None}, {"position_size_usd": 0}, {"quantity": 100}])
def test_a_decision_to_trade_needs_a_size_in_dollars(size: dict[str, Any]) -> None:
    fields = {"symbol": "BTCUSDT", "side": "buy"} | size

    assert problems(AiDecision, fields) == {
        "": "Value error, position_size_usd: must be a positive number of US dollars, else one of "
        "equity_percent, risk_usd, risk_percent"
    }


@pytest.mark.parametrize("name", ["entry_price", "stop_loss", "take_profit", "trail_percent", "leverage"])
@pytest.mark.parametrize("nothing", [None, "", 0, 0.0, Decimal("0.00"), "0", "0.0", "0.000", "-0.0", " 0 "])
def test_null_empty_and_zero_are_absent(name: str, nothing: object) -> None:
    assert getattr(decision(**{name: nothing}), name) is None


@pytest.mark.parametrize("name", ["model", "strategy", "meta_strategy", "regime"])
def test_a_null_text_is_empty(name: str) -> None:
    assert getattr(decision(**{name: None}), name) == ""


@pytest.mark.parametrize(
    ("given_as", "exact"),
    [(0.1, "0.1"), (48750.1, "48750.1"), (1e-8, "0.00000001"), ("48750.10", "48750.10"), (7, "7"), (" 5 ", "5")],
)
def test_a_price_is_read_through_its_text(given_as: object, exact: str) -> None:
    assert str(format(decision(stop_loss=given_as).stop_loss, "f")) == exact


def test_the_flat_form_is_all_text() -> None:
    actual = decision(
        confidence="0.85", position_size_usd="100.0", leverage="5.0", stop_loss="", timestamp="1765855800.0"
    )

    assert (actual.confidence, actual.position_size_usd) == (Decimal("0.85"), Decimal(100))
    assert (actual.leverage, actual.stop_loss, actual.timestamp) == (5, None, MOMENT)


@pytest.mark.parametrize("name", ["position_size_usd", "entry_price", "stop_loss", "confidence", "leverage"])
@pytest.mark.parametrize(
    "value", [-1, "-0.5", "NaN", "Infinity", float("nan"), float("-inf"), True, False, "ten", [], {}]
)
def test_what_is_no_positive_number_is_refused(name: str, value: object) -> None:
    assert list(problems(AiDecision, SMALLEST_DECISION | {name: value})) == [name]


def test_a_boolean_is_not_a_number() -> None:
    assert problems(ManualOrder, SMALLEST_ORDER | {"quantity": True}) == {
        "quantity": "Value error, must be a number, not a boolean"
    }


@pytest.mark.parametrize(
    ("name", "passes", "refused"),
    [
        ("confidence", [0, 1, "0.5"], [1.01, 85, -0.01]),
        ("leverage", [1, 125, 5.0, Decimal("20.0")], [126, 5.5, 0.5, Decimal("1e10000000"), Decimal("1e-3")]),
        ("position_size_usd", ["1e-12", "1e12"], ["1e-13", "1000000000001", Decimal("1e999999999999")]),
        (
            "symbol",
            ["BTCUSDT", "1000PEPEUSDT", "btcusdt", " ETHUSDT ", "BTCUSDT_260327", "币安人生USDT"],
            ["BTC", "BTC/USDT", "BTC USDT", "A" * 41, "", None, 5, "BTCUSDT\n;", "\uff22TCUSDT"],
        ),
    ],
)
def test_bounds(name: str, passes: list[object], refused: list[object]) -> None:
    for value in passes:
        assert getattr(decision(**{name: value}), name) is not None
    for value in refused:
        assert list(problems(AiDecision, SMALLEST_DECISION | {name: value})) == [name]


def test_symbols_are_written_in_capitals() -> None:
    assert decision(symbol=" btcusdt ").symbol == "BTCUSDT"


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2025-12-16T03:30:00", MOMENT),
        ("2025-12-16T03:30:00Z", MOMENT),
        ("2025-12-16T03:30:00+00:00", MOMENT),
        ("2025-12-16T04:30:00.5+01:00", MOMENT + timedelta(milliseconds=500)),
        (1765855800, MOMENT),
        (1765855800000, MOMENT),
        (1765855800.5, MOMENT + timedelta(milliseconds=500)),
        (Decimal("1765855800.0"), MOMENT),
        (Decimal("1765855800000.0"), MOMENT),
        ("1765855800", MOMENT),
        ("1765855800000", MOMENT),
        (None, None),
        ("", None),
    ],
)
def test_times_in_every_spelling(written: object, moment: datetime | None) -> None:
    actual = decision(timestamp=written).timestamp

    assert actual == moment
    # It should know its zone
    assert actual is None or actual.tzinfo is not None


def test_a_time_is_kept_in_utc() -> None:
    actual = decision(timestamp="2025-12-16T04:30:00+23:59").timestamp

    # It should not leave an offset that the database does not know
    assert actual is not None
    assert actual.tzinfo is UTC


@pytest.mark.parametrize(
    "written",
    [
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00",
        "9999-12-31T23:59:59-14:00",
        "9999-12-31T23:59:59",
        "1999-12-31T23:59:59Z",
        "2100-01-01T00:00:01Z",
        0,
        1,
        "0",
        4102444801,
        4102444801000,
        Decimal("1e17"),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))),
        "٢٠٢٥-12-16T03:30:00",
        "١٧٦٥٨٥٥٨٠٠",
        "1_765_855_800",
        "2025-12-16T03:30:00" + " " * 99,
    ],
)
@pytest.mark.parametrize(
    ("schema", "fields", "name"),
    [
        (AiDecision, SMALLEST_DECISION, "timestamp"),
        (ManualOrder, SMALLEST_ORDER, "timestamp"),
        (EssTripped, {"reason": "x"}, "timestamp"),
        (EssStateChanged, {"new_state": "ARMED"}, "timestamp"),
        (ModelPromoted, {"model_name": "x", "new_version": "v"}, "promoted_at"),
    ],
)
def test_a_time_that_nobody_can_mean_is_refused(
    schema: type[Incoming], fields: dict[str, Any], name: str, written: object
) -> None:
    assert list(problems(schema, fields | {name: written})) == [name]


# Python reads all of these as numbers: underscores, Arabic, Devanagari and full-width digits, spaces of other scripts.
FOREIGN_NUMBERS = [
    "1_000",
    "\u0665",
    "\u096b",
    "\uff15",
    "1\u00b2",
    "\u20035",
    "5\u00a0",
    "0x5",
    "5d",
    "1e1_0",
    "1" * 65,
]


@pytest.mark.parametrize("written", FOREIGN_NUMBERS)
@pytest.mark.parametrize(
    ("schema", "fields", "path"),
    [
        *(
            (AiDecision, SMALLEST_DECISION, (name,))
            for name in (
                *("position_size_usd", "confidence", "entry_price", "leverage"),
                *("stop_loss", "take_profit", "trail_percent", "stop_loss_percent", "stop_loss_atr"),
                *("take_profit_percent", "take_profit_r", "take_profit_atr", "atr_period"),
            )
        ),
        *(
            (ManualOrder, SMALLEST_ORDER | {"price": "49000"}, (name,))
            for name in (
                *("quantity", "price", "leverage", "stop_loss", "take_profit", "trail_percent"),
                *("expires_in_seconds", "time_exit_seconds", "stop_loss_percent", "stop_loss_atr"),
                *("take_profit_percent", "take_profit_r", "take_profit_atr", "atr_period"),
            )
        ),
        (ManualOrder, SMALLEST_ORDER, ("take_profits", "price")),
        (ManualOrder, SMALLEST_ORDER, ("take_profits", "share")),
        (ManualOrder, SMALLEST_ORDER, ("trailing", "callback_percent")),
        (ManualOrder, SMALLEST_ORDER, ("trailing", "activation_price")),
    ],
)
def test_numbers_are_ascii_digits(
    schema: type[Incoming], fields: dict[str, Any], path: tuple[str, ...], written: str
) -> None:
    value: object = written
    if path[0] == "take_profits":
        value = [{"price": 52000, "share": "0.5"} | {path[1]: written}]
    elif path[0] == "trailing":
        value = {"callback_percent": 1} | {path[1]: written}

    assert list(problems(schema, fields | {path[0]: value})) == [path[0]]


@pytest.mark.parametrize(
    "symbol",
    ["\u017folusdt", "\u0131otausdt", "btcu\u017fdt", "\u212aavausdt", "straßeusdt", "ﬁlusdt", "BTCUSDT\u2003"],
)
@pytest.mark.parametrize("schema", [AiDecision, ManualOrder])
def test_no_letter_of_a_symbol_is_folded_into_another(schema: type[Incoming], symbol: str) -> None:
    smallest = SMALLEST_DECISION if schema is AiDecision else SMALLEST_ORDER

    assert list(problems(schema, smallest | {"symbol": symbol})) == ["symbol"]


@pytest.mark.parametrize("side", ["\u017fell", "\u017fhort", "\u2003buy", "buy\u00a0"])
def test_no_letter_of_a_side_is_folded_into_another(side: str) -> None:
    assert list(problems(AiDecision, SMALLEST_DECISION | {"side": side})) == ["side"]
    assert list(problems(ManualOrder, SMALLEST_ORDER | {"side": side})) == ["side"]


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\ud800", "\u2028", "\n"])
def test_what_steers_a_terminal_or_cannot_be_stored_has_no_place_in_a_name(character: str) -> None:
    text = f"a{character}b"
    for name in ("model", "strategy", "meta_strategy", "regime"):
        assert list(problems(AiDecision, SMALLEST_DECISION | {name: text})) == [name]
    for name in ("request_id", "requested_by"):
        assert list(problems(ManualOrder, SMALLEST_ORDER | {name: text})) == [name]
    assert list(problems(PolicyUpdated, {"key": text})) == ["key"]
    assert list(problems(ModelPromoted, {"model_name": "m", "new_version": text})) == ["new_version"]
    # It should take a trip's effect however its reason is spelled
    assert EssTripped.model_validate({"reason": text}).reason == "a b"


@pytest.mark.parametrize(
    "metadata",
    [
        {"x": float("inf")},
        {"x": float("nan")},
        {"x": [Decimal("1e400")]},
        {"x": 10**309},
        {"x\x00": 1},
        {"x": {"y": "\ud800"}},
        {"x": "a" * 16_400},
        {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}}}}},
    ],
)
def test_metadata_that_cannot_be_stored_and_read_back_is_refused(metadata: dict[str, Any]) -> None:
    assert list(problems(ManualOrder, SMALLEST_ORDER | {"metadata": metadata})) == ["metadata"]


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("0.00033333333333333333333", "0.000333333333333333"),
        ("123456789012.1234567890123456789", "123456789012.123456789012345679"),
        ("1e-12", "1E-12"),
    ],
)
def test_an_amount_keeps_as_many_digits_as_its_column(asked: str, kept: str) -> None:
    assert order(quantity=asked).quantity == Decimal(kept)


@pytest.mark.parametrize(
    "nonsense",
    [
        "yesterday",
        "²",
        True,
        [],
        {},
        10**14 * 10,
        10**20,
        10**400,
        1e300,
        "9" * 400,
        -(10**15),
        "NaN",
        Decimal("1e400"),
    ],
)
def test_a_time_that_is_none_is_refused(nonsense: object) -> None:
    assert list(problems(AiDecision, SMALLEST_DECISION | {"timestamp": nonsense})) == ["timestamp"]


def test_a_persons_order() -> None:
    actual = order(
        quantity=0.001, price=50000.5, leverage=10, stop_loss=49000, take_profit=52000, metadata={"note": "by hand"}
    )

    assert (actual.quantity, actual.price) == (Decimal("0.001"), Decimal("50000.5"))
    assert (actual.leverage, actual.stop_loss, actual.take_profit) == (10, Decimal(49000), Decimal(52000))
    assert actual.metadata == {"note": "by hand"}


def test_a_persons_order_without_a_price_is_a_market_order() -> None:
    assert order().price is None
    assert order(price=None).price is None


@pytest.mark.parametrize("name", ["quantity", "price", "stop_loss", "take_profit"])
def test_a_person_may_not_mean_nothing_by_zero(name: str) -> None:
    # It should refuse a zero, which is a mistake when a person writes it
    assert list(problems(ManualOrder, SMALLEST_ORDER | {name: 0})) == [name]


def test_exact_numbers_in_metadata_become_plain_json() -> None:
    metadata = parse_json('{"score": 0.5, "list": [0.25, {"deep": 1e-3}], "flag": true, "n": 3, "none": null}')

    actual = order(metadata=metadata).metadata

    assert actual == {"score": 0.5, "list": [0.25, {"deep": 0.001}], "flag": True, "n": 3, "none": None}
    assert json.loads(json.dumps(actual)) == actual


@pytest.mark.parametrize(("given_as", "actual"), [(None, {}), ("", {}), ({}, {})])
def test_no_metadata(given_as: object, actual: dict[str, object]) -> None:
    assert order(metadata=given_as).metadata == actual


@pytest.mark.parametrize(
    ("payload", "reason", "timestamp"),
    [
        ({"reason": "drawdown", "trip_time": "2025-12-16T03:30:00+00:00", "metrics": {}}, "drawdown", MOMENT),
        ({"reason": "x", "timestamp": "2025-12-16T03:30:00+00:00"}, "x", MOMENT),
        ({"reason": "x", "severity": "CRITICAL", "trip_level": "CRITICAL", "current_drawdown": 12.5}, "x", None),
        ({}, "", None),
        ({"reason": None}, "", None),
        ({"reason": {"drawdown": 5.2}}, "{'drawdown': 5.2}", None),
        ({"reason": "x" * 5000}, "x" * 2000, None),
    ],
)
def test_a_trip_is_a_trip_however_it_is_explained(
    payload: dict[str, Any], reason: str, timestamp: datetime | None
) -> None:
    actual = EssTripped.model_validate(payload)

    assert (actual.reason, actual.timestamp) == (reason, timestamp)


@pytest.mark.parametrize(
    ("payload", "key", "value"),
    [
        ({"key": "risk.max_leverage", "old_value": 10, "new_value": 5}, "risk.max_leverage", 5),
        ({"event_type": "policy.updated", "new_mode": "DEFENSIVE", "updated_by": "admin"}, "", None),
        ({"risk_mode": "NORMAL", "max_positions": 30}, "", None),
    ],
)
def test_the_shapes_of_a_policy_change(payload: dict[str, Any], key: str, value: object) -> None:
    actual = PolicyUpdated.model_validate(payload)

    assert (actual.key, actual.new_value) == (key, value)


@pytest.mark.parametrize(
    ("payload", "model", "old"),
    [
        ({"model_type": "xgboost", "old_version": "v3", "new_version": "v4", "promoted_at": WHEN}, "xgboost", "v3"),
        ({"model_type": "rl_ppo", "old_version": None, "new_version": "v4", "promoted_at": WHEN}, "rl_ppo", ""),
        ({"model_name": "nhits", "old_version": "v3", "new_version": "v4", "promoted_at": 1765855800.0}, "nhits", "v3"),
    ],
)
def test_the_shapes_of_a_promotion(payload: dict[str, Any], model: str, old: str) -> None:
    actual = ModelPromoted.model_validate(payload)

    assert (actual.model, actual.old_version, actual.new_version) == (model, old, "v4")
    assert actual.promoted_at == MOMENT


def test_a_promotion_without_a_model_is_refused() -> None:
    assert list(problems(ModelPromoted, {"new_version": "v4"})) == ["model_name"]


SCHEMAS: list[type[Incoming]] = [AiDecision, ManualOrder, EssTripped, PolicyUpdated, ModelPromoted]
FIELDS = sorted({name for schema in SCHEMAS for name in schema.model_fields} | {"action", "trip_time", "model_type"})
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**15, 10**400)
    | st.floats()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["buy", "hold", "BTCUSDT", "1e5", "0.0", "2025-12-16T03:30:00"])
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)


@given(st.sampled_from(SCHEMAS), st.dictionaries(st.sampled_from(FIELDS), anything))
@example(AiDecision, {**SMALLEST_DECISION, "leverage": Decimal("1e99999999")})
@example(AiDecision, {**SMALLEST_DECISION, "timestamp": 10**400})
def test_whatever_is_sent_is_read_or_refused(schema: type[Incoming], fields: dict[str, Any]) -> None:
    try:
        actual = schema.model_validate(fields)
    except ValidationError:
        return
    # It should give finite numbers only
    numbers = [value for value in actual.model_dump().values() if isinstance(value, Decimal)]
    assert all(number.is_finite() for number in numbers if number is not getattr(actual, "new_value", None))


@given(st.fixed_dictionaries({"position_size_usd": scalars, "stop_loss": scalars, "leverage": scalars}))
def test_a_decision_that_is_read_can_be_traded(fields: dict[str, Any]) -> None:
    try:
        actual = decision(**fields)
    except ValidationError:
        return
    assert actual.position_size_usd is not None
    assert Decimal("1e-12") <= actual.position_size_usd <= Decimal("1e12")
    assert actual.stop_loss is None or actual.stop_loss > 0
    assert actual.leverage is None or 1 <= actual.leverage <= 125


def test_a_limit_order_may_say_when_it_expires() -> None:
    assert order(price="49000", expires_in_seconds=90).expires_in_seconds == 90
    # The flat wire form sends text, and an empty one for what is not there.
    assert order(price="49000", expires_in_seconds="90").expires_in_seconds == 90
    assert order(expires_in_seconds="").expires_in_seconds is None


@pytest.mark.parametrize(
    "seconds", [0, -1, 366 * 24 * 3600 + 1, "soon", True, 1.5, Decimal("1.5"), Decimal("1e99999999")]
)
@pytest.mark.parametrize("field", ["expires_in_seconds", "time_exit_seconds"])
def test_seconds_have_bounds(field: str, seconds: object) -> None:
    assert field in problems(ManualOrder, SMALLEST_ORDER | {"price": "49000", field: seconds})


@pytest.mark.parametrize(
    ("name", "value"), [("expires_in_seconds", 90), ("expires_at", WHEN), ("time_in_force", "GTC")]
)
def test_a_market_order_does_not_expire(name: str, value: object) -> None:
    found = problems(ManualOrder, SMALLEST_ORDER | {name: value})

    assert found == {"": f"Value error, {name}: must be sent together with price, for a LIMIT order"}


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        *((each.value, each) for each in TimeInForce),
        *((each.value.lower(), each) for each in TimeInForce),
        ("post_only", TimeInForce.GTX),
        (" POST_ONLY ", TimeInForce.GTX),
        ("", None),
        (None, None),
    ],
)
def test_the_words_of_a_time_in_force(word: object, expected: TimeInForce | None) -> None:
    ends = {"expires_in_seconds": 90} if expected is TimeInForce.GTD else {}

    assert order(price="49000", time_in_force=word, **ends).time_in_force is expected


@pytest.mark.parametrize("word", ["RPI", "GTE_GTC", "gt", 1, True, ["GTC"]])
def test_another_time_in_force_is_refused(word: object) -> None:
    assert problems(ManualOrder, SMALLEST_ORDER | {"price": "49000", "time_in_force": word}) == {
        "time_in_force": "Value error, must be one of GTC, IOC, FOK, GTX, GTD, post_only"
    }


@pytest.mark.parametrize("field", ["expires_at", "expires_in_seconds"])
@pytest.mark.parametrize("word", ["GTC", "IOC", "FOK"])
def test_a_time_in_force_with_an_end_of_its_own_takes_no_other(word: str, field: str) -> None:
    value = WHEN if field == "expires_at" else 90

    assert problems(ManualOrder, SMALLEST_ORDER | {"price": "49000", "time_in_force": word, field: value}) == {
        "": f"Value error, {field}: must not be sent with time_in_force {word}; use GTD or GTX"
    }


def test_an_end_is_given_once_and_gtd_needs_one() -> None:
    both = {"price": "49000", "expires_at": WHEN, "expires_in_seconds": 90}

    assert order(price="49000", time_in_force="GTD", expires_at=WHEN).expires_at == MOMENT
    assert order(price="49000", time_in_force="GTX", expires_at=WHEN).expires_at == MOMENT
    assert problems(ManualOrder, SMALLEST_ORDER | both) == {
        "": "Value error, expires_at: must not be sent together with expires_in_seconds"
    }
    assert problems(ManualOrder, SMALLEST_ORDER | {"price": "49000", "time_in_force": "GTD"}) == {
        "": "Value error, expires_at: must be sent with time_in_force GTD, or expires_in_seconds"
    }


# Exits by distance

ATR_14 = {"atr_interval": "1h", "atr_period": 14}
BOTH_KINDS = pytest.mark.parametrize(
    ("schema", "smallest"), [(AiDecision, SMALLEST_DECISION), (ManualOrder, SMALLEST_ORDER)]
)


@BOTH_KINDS
def test_exits_may_be_said_by_their_distance(schema: type[Incoming], smallest: dict[str, Any]) -> None:
    read: Any = schema.model_validate(
        smallest | {"stop_loss_atr": "1.5", "take_profit_r": 2, "atr_interval": " 1h ", "atr_period": "14"}
    )

    assert (read.stop_loss_atr, read.take_profit_r) == (Decimal("1.5"), Decimal(2))
    assert (read.atr_interval, read.atr_period) == ("1h", 14)


@BOTH_KINDS
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("stop_loss", "stop_loss_percent"),
        ("stop_loss_percent", "stop_loss_atr"),
        ("take_profit", "take_profit_r"),
        ("take_profit_percent", "take_profit_atr"),
        ("take_profit_r", "take_profit_atr"),
    ],
)
def test_each_exit_is_said_in_one_way(
    schema: type[Incoming], smallest: dict[str, Any], first: str, second: str
) -> None:
    assert problems(schema, smallest | ATR_14 | {first: 5, second: 5}) == {
        "": f"Value error, {second}: must not be sent together with {first}"
    }


@BOTH_KINDS
@pytest.mark.parametrize("missing", ["atr_interval", "atr_period"])
def test_multiples_of_an_atr_name_it(schema: type[Incoming], smallest: dict[str, Any], missing: str) -> None:
    terms = {name: value for name, value in ATR_14.items() if name != missing}

    assert problems(schema, smallest | {"stop_loss_atr": 2} | terms) == {
        "": f"Value error, {missing}: must be sent with a distance in multiples of the ATR"
    }
    assert problems(schema, smallest | ATR_14) == {
        "": "Value error, atr_interval: must not be sent without a distance in multiples of the ATR"
    }


@pytest.mark.parametrize("word", ["1M", "1w", "3d", "1H", "60m", "", 60, True, ["1h"]])
def test_an_interval_is_one_of_the_exchanges_of_a_fixed_length(word: object) -> None:
    found = problems(ManualOrder, SMALLEST_ORDER | ATR_14 | {"stop_loss_atr": 2, "atr_interval": word})

    # An empty text is no interval at all; the exchange's 1M is a month, which has no fixed length.
    assert list(found) == (["atr_interval"] if word != "" else [""])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("atr_period", 1),
        ("atr_period", 101),
        ("atr_period", Decimal("1e9999999")),
        ("stop_loss_atr", "0.009"),
        ("stop_loss_atr", 1001),
        ("take_profit_r", "0.009"),
        ("take_profit_r", 1001),
        ("stop_loss_percent", "0.0009"),
        ("stop_loss_percent", 101),
        ("take_profit_percent", 101),
    ],
)
def test_distances_have_bounds(field: str, value: object) -> None:
    assert list(problems(ManualOrder, SMALLEST_ORDER | {field: value})) == [field]


@pytest.mark.parametrize("levels", [{}, {"price": 52000, "r": 2}, {"r": 2, "atr": 1}, {"percent": 1, "r": 1}])
def test_a_target_has_one_level(levels: dict[str, Any]) -> None:
    found = problems(ManualOrder, SMALLEST_ORDER | {"take_profits": [{"share": 1} | levels]})

    assert found == {"take_profits": "Value error, must have one of price, percent, r, atr"}


def test_several_targets_and_the_activation_take_distances_too() -> None:
    actual = order(
        take_profits=[{"r": 1, "share": "0.5"}, {"atr": 3, "share": "0.25"}, {"percent": 5, "share": "0.25"}],
        trailing={"callback_percent": 1, "activation_r": 1},
        **ATR_14,
    )

    assert [(each.price, each.r, each.atr, each.percent) for each in actual.take_profits] == [
        (None, 1, None, None),
        (None, None, 3, None),
        (None, None, None, 5),
    ]
    assert problems(ManualOrder, SMALLEST_ORDER | {"take_profits": [{"r": 1, "share": 1}], "take_profit_r": 1}) == {
        "": "Value error, take_profits: must not be sent together with take_profit_r"
    }
    twice = {"callback_percent": 1, "activation_r": 1, "activation_price": 51000}
    assert problems(ManualOrder, SMALLEST_ORDER | {"trailing": twice}) == {
        "trailing": "Value error, activation_r: must not be sent together with activation_price"
    }


# Sizes


@pytest.mark.parametrize("name", ["notional_usd", "equity_percent", "risk_usd", "risk_percent"])
def test_an_order_gives_its_size_in_one_way(name: str) -> None:
    without = {key: value for key, value in SMALLEST_ORDER.items() if key != "quantity"}

    assert getattr(ManualOrder.model_validate(without | {name: "5"}), name) == 5
    assert problems(ManualOrder, SMALLEST_ORDER | {name: "5"}) == {
        "": f"Value error, {name}: must not be sent together with quantity"
    }
    assert problems(ManualOrder, without) == {
        "": "Value error, quantity: must be sent, or one of notional_usd, equity_percent, risk_usd, risk_percent"
    }


@pytest.mark.parametrize("name", ["equity_percent", "risk_usd", "risk_percent"])
def test_a_decision_gives_its_size_in_one_way(name: str) -> None:
    without = {key: value for key, value in SMALLEST_DECISION.items() if key != "position_size_usd"}

    assert getattr(AiDecision.model_validate(without | {name: 5}), name) == 5
    assert problems(AiDecision, SMALLEST_DECISION | {name: 5}) == {
        "": f"Value error, {name}: must not be sent together with position_size_usd"
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("notional_usd", "-1"),
        ("notional_usd", "0"),
        ("risk_usd", "0"),
        ("equity_percent", "0.009"),
        ("equity_percent", "1000.1"),
        ("risk_percent", "0.0009"),
        ("risk_percent", "100.1"),
    ],
)
def test_sizes_have_bounds(name: str, value: str) -> None:
    without = {key: val for key, val in SMALLEST_ORDER.items() if key != "quantity"}

    assert list(problems(ManualOrder, without | {name: value})) == [name]
