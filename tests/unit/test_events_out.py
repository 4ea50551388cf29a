import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.coverage import PositionCover
from execution.domain.software_stop import ProtectedBy
from execution.domain.states import TradeState
from execution.domain.trading import Direction, OrderPurpose, OrderType, PositionSide, Side, Source
from execution.models import ExecutionRequest, Fill, Order, Position, Trade
from execution.outbox import payloads
from execution.outbox.trade_mirror import mirror_fields
from execution.store.levels import Levels

ID = UUID("12345678-1234-5678-1234-567812345678")
NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
AT = "2026-03-02T09:30:00+00:00"


def request(**columns: Any) -> ExecutionRequest:
    """A decision to buy BTCUSDT for 100 USD, as the guard approved it; never stored."""
    defaults = {
        "id": ID,
        "source": Source.AI,
        "symbol": "BTCUSDT",
        "direction": Direction.LONG,
        "expected_price": Decimal(50000),
        "quote_asset": "USDT",
        "quote_index": Decimal(1),
        "reference_price": Decimal(50010),
        "leverage": 5,
        "confidence": Decimal("0.85"),
        "model": "ensemble",
        "strategy": "momentum",
        "meta_strategy": "breakout",
        "regime": "high_vol_trending",
        "trace_id": "trace-1",
    }
    return ExecutionRequest(**(defaults | columns))


def order(**columns: Any) -> Order:
    """The entry of that decision."""
    defaults = {
        "request_id": ID,
        "purpose": OrderPurpose.ENTRY,
        "client_order_id": "es1-e-1",
        "exchange_order_id": "8389765",
        "symbol": "BTCUSDT",
        "side": Side.BUY,
        "position_side": PositionSide.BOTH,
        "order_type": OrderType.MARKET,
        "quantity": Decimal("0.002"),
    }
    return Order(**(defaults | columns))


def fill(**columns: Any) -> Fill:
    defaults = {
        "symbol": "BTCUSDT",
        "exchange_trade_id": 77,
        "exchange_order_id": "8389765",
        "buyer": True,
        "price": Decimal("50012.50"),
        "quantity": Decimal("0.002"),
        "commission": Decimal("0.04001"),
        "commission_asset": "USDT",
        "fee_value": Decimal("0.04001"),
    }
    return Fill(**(defaults | columns))


def trade(**columns: Any) -> Trade:
    """The trade of that decision, open."""
    defaults = {
        "id": ID,
        "request": request(),
        "symbol": "BTCUSDT",
        "direction": Direction.LONG,
        "position_side": PositionSide.BOTH,
        "state": TradeState.OPEN,
        "quote_asset": "USDT",
        "quote_index": Decimal(1),
        "quantity": Decimal("0.002000000000000000"),
        "exited_quantity": Decimal(0),
        "leverage": 5,
        "entry_price": Decimal("50012.50"),
        "entry_at": NOW,
        "stop_price": Decimal("48750.0"),
        "target_price": Decimal("53000.0"),
        "margin_usd": Decimal("20.005"),
        "entry_fees": Decimal("0.04001"),
        "updated_at": NOW,
    }
    return Trade(**(defaults | columns))


def closed(**columns: Any) -> Trade:
    """The trade after its target was reached, an hour later."""
    defaults = {
        "state": TradeState.CLOSED,
        "exited_quantity": Decimal("0.002"),
        "exit_price": Decimal(53000),
        "exit_at": NOW + timedelta(hours=1),
        "close_reason": "TP",
        "exit_fees": Decimal("0.0424"),
        "funding": Decimal("-0.01"),
        "gross_pnl": Decimal("5.975"),
        "net_pnl": Decimal("5.88259"),
        "net_pnl_usd": Decimal("5.88259"),
        "pnl_percent": Decimal("29.405598600349912522"),
        "r_multiple": Decimal("2.33"),
    }
    return trade(**(defaults | columns))


