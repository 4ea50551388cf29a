"""POST /api/execution/preview: it shows what the chain would do, and the chain then does exactly that."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.test import Client
from pydantic import SecretStr

from execution.api.preview import preview_ports
from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.domain.reasons import Reason
from execution.domain.states import RequestState
from execution.domain.trading import OrderType, SymbolLists
from execution.models import EntryHold, EssStatus, ExecutionRequest, Order, PolicyValue
from execution.models.hold import ACCOUNT
from execution.queries.preview import PreviewPorts
from execution.risk.ess import EssRules, hold_trip
from execution.risk.kill_switch import engage
from tests.support.decisions import decision
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
D = Decimal
URL = "/api/execution/preview"
ORDER = {"symbol": "BTCUSDT", "side": "long", "quantity": 0.01, "leverage": 5, "stop_loss": 49000, "take_profit": 52000}
Preview = Callable[[object], tuple[int, dict[str, Any]]]


@pytest.fixture
def preview(desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch) -> Preview:
    def ports() -> PreviewPorts:
        return PreviewPorts(
            risk_safety=desk.risk_safety,
            ess_rules=EssRules(fail_mode=desk.fail_mode),
            exchange=desk.exchange,
            stack=desk.stack,
            memory=desk.memory,
            lists=desk.lists,
            clock=desk.clock,
        )

    monkeypatch.setattr("execution.api.preview.preview_ports", ports)

    def ask(body: object) -> tuple[int, dict[str, Any]]:
        answer = client.post(URL, json.dumps(body), content_type="application/json")
        return answer.status_code, answer.json()

    return ask


def rows() -> dict[str, int]:
    """Return how many rows each table has."""
    return {model.__name__: model._default_manager.count() for model in apps.get_app_config("execution").get_models()}


def found(answer: dict[str, Any], *, finding: str) -> dict[str, tuple[str, str | None]]:
    """Return the rules of this finding with layer and reason code."""
    return {
        rule["rule"]: (rule["layer"], rule["reason_code"]) for rule in answer["rules"] if rule["finding"] == finding
    }


def test_an_order_shows_its_size_and_its_orders(preview: Preview) -> None:
    code, answer = preview(ORDER)

    assert (code, answer["outcome"], answer["reason_code"], answer["reason"]) == (200, "approved", None, None)
    assert (answer["symbol"], answer["side"], answer["type"]) == ("BTCUSDT", "LONG", "MARKET")
    assert answer["size"] == {
        "quantity": "0.01",
        "notional_usd": "500.001",
        "reference_price": "50000.1",
        "limit_price": None,
        "stop_price": "49000",
        "target_price": "52000",
        "leverage": 5,
        "policy_version": 0,
    }
    # It should show entry, stop and target as they would reach the exchange.
    shown = ("purpose", "service", "side", "type", "quantity", "trigger_price", "reduce_only")
    assert [tuple(order[name] for name in shown) for order in answer["orders"]] == [
        ("entry", "STANDARD", "BUY", "MARKET", "0.01", None, False),
        ("stop", "ALGO", "SELL", "STOP_MARKET", "0.01", "49000", True),
        ("target", "ALGO", "SELL", "TAKE_PROFIT_MARKET", "0.01", "52000", True),
    ]
    # Every layer should have answered, with numbers.
    assert [*dict.fromkeys(rule["layer"] for rule in answer["rules"])] == ["age", "ess", "gate", "guard", "limits"]
    assert not [rule["rule"] for rule in answer["rules"] if not rule["numbers"]]
    assert found(answer, finding="refused") == {}


CASES: dict[str, dict[str, Any]] = {
    "a market order": ORDER,
    "a short": ORDER | {"side": "short", "stop_loss": 51000, "take_profit": 48000},
    "a limit order": ORDER | {"price": 49500.04, "stop_loss": 49000},
    "a post-only order": ORDER | {"price": 49500, "time_in_force": "post_only"},
    "defaults only": {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.0109"},
    "two targets and a trailing stop": {
        **{name: value for name, value in ORDER.items() if name != "take_profit"},
        "take_profits": [{"price": 51000, "share": 0.5}, {"price": 52000, "share": 0.5}],
        "trailing": {"callback_percent": 1, "activation_price": 51500},
    },
}


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("body", CASES.values(), ids=CASES)
def test_the_chain_sends_what_was_previewed(desk: Desk, preview: Preview, body: dict[str, Any], mode: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    desk.paper.clear_ledger()
    before = rows()

    _, answer = preview(body)

    # It should have left no row, no order and no setting behind.
    assert answer["outcome"] == "approved"
    assert rows() == before
    assert {row["method"] for row in desk.paper.ledger()["requests"]} == {"GET"}
    # The same signal should then be approved with these numbers and send these orders.
    request_id = desk.signal(**{"leverage": 1, **body})
    desk.run(request_id)
    request = desk.request(request_id)
    size = answer["size"]
    assert D(size["quantity"]) == request.quantity
    assert D(size["reference_price"]) == request.reference_price
    assert D(size["stop_price"]) == request.stop_price
    assert D(size["target_price"]) == request.target_price
    sent = {order.purpose: _shown(order) for order in Order.objects.filter(request_id=request_id).order_by("-pk")}
    planned = {order["purpose"].upper(): _planned(order) for order in reversed(answer["orders"])}
    # A limit order rests: its exits follow its fills.
    expected = {"ENTRY"} if request.order_type == OrderType.LIMIT else set(planned)
    assert sent == {purpose: order for purpose, order in planned.items() if purpose in expected}


def _shown(order: Order) -> dict[str, Any]:
    values = {name: getattr(order, name) for name in NUMBERS}
    words = ("side", "position_side", "order_type", "service", "reduce_only")
    return values | {name: getattr(order, name) for name in words} | {"time_in_force": order.time_in_force or None}


def _planned(order: dict[str, Any]) -> dict[str, Any]:
    values = {name: None if order[name] is None else D(order[name]) for name in NUMBERS}
    words = {"side": "side", "position_side": "position_side", "order_type": "type", "service": "service"}
    return (
        values
        | {name: order[key] for name, key in words.items()}
        | {name: order[name] for name in ("reduce_only", "time_in_force")}
    )


NUMBERS = ("quantity", "price", "trigger_price", "callback_percent")


def test_an_event_is_previewed_as_the_bus_reads_it(preview: Preview) -> None:
    wrapped = {"event_type": "ai.decision.made", "payload": decision("BTCUSDT", "sell")}
    flat = {"event_type": "signal.execute", "symbol": "ethusdt", "side": "buy", "quantity": "0.5", "note": "x"}

    _, short = preview(wrapped)
    _, long = preview(flat)

    assert (short["outcome"], short["side"], short["size"]["notional_usd"]) == ("approved", "SHORT", "499.999")
    assert (long["outcome"], long["symbol"], long["size"]["quantity"]) == ("approved", "ETHUSDT", "0.5")


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        ([], "request", "must be a JSON object"),
        ({**ORDER, "quantity": 0}, "quantity", "Input should be greater than or equal to 1E-12"),
        ({**ORDER, "reduce_only": True}, "reduce_only", "is not known"),
        ({"event_type": "ess.tripped"}, "event_type", "must be ai.decision.made or signal.execute"),
        ({"event_type": "ai.decision.made", **decision(side="hold")}, "side", "hold is a decision not to trade"),
        ({"event_type": "signal.execute", "payload": []}, "request", "Input should be a valid dictionary"),
        (
            {"event_type": "signal.execute", "payload": {**ORDER, "close": True}},
            "close",
            "is not known; it may change what the order means",
        ),
    ],
)
def test_what_the_intake_refuses_is_refused_by_field(preview: Preview, body: object, field: str, rule: str) -> None:
    code, answer = preview(body)

    assert (code, answer["detail"]) == (400, "The request is not valid.")
    assert answer["errors"][field][0].startswith(rule)


def test_every_block_shows_as_a_verdict(desk: Desk, preview: Preview) -> None:
    engage(KillLevel.ENTRIES, Authorization(by="alice", reason="news"), now=desk.clock())
    hold_trip("margin call", tripped_at=desk.clock(), hold=desk.intake.ess_trip_hold, now=desk.clock())
    EntryHold.objects.create(
        scope=ACCOUNT, reason_code=Reason.FOREIGN_ORDERS, reason="two orders", since=desk.clock(), seen_at=desk.clock()
    )
    desk.redis.flushdb()
    desk.lists = SymbolLists(denied=frozenset({"BTCUSDT"}))
    before = rows()

    _, answer = preview({**ORDER, "quantity": 100, "leverage": 100})

    # It should name all of them, though the chain would stop at the first.
    refused = found(answer, finding="refused")
    assert {rule: code for rule, (layer, code) in refused.items() if layer == "limits"} == {
        "symbol_exposure": "SYMBOL_EXPOSURE_EXCEEDS_LIMIT",
        "open_risk": "OPEN_RISK_EXCEEDS_LIMIT",
        "daily_loss": "DAILY_LOSS_EXCEEDS_LIMIT",
    }
    assert {rule: verdict for rule, verdict in refused.items() if verdict[0] != "limits"} == {
        "ess": ("ess", "ESS_BLOCKED"),
        "kill_switch": ("gate", "KILL_SWITCH_ENGAGED"),
        "entry_hold": ("gate", "FOREIGN_ORDERS"),
        "symbol_allowed": ("guard", "SYMBOL_NOT_ALLOWED"),
        "leverage": ("guard", "LEVERAGE_EXCEEDS_LIMIT"),
        "max_notional": ("guard", "NOTIONAL_EXCEEDS_LIMIT"),
        "stop_before_liquidation": ("guard", "STOP_BEYOND_LIQUIDATION"),
    }
    assert found(answer, finding="waits") == {"redis_data": ("gate", None)}
    # The first that refuses should decide, and nothing be planned.
    assert (answer["outcome"], answer["reason_code"], answer["size"]) == ("denied", "ESS_BLOCKED", None)
    assert answer["reason"].startswith("state=TRIPPED (ess.tripped: margin call; held until ")
    assert answer["orders"] == []
    assert rows() == before


def test_a_signal_that_is_too_old_is_denied_with_its_age(desk: Desk, preview: Preview) -> None:
    old = desk.clock().replace(microsecond=0)
    desk.clock.let_pass(90)

    _, answer = preview({**ORDER, "timestamp": old.isoformat()})

    assert (answer["outcome"], answer["reason_code"]) == ("denied", "SIGNAL_TOO_OLD")
    assert answer["reason"].startswith("expected<=60s actual=9")


def test_an_open_trade_and_a_limit_refuse_as_they_would_in_the_chain(desk: Desk, preview: Preview) -> None:
    desk.trade_opened()

    _, answer = preview(ORDER)

    again = desk.signal(side="buy")
    assert (answer["outcome"], answer["reason_code"]) == ("denied", "OPEN_TRADE_EXISTS")
    assert desk.outcome(again) == (RequestState.DENIED, "OPEN_TRADE_EXISTS")
    assert desk.request(again).reason == f"OPEN_TRADE_EXISTS: {answer['reason']}"


def test_a_silent_risk_safety_is_not_counted_by_a_preview(desk: Desk, preview: Preview) -> None:
    preview(ORDER)
    desk.decide()
    desk.run(ExecutionRequest.objects.get().pk, until="check_ess")
    desk.risk.delay(2)
    before = EssStatus.objects.values().get()

    _, open_answer = preview(ORDER)
    desk.fail_mode = "closed"
    _, closed_answer = preview(ORDER)

    assert (open_answer["outcome"], closed_answer["outcome"]) == ("approved", "denied")
    assert closed_answer["reason_code"] == "ESS_BLOCKED"
    assert closed_answer["reason"].startswith("state=UNREACHABLE (")
    assert EssStatus.objects.values().get() == before


def test_without_market_data_the_decision_waits(desk: Desk, preview: Preview) -> None:
    desk.paper.add_fault(path="/fapi/v1/depth", action="reply", status=503)

    _, answer = preview(ORDER)

    assert (answer["outcome"], answer["reason_code"]) == ("waits", "MARKET_DATA_UNAVAILABLE")
    assert found(answer, finding="waits") == {"market_data": ("guard", "MARKET_DATA_UNAVAILABLE")}


def test_an_unknown_symbol_and_a_broken_policy_are_named(desk: Desk, preview: Preview) -> None:
    _, unknown = preview({**ORDER, "symbol": "NOSUCHUSDT"})
    PolicyValue.objects.create(key="risk.max_leverage", value=D(-1), version=1, source="test", changed_at=desk.clock())
    _, unusable = preview(ORDER)

    assert (unknown["outcome"], unknown["reason_code"]) == ("denied", "UNKNOWN_SYMBOL")
    assert (unusable["outcome"], unusable["reason_code"]) == ("denied", "POLICY_UNUSABLE")


def test_a_preview_reads_the_real_ports(settings: LazySettings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"execution_api_key": SecretStr("a-key-that-is-long-enough")})

    ports = preview_ports()

    assert (ports.stack.holder != "", ports.ess_rules.fail_mode) == (True, settings.ENV.ess_silence)
