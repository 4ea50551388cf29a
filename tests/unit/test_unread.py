"""What an order may carry beside the fields that are read, and what would give it another meaning."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from execution.domain.unread import ReadFields, letters, nearest, not_known, not_read
from execution.signals.schemas import AiDecision, ManualOrder, OrderFields, RestOrder, schema_errors

DECISION: dict[str, Any] = {"symbol": "BTCUSDT", "side": "buy", "position_size_usd": 100}
SIGNAL: dict[str, Any] = {"symbol": "BTCUSDT", "side": "sell", "quantity": "0.002"}
ORDERS: dict[type[OrderFields], dict[str, Any]] = {AiDecision: DECISION, ManualOrder: SIGNAL}
# Each would have traded otherwise than it says: seen on a running stack.
OPPOSITE: list[tuple[dict[str, Any], str, str]] = [
    ({"reduce_only": True}, "reduce_only", "is not known; it may change what the order means"),
    ({"closePosition": "true"}, "closePosition", "is not known; it may change what the order means"),
    ({"dry_run": True}, "dry_run", "is not known; it may change what the order means"),
    ({"stopLoss": 1}, "stopLoss", "is not known; did you mean stop_loss?; it may change what the order means"),
    ({"action": "close"}, "action", "contradicts side: 'close' is not {side}"),
    ({"action": "hold"}, "action", "contradicts side: 'hold' is not {side}"),
    ({"action": "{other}"}, "action", "contradicts side: {other} is not {side}"),
    ({"order_type": "LIMIT"}, "order_type", "must be market: an order without a price is a market order"),
    ({"type": "STOP_MARKET"}, "type", "must be market: an order without a price is a market order"),
    ({"positionSide": "{other}"}, "positionSide", "contradicts side: {other} is not {side}"),
    ({"params": {"reduceOnly": True}}, "params.reduceOnly", "is not known; it may change what the order means"),
    (
        {"orderParams": {"reduceOnly": True}},
        "orderParams.reduceOnly",
        "is not known; it may change what the order means",
    ),
    ({"kind": "LIMIT"}, "kind", "must be market: an order without a price is a market order"),
    ({"signal": "{other}"}, "signal", "contradicts side: {other} is not {side}"),
    ({"execute": 0.0}, "execute", "is not known; it may change what the order means"),
    ({"signal": "EXIT"}, "signal", "contradicts side: 'exit' is not {side}"),
    ({"execute": False}, "execute", "is not known; it may change what the order means"),
    ({"position_effect": "CLOSE"}, "position_effect", "is not known; it may change what the order means"),
    # A wrapper that is no object, of which nobody reads the inside.
    ({"params": ["reduceOnly"]}, "params", "is not known; it may change what the order means"),
    ({"flags": "x"}, "flags", "is not known; it may change what the order means"),
    ({"is_active": False}, "is_active", "is not known; it may change what the order means"),
    ({"orderKind": "\tSTOP "}, "orderKind", "must be market: an order without a price is a market order"),
    ({"action": f"close{'x' * 50}"}, "action", f"contradicts side: 'close{'x' * 35}' is not {{side}}"),
]
# What producers send that says nothing, or says what the order says anyway.
HARMLESS: list[dict[str, Any]] = [
    {"reduce_only": False},
    {"closePosition": ""},
    {"dryRun": "false"},
    {"stop_loss_pct": 0},
    {"sl": None},
    {"tags": []},
    {"action": "{same}"},
    {"positionSide": "BOTH"},
    {"order_type": "market"},
    {"execute": True},
    {"ensemble_confidence": 0.7},
    {"current_price": 50000},
    {"signal": 0.8},
    {"features": {"close": 50000.0, "rsi": 40}},
    {"strategy_id": "s-1"},
    {"params": {}},
    {"trace_id": "t"},
    {"notes": "the short squeeze may end"},
    {"action": ""},
    {"action": None},
    {"action": " NULL "},
    {"type": ""},
    {"order_type": "none"},
    {"order_type": " Market\n"},
    {"dry_run": " False "},
    {"stop_loss_pct": "0.00"},
    {"stop_loss_pct": Decimal("-0.0")},
    {"stop_loss_pct": 0.0},
    {"brackets": {}},
    # A number is a name of the producer's own.
    {"kind": 3},
]


def other_and_same(schema: type[OrderFields]) -> tuple[str, str]:
    return ("sell", "buy") if schema is AiDecision else ("long", "short")


def worded(text: str, schema: type[OrderFields]) -> str:
    other, _ = other_and_same(schema)
    return text.replace("{other}", repr(other)).replace("{side}", repr(ORDERS[schema]["side"]))


def filled(change: dict[str, Any], schema: type[OrderFields]) -> dict[str, Any]:
    other, same = other_and_same(schema)
    words = {"{other}": other, "{same}": same}
    return {name: words.get(value, value) if isinstance(value, str) else value for name, value in change.items()}


def rules(schema: type[OrderFields], payload: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        schema.model_validate(payload)
    return dict(schema_errors(caught.value, schema))


@pytest.mark.parametrize("schema", ORDERS)
@pytest.mark.parametrize(("change", "field", "rule"), OPPOSITE)
def test_what_gives_an_order_another_meaning_is_refused_by_name(
    schema: type[OrderFields], change: dict[str, Any], field: str, rule: str
) -> None:
    assert rules(schema, ORDERS[schema] | filled(change, schema)) == {field: worded(rule, schema)}


@pytest.mark.parametrize("value", [0, 0.0, "0", "0.0", "0e3", "-0", "false", "NO", "off", "close"])
def test_a_consent_that_is_refused_in_any_spelling_is_told(value: object) -> None:
    assert list(rules(ManualOrder, SIGNAL | {"execute": value})) == ["execute"]


@pytest.mark.parametrize("value", [1, 0.5, "1", "yes", "", None, [], {}, "soon"])
def test_a_consent_that_is_given_or_empty_is_left_aside(value: object) -> None:
    assert ManualOrder.model_validate(SIGNAL | {"execute": value}) == ManualOrder.model_validate(SIGNAL)


@pytest.mark.parametrize("schema", ORDERS)
@pytest.mark.parametrize("extra", HARMLESS)
def test_what_says_nothing_of_the_order_is_left_aside(schema: type[OrderFields], extra: dict[str, Any]) -> None:
    read = schema.model_validate(ORDERS[schema] | filled(extra, schema))

    assert read == schema.model_validate(ORDERS[schema])


@pytest.mark.parametrize(
    ("written", "expected"),
    [({"side": "hold", "action": "buy"}, "action"), ({"side": "buy", "action": "hold"}, "action")],
)
def test_a_hold_beside_a_direction_is_a_contradiction(written: dict[str, Any], expected: str) -> None:
    assert list(rules(AiDecision, DECISION | written)) == [expected]


def test_a_decision_may_call_its_side_action() -> None:
    decision = {"symbol": "BTCUSDT", "action": "sell", "position_size_usd": 100, "quantity": 100.0}

    assert AiDecision.model_validate(decision).side == "SHORT"


def test_the_type_of_a_limit_order_is_limit() -> None:
    limit = SIGNAL | {"price": "50000"}

    assert ManualOrder.model_validate(limit | {"type": "limit"}).price == 50000
    assert rules(ManualOrder, limit | {"type": "MARKET"}) == {
        "type": "must be limit: an order with a price is a limit order"
    }


@pytest.mark.parametrize("schema", [ManualOrder, RestOrder])
@pytest.mark.parametrize("empty", ["", " ", "\t"])
def test_an_empty_price_makes_no_market_order(schema: type[OrderFields], empty: str) -> None:
    assert rules(schema, SIGNAL | {"price": empty}) == {
        "price": "must be a positive number, or left out for a MARKET order"
    }


def test_every_unknown_field_of_a_rest_order_is_named_at_once() -> None:
    strange = {"stopLoss": 1, "foo": 2, "reduce_only": False, "trailing": {"callback_percent": 1, "step": 2}}

    assert rules(RestOrder, SIGNAL | strange | {"quantity": -1}) == {
        "quantity": "Input should be greater than or equal to 1E-12",
        "stopLoss": "is not known; did you mean stop_loss?",
        "foo": "is not known",
        "reduce_only": "is not known",
        "trailing.step": "is not known",
    }


@pytest.mark.parametrize("schema", [ManualOrder, RestOrder])
def test_no_field_of_a_target_is_swallowed(schema: type[OrderFields]) -> None:
    targets = [{"price": 60000, "share": 0.5, "reduce_only": True}]

    assert rules(schema, SIGNAL | {"take_profits": targets}) == {"take_profits.0.reduce_only": "is not known"}


STEMS = [
    "reduce only",
    "close position",
    "dry run",
    "stop loss",
    "take profit",
    "time in force",
    "post only",
    "test mode",
    "limit price",
    "order type",
    "position side",
    "trailing stop",
    "exit",
    "close",
    "sl",
    "tp",
    "qty",
    "expires at",
    "stop price",
    "close all",
    "flatten",
    "is closing",
    "paper trade",
    "simulated",
    "cancel after",
    "max price",
]
SPELLINGS: dict[str, Callable[[list[str]], str]] = {
    "snake": "_".join,
    "kebab": "-".join,
    "dotted": ".".join,
    "capitals": lambda words: "_".join(words).upper(),
    "camel": lambda words: words[0] + "".join(word.title() for word in words[1:]),
    "pascal": lambda words: "".join(word.title() for word in words),
    "one word": "".join,
    "spaced": " ".join,
    "wide": lambda words: "_".join("".join(chr(ord(letter) + 0xFEE0) for letter in word) for word in words),
}


@pytest.mark.parametrize("schema", ORDERS)
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("stem", STEMS)
def test_no_spelling_of_a_dangerous_name_passes(schema: type[OrderFields], stem: str, spelling: str) -> None:
    name = SPELLINGS[spelling](stem.split())
    value: Any = random.Random(name).choice([True, "true", 1, "GTC", 0.5, "yes", {"x": 1}])  # noqa: S311 -- a test's dice

    assert list(rules(schema, ORDERS[schema] | {name: value})) == [name]


@pytest.mark.parametrize(
    "name", ["redcue_only", "clsoe_position", "stop_los", "take_proft", "quantiy", "levrage", "prise"]
)
def test_a_misspelt_name_counts_as_the_name(name: str) -> None:
    assert list(rules(ManualOrder, SIGNAL | {name: 1})) == [name]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("stopLoss", "stop_loss"), ("qty", None), ("take_proft", "take_profit"), ("Symbol", "symbol"), ("xyz", None)],
)
def test_the_nearest_name_is_told(name: str, meant: str | None) -> None:
    assert nearest(name, RestOrder.model_fields) == meant
    assert not_known(name, RestOrder.model_fields) == (
        f"is not known; did you mean {meant}?" if meant else "is not known"
    )


def test_of_two_spellings_of_a_name_the_same_one_is_told_in_any_order() -> None:
    assert nearest("stop loss", ["stop_loss", "stopLoss"]) == nearest("stop loss", ["stopLoss", "stop_loss"])
    assert nearest("stop loss", ["stop_loss", "stopLoss"]) == "stop_loss"


@pytest.mark.parametrize(
    ("side", "told"), [(None, ""), (f" Buy{'x' * 50}", f"buy{'x' * 37}"), ("b", "b"), (7, "7"), ("hold", "hold")]
)
def test_a_contradiction_names_the_side_that_was_sent_up_to_forty_letters(side: object, told: str) -> None:
    said = ReadFields(known=frozenset({"side"}), side=side, limit=False)

    assert list(not_read({"side": side, "action": "sell"}, said)) == [
        ("action", f"contradicts side: 'sell' is not {told!r}")
    ]


def test_letters_are_what_all_spellings_share() -> None:
    assert {
        letters(each) for each in ("reduceOnly", "REDUCE-ONLY", "reduce only", "reduce.only", "\uff52educe_only")
    } == {"reduceonly"}


def test_several_fields_are_named_each() -> None:
    said = ReadFields(known=frozenset({"side"}), side="buy", limit=False)

    assert list(not_read({"side": "buy", "tif": "GTC", "note": "x", "exit": 1}, said)) == [
        ("tif", "is not known; it may change what the order means"),
        ("exit", "is not known; it may change what the order means"),
    ]


@pytest.mark.parametrize("answer", ["", "none", "null", "nil", "0", "false", "no", "off", "n", "f"])
def test_each_way_to_say_no_says_nothing_of_a_reducing_order(answer: str) -> None:
    assert ManualOrder.model_validate(SIGNAL | {"reduceOnly": f" {answer.upper()} "}).quantity == Decimal("0.002")


@pytest.mark.parametrize("kind", ["current", "mark", "index", "last", "signal", "predicted", "reference", "close"])
@pytest.mark.parametrize("spelling", ["{}_price", "{}Price", "{}-price"])
def test_a_price_of_the_market_is_no_price_of_the_order(kind: str, spelling: str) -> None:
    assert ManualOrder.model_validate(SIGNAL | {spelling.format(kind): 50_000}).price is None


@pytest.mark.parametrize("name", ["ensemble_confidence", "modelType", "signal-type"])
def test_what_the_model_says_of_itself_changes_no_order(name: str) -> None:
    assert ManualOrder.model_validate(SIGNAL | {name: "limit"}).price is None


@pytest.mark.parametrize(
    "word",
    [
        *("sl", "tp", "be", "qty", "size", "type", "tif", "gtc", "gtd", "gtx", "ioc", "fok", "ttl", "oco", "exec"),
        *("buy", "sell", "long", "short", "hold", "add", "post"),
    ],
)
def test_each_short_word_is_dangerous_beside_another_one(word: str) -> None:
    assert list(rules(ManualOrder, SIGNAL | {f"my_{word}_x": 1})) == [f"my_{word}_x"]