def test_order_placed() -> None:
    assert payloads.order_placed(order(), request(), NOW) == {
        "order_id": "8389765",
        "client_order_id": "es1-e-1",
        "trade_id": str(ID),
        "symbol": "BTCUSDT",
        "side": "buy",
        "position_side": "LONG",
        "order_type": "MARKET",
        "purpose": "entry",
        "quantity": 0.002,
        "price": 50010.0,
        "status": "placed",
        "source": "ai.decision.made",
        "correlation_id": "trace-1",
        "timestamp": AT,
    }


@pytest.mark.parametrize(
    ("columns", "order_id", "price"),
    [
        ({"order_type": OrderType.LIMIT, "price": Decimal("49990.5")}, "8389765", 49990.5),
        (
            {"purpose": OrderPurpose.STOP, "exchange_order_id": "", "algo_id": "9", "trigger_price": Decimal(48750)},
            "9",
            48750.0,
        ),
    ],
)
def test_order_placed_names_the_orders_own_id_and_price(columns: dict[str, Any], order_id: str, price: float) -> None:
    event = payloads.order_placed(order(**columns), request(), NOW)

    assert (event["order_id"], event["price"]) == (order_id, price)


def test_order_filled() -> None:
    assert payloads.order_filled(fill(), order(), request(), Decimal("0.002"), NOW) == {
        "order_id": "8389765",
        "client_order_id": "es1-e-1",
        "fill_id": "77",
        "trade_id": str(ID),
        "symbol": "BTCUSDT",
        "side": "buy",
        "price": 50012.5,
        "fill_price": 50012.5,
        "quantity": 0.002,
        "fill_size": 0.002,
        "cumulative_quantity": 0.002,
        "fees": 0.04001,
        "fee_asset": "USDT",
        "fees_usd": 0.04001,
        "fees_quote": 0.04001,
        "quote_asset": "USDT",
        "quote_index": 1.0,
        "slippage_pct": 0.025,
        "timestamp": AT,
    }


def test_the_fill_of_an_exit_has_no_slippage() -> None:
    stop = order(purpose=OrderPurpose.STOP)

    assert payloads.order_filled(fill(buyer=False), stop, request(), Decimal(1), NOW)["slippage_pct"] is None


def test_a_fill_by_an_order_that_is_not_ours() -> None:
    event = payloads.order_filled(fill(buyer=False), None, request(), Decimal(1), NOW)

    assert (event["client_order_id"], event["side"], event["slippage_pct"]) == ("", "sell", None)


@pytest.mark.parametrize(
    ("direction", "expected_price", "price", "slippage"),
    [
        (Direction.LONG, "50000", "50250", "0.005"),
        (Direction.LONG, "50000", "49750", "-0.005"),
        (Direction.SHORT, "50000", "49750", "0.005"),
        (Direction.SHORT, "50000", "50250", "-0.005"),
        # without a planned price, of the price that the guard saw
        (Direction.LONG, None, "50010", "0"),
    ],
)
def test_slippage_is_positive_when_it_costs(
    direction: Direction, expected_price: str | None, price: str, slippage: str
) -> None:
    planned = request(direction=direction, expected_price=Decimal(expected_price) if expected_price else None)

    assert payloads.slippage(planned, Decimal(price)) == Decimal(slippage)


def test_without_any_plan_there_is_no_slippage() -> None:
    assert payloads.slippage(request(expected_price=None, reference_price=None), Decimal(50000)) == 0


def test_order_failed() -> None:
    event = payloads.order_failed(
        symbol="BTCUSDT",
        side="buy",
        reason=("ESS_BLOCKED", "ESS_BLOCKED: state=TRIPPED"),
        now=NOW,
        client_order_id="es1-e-1",
        error_code=-2019,
        ess_state="TRIPPED",
        attempts=2,
        trace_id="trace-1",
        trade_id=str(ID),
    )

    assert event == {
        "order_id": None,
        "client_order_id": "es1-e-1",
        "trade_id": str(ID),
        "symbol": "BTCUSDT",
        "side": "buy",
        "reason": "ESS_BLOCKED: state=TRIPPED",
        "reason_code": "ESS_BLOCKED",
        "error_code": -2019,
        "ess_state": "TRIPPED",
        "attempts": 2,
        "correlation_id": "trace-1",
        "timestamp": AT,
    }


def test_a_failure_without_a_sentence_gives_its_code() -> None:
    event = payloads.order_failed(symbol="BTCUSDT", side="buy", reason=("HOLD", ""), now=NOW)

    assert (event["reason"], event["attempts"], event["error_code"]) == ("HOLD", 0, None)


def test_trade_opened() -> None:
    assert payloads.trade_opened(trade(), request(), order(), NOW) == {
        "trade_id": str(ID),
        "order_id": "8389765",
        "symbol": "BTCUSDT",
        "quote_asset": "USDT",
        "quote_index": 1.0,
        "side": "long",
        "entry_price": 50012.5,
        "quantity": 0.002,
        "leverage": 5.0,
        "model": "ensemble",
        "confidence": 0.85,
        "strategy": "momentum",
        "origin": "ai.decision.made",
        "margin_usd": 20.005,
        "stop_loss": 48750.0,
        "take_profit": 53000.0,
        "timestamp": AT,
    }


def test_a_persons_trade_has_the_words_that_readers_expect() -> None:
    by_hand = request(model="", strategy="", confidence=None, source=Source.REST)

    event = payloads.trade_opened(trade(), by_hand, order(), NOW)

    assert (event["model"], event["strategy"], event["confidence"]) == ("manual", "default", 0.0)


@pytest.mark.parametrize(
    ("source", "told", "expected"),
    [
        (Source.AI, "xgboost", "xgboost"),
        (Source.AI, "", "unknown"),
        (Source.SIGNAL, "", "manual"),
        (Source.REST, "", "manual"),
        (Source.EXTERNAL, "", "external"),
    ],
)
def test_source_model_and_strategy_are_three_facts(source: Source, told: str, expected: str) -> None:
    event = payloads.trade_opened(trade(), request(model=told, strategy="", source=source), order(), NOW)

    assert (event["origin"], event["model"], event["strategy"]) == (source, expected, "default")


def test_trade_closed_has_every_name_of_the_same_number() -> None:
    event = payloads.trade_closed(closed(), request(), order(), NOW)

    # It should give the risk-safety service its loss, whatever the reader calls it
    assert event["pnl_usd"] == event["realized_pnl"] == 5.88259
    assert event["pnl_percent"] == event["pnl_pct"] == event["realized_pnl_pct"] == pytest.approx(29.4055986)
    assert event["reason"] == event["close_reason"] == "TP"
    # It should give the rest of the books
    assert {name: event[name] for name in ("entry_price", "exit_price", "quantity", "gross_pnl_usd", "r_multiple")} == {
        "entry_price": 50012.5,
        "exit_price": 53000.0,
        "quantity": 0.002,
        "gross_pnl_usd": 5.975,
        "r_multiple": 2.33,
    }
    assert (event["fees_usd"], event["funding_usd"], event["duration_sec"]) == (0.08241, -0.01, 3600.0)
    assert (event["source"], event["side"], event["trade_id"]) == ("execution", "long", str(ID))


def test_position_updated() -> None:
    position = Position(
        symbol="BTCUSDT",
        position_side=PositionSide.BOTH,
        direction=Direction.LONG,
        trade_id=ID,
        quote_asset="USDT",
        quote_index=Decimal(1),
        quantity=Decimal("0.002"),
        entry_price=Decimal("50012.5"),
        mark_price=Decimal(50100),
        unrealized_pnl=Decimal("0.175"),
        initial_margin=Decimal(20),
        liquidation_price=Decimal(40500),
    )

    cover = PositionCover(
        has_tp_sl=True, protected=False, protected_by=ProtectedBy.SOFTWARE, overdue=("STOP_OVERDUE order=es1-s",)
    )
    legs: dict[str, Any] = {"cover": cover, "levels": Levels(stop=Decimal(48750))}
    event = payloads.position_updated(position, leverage=5, **legs, now=NOW)

    assert event == {
        "symbol": "BTCUSDT",
        "side": "LONG",
        "quantity": 0.002,
        "size": 0.002,
        "entry_price": 50012.5,
        "current_price": 50100.0,
        "mark_price": 50100.0,
        "quote_asset": "USDT",
        "quote_index": 1.0,
        "unrealized_pnl": 0.175,
        "unrealized_pnl_quote": 0.175,
        "unrealized_pnl_pct": 0.875,
        "leverage": 5,
        "margin_usd": 20.0,
        "value": 100.2,
        "liquidation_price": 40500.0,
        "stop_loss": 48750.0,
        "take_profit": None,
        "stop_required": True,
        "has_tp_sl": True,
        "protected": False,
        "protected_by": "software",
        "overdue_stops": ["STOP_OVERDUE order=es1-s"],
        "trade_id": str(ID),
        "timestamp": AT,
    }
    # It should not divide by a margin that the exchange does not give, nor invent a trade
    position.initial_margin, position.trade_id = Decimal(0), None
    bare = payloads.position_updated(position, leverage=None, **legs, now=NOW)
    assert (bare["unrealized_pnl_pct"], bare["trade_id"], bare["leverage"]) == (None, None, None)


def test_every_payload_is_json_without_help() -> None:
    bodies = [
        payloads.order_placed(order(), request(), NOW),
        payloads.order_filled(fill(), order(), request(), Decimal(1), NOW),
        payloads.order_failed(symbol="X", side="", reason=("HOLD", ""), now=NOW),
        payloads.trade_opened(trade(), request(), order(), NOW),
        payloads.trade_closed(closed(), request(), order(), NOW),
    ]

    # It should hold no Decimal, datetime or UUID: a serialiser once lost a safety event over one
    assert json.loads(json.dumps(bodies)) == bodies


# The stop has been moved, and the last target is gone.
LEVELS = Levels(stop=Decimal(49500))


def test_an_open_trade_in_the_mirror() -> None:
    assert mirror_fields(trade(), LEVELS) == {
        "trade_id": str(ID),
        "symbol": "BTCUSDT",
        "quote_asset": "USDT",
        "quote_index": "1",
        "side": "LONG",
        "status": "OPEN",
        "quantity": "0.002",
        "leverage": "5",
        "margin_usd": "20.005",
        "entry_price": "50012.5",
        "entry_time": AT,
        "sl_price": "49500",
        "tp_price": "",
        "initial_sl_price": "48750",
        "initial_tp_price": "53000",
        "exit_price": "",
        "exit_time": "",
        "close_reason": "",
        "pnl_usd": "",
        "pnl_pct": "",
        "r_multiple": "",
        "entry_fee_usd": "0.04001",
        "exit_fee_usd": "0",
        "funding_fees_usd": "0",
        "model": "ensemble",
        "confidence": "0.85",
        "meta_strategy_id": "breakout",
        "regime": "high_vol_trending",
        "updated_at": AT,
    }


def test_a_reduced_trade_in_the_mirror_shows_what_is_left() -> None:
    fields = mirror_fields(trade(state=TradeState.REDUCED, exited_quantity=Decimal("0.0005")), LEVELS)

    # It should not vanish from those who look for open trades
    assert (fields["status"], fields["quantity"]) == ("OPEN", "0.0015")


def test_a_closed_trade_in_the_mirror_shows_what_was_traded() -> None:
    fields = mirror_fields(closed(), LEVELS)

    assert (fields["status"], fields["quantity"]) == ("CLOSED", "0.002")
    assert (fields["exit_price"], fields["exit_time"]) == ("53000", "2026-03-02T10:30:00+00:00")
    assert (fields["close_reason"], fields["pnl_usd"], fields["r_multiple"]) == ("TP", "5.88259", "2.33")
    assert (fields["exit_fee_usd"], fields["funding_fees_usd"]) == ("0.0424", "-0.01")
    # It should hold text only, which is all that a Redis hash takes
    assert all(isinstance(value, str) for value in fields.values())


def test_a_persons_trade_in_the_mirror() -> None:
    assert mirror_fields(trade(request=request(confidence=None)), LEVELS)["confidence"] == ""
