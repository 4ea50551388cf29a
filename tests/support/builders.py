"""Rows for tests, one call a row: every default is a plausible trade, every column can be overridden by its name."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import uuid4

from execution.domain.client_ids import client_order_id
from execution.domain.quote_index import in_usd
from execution.domain.shortfall import Benchmark
from execution.domain.states import OrderState, RequestState, TradeState
from execution.domain.trading import Direction, OrderPurpose, OrderService, OrderType, PositionSide, Source
from execution.models import (
    AccountLease,
    AuditEvent,
    Bracket,
    BracketLeg,
    EssStatus,
    ExecutionRequest,
    Fill,
    Heartbeat,
    InboxEvent,
    Order,
    OutboxEvent,
    Position,
    Shortfall,
    StreamedFill,
    Trade,
)
from execution.models.inbox import InboxOutcome
from execution.risk.entry_gate import Stack

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
_numbers = count(1)


def inbox(**columns: Any) -> InboxEvent:
    """An event as it came in."""
    defaults = {
        "event_type": Source.AI,
        "identity": f"test:{next(_numbers)}",
        "payload": {"symbol": "BTCUSDT"},
        "outcome": InboxOutcome.REQUESTED,
        "received_at": NOW,
    }
    return InboxEvent.objects.create(**(defaults | columns))


def request(**columns: Any) -> ExecutionRequest:
    """A decision to buy BTCUSDT at market for 100 USD; from APPROVED on use `approved()`, which has the numbers."""
    received_at = columns.get("received_at", NOW)
    source = columns.get("source", Source.AI)
    defaults: dict[str, Any] = {
        "source": source,
        "symbol": "BTCUSDT",
        "direction": Direction.LONG,
        "order_type": OrderType.MARKET,
        "notional_usd": Decimal(100),
        "leverage": 10,
        "confidence": Decimal("0.85") if source == Source.AI else None,
        "model": "ensemble" if source == Source.AI else "",
        "strategy": "momentum" if source == Source.AI else "",
        "state": RequestState.RECEIVED,
        "decided_at": received_at,
        "received_at": received_at,
        "expires_at": received_at + timedelta(seconds=60),
        "moved_at": received_at,
    }
    if "inbox" not in columns:
        columns["inbox"] = inbox(event_type=source, received_at=received_at)
    return ExecutionRequest.objects.create(**(defaults | columns))


def approved(**columns: Any) -> ExecutionRequest:
    """A request with the guard's numbers; RECORDED unless another state is given."""
    defaults = {
        "state": RequestState.RECORDED,
        "quote_asset": "USDT",
        "quote_index": Decimal(1),
        "reference_price": Decimal(50000),
        "quantity": Decimal("0.002"),
        "stop_price": Decimal(49000),
        "target_price": Decimal(52000),
        "position_side": PositionSide.BOTH,
        "policy_version": 0,
    }
    return request(**(defaults | columns))


def bracket(owner: ExecutionRequest) -> Bracket:
    """The plan of an approved request: one stop and one target for everything."""
    planned = Bracket.objects.create(
        request=owner,
        tick_size=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        minimum_quantity=Decimal("0.001"),
        minimum_notional=Decimal(5),
    )
    for purpose, price in ((OrderPurpose.STOP, owner.stop_price), (OrderPurpose.TARGET, owner.target_price)):
        BracketLeg.objects.create(bracket=planned, purpose=purpose, price=price)
    return planned


def order(owner: ExecutionRequest, **columns: Any) -> Order:
    """A filled entry of `owner`; a STOP or TARGET rests in the algo book at the planned price."""
    purpose = OrderPurpose(columns.get("purpose", OrderPurpose.ENTRY))
    sequence = columns.get("sequence", 1)
    entry = purpose is OrderPurpose.ENTRY
    quantity = columns.get("quantity", owner.quantity or Decimal("0.002"))
    state = columns.get("state", OrderState.FILLED if entry else OrderState.ACCEPTED)
    direction = Direction(owner.direction)
    number = str(8_000_000 + next(_numbers))
    defaults = {
        "purpose": purpose,
        "sequence": sequence,
        "client_order_id": client_order_id(owner.pk, purpose, sequence),
        "side": direction.entry_side if entry else direction.exit_side,
        "symbol": owner.symbol,
        "position_side": owner.position_side or PositionSide.BOTH,
        "quantity": quantity,
        "state": state,
        "executed_quantity": quantity if state == OrderState.FILLED else 0,
        "attempts": 1,
        "sent_at": owner.received_at,
        "recv_window_ms": 3000,
        "created_at": owner.received_at,
        "reduce_only": not entry,
    }
    return Order.objects.create(request=owner, **(defaults | _kind(owner, purpose, number) | columns))


def _kind(owner: ExecutionRequest, purpose: OrderPurpose, number: str) -> dict[str, Any]:
    """The columns that differ between ordinary and conditional orders."""
    if purpose is OrderPurpose.STOP:
        conditional = {"order_type": OrderType.STOP_MARKET, "trigger_price": owner.stop_price}
    elif purpose is OrderPurpose.TARGET:
        conditional = {"order_type": OrderType.TAKE_PROFIT_MARKET, "trigger_price": owner.target_price}
    else:
        order_type = owner.order_type if purpose is OrderPurpose.ENTRY else OrderType.MARKET
        limit = {"price": owner.limit_price_asked} if order_type == OrderType.LIMIT else {}
        return {"service": OrderService.STANDARD, "exchange_order_id": number, "order_type": order_type} | limit
    return {"service": OrderService.ALGO, "algo_id": number} | conditional


def trade(owner: ExecutionRequest | None = None, **columns: Any) -> Trade:
    """An open trade of 0.002 BTC from 50000, stop 49000, target 52000; its request is made when none is given."""
    shared = {name: columns[name] for name in ("symbol", "direction", "position_side") if name in columns}
    owner = owner or approved(**shared)
    entry_at = columns.get("entry_at", owner.received_at)
    defaults = {
        "id": owner.pk,
        "symbol": owner.symbol,
        "direction": owner.direction,
        "position_side": owner.position_side or PositionSide.BOTH,
        "state": TradeState.OPEN,
        "quantity": owner.quantity or Decimal("0.002"),
        "leverage": owner.leverage,
        "entry_price": Decimal(50000),
        "entry_at": entry_at,
        "reference_price": Decimal(50000),
        "slippage_fraction": Decimal(0),
        "stop_price": owner.stop_price or Decimal(49000),
        "target_price": owner.target_price or Decimal(52000),
        "quote_asset": owner.quote_asset,
        "quote_index": owner.quote_index,
        "margin": Decimal(10),
        "margin_usd": in_usd(Decimal(10), owner.quote_index),
        "entry_fees": Decimal("0.04"),
        "created_at": entry_at,
        "updated_at": entry_at,
    }
    return Trade.objects.create(request=owner, **(defaults | columns))


def closed_trade(owner: ExecutionRequest | None = None, **columns: Any) -> Trade:
    """The trade of `trade()` closed by its target an hour later: 4 gross, 0.08 fees, 3.92 net."""
    entry_at = columns.get("entry_at", owner.received_at if owner else NOW)
    quantity = columns.get("quantity", owner.quantity if owner and owner.quantity else Decimal("0.002"))
    defaults = {
        "state": TradeState.CLOSED,
        "exited_quantity": quantity,
        "exit_price": Decimal(52000),
        "exit_at": entry_at + timedelta(hours=1),
        "close_reason": "TP",
        "exit_fees": Decimal("0.04"),
        "gross_pnl": Decimal(4),
        "net_pnl": Decimal("3.92"),
        "pnl_percent": Decimal("39.2"),
        "r_multiple": Decimal("1.96"),
    }
    closed = defaults | columns
    # Booked as it was filled.
    closed.setdefault("updated_at", closed["exit_at"])
    # At the owner's index, as at the close.
    price = closed.get("quote_index", owner.quote_index if owner else Decimal(1))
    return trade(owner, **({"net_pnl_usd": in_usd(closed["net_pnl"], price)} | closed))


def fill(owner: Trade, **columns: Any) -> Fill:
    """One fill of the whole entry at the entry price; with `entry=False` one of the whole exit."""
    entry = columns.get("entry", True)
    source: Order | None = columns.get("order")
    defaults = {
        "symbol": owner.symbol,
        "exchange_trade_id": next(_numbers),
        "exchange_order_id": source.exchange_order_id if source else "",
        "order": source,
        "entry": entry,
        "buyer": entry == (owner.direction == Direction.LONG),
        "price": owner.entry_price if entry else owner.exit_price,
        "quantity": owner.quantity,
        "realized_pnl": Decimal(0) if entry else owner.gross_pnl,
        "commission": owner.entry_fees if entry else owner.exit_fees,
        "commission_asset": "USDT",
        "maker": False,
        "filled_at": owner.entry_at if entry else owner.exit_at,
    }
    return Fill.objects.create(trade=owner, **(defaults | columns))


def shortfall(owner: Trade, **columns: Any) -> Shortfall:
    """What the execution of a closed trade has cost: 1.5, of which 0.08 are fees."""
    parts = {
        "delay": "1",
        "spread": "0.1",
        "impact": "0.32",
        "missed": "0",
        "fees": "0.08",
        "funding": "0",
        "other": "0",
    }
    defaults: dict[str, Any] = {
        "symbol": owner.symbol,
        "strategy": owner.request.strategy,
        "direction": owner.direction,
        "order_type": owner.request.order_type,
        "hour": owner.request.decided_at.hour,
        "size": "<1k",
        "closed_at": owner.exit_at,
        "quote_asset": owner.quote_asset,
        "quote_index": owner.quote_index,
        "notional_usd": Decimal(100),
        "wanted_quantity": owner.quantity,
        "missed_quantity": Decimal(0),
        "benchmark": Benchmark.DECISION,
        "benchmark_price": Decimal(50000),
        "total": Decimal("1.5"),
        **{name: Decimal(amount) for name, amount in parts.items()},
        "books_of": owner.updated_at,
    }
    return Shortfall.objects.create(trade=owner, **(defaults | columns))


def told_fill(source: Order, **columns: Any) -> StreamedFill:
    """The fill of a whole order as the user-data stream told it."""
    defaults = {
        "symbol": source.symbol,
        "exchange_trade_id": next(_numbers),
        "exchange_order_id": source.exchange_order_id,
        "buyer": source.side == "BUY",
        "position_side": source.position_side,
        "price": Decimal(50000),
        "quantity": source.quantity,
        "realized_pnl": Decimal(0),
        "commission": Decimal("0.02"),
        "commission_asset": "USDT",
        "maker": False,
        "filled_at": NOW,
        "reported_at": NOW,
    }
    return StreamedFill.objects.create(order=source, **(defaults | columns))


def position(owner: Trade | None = None, **columns: Any) -> Position:
    """The exchange's row of an open trade; without one, a position that somebody opened by hand."""
    defaults = {
        "symbol": owner.symbol if owner else "BTCUSDT",
        "position_side": owner.position_side if owner else PositionSide.BOTH,
        "direction": owner.direction if owner else Direction.LONG,
        "quantity": owner.quantity if owner else Decimal("0.002"),
        "entry_price": owner.entry_price if owner else Decimal(50000),
        "quote_asset": owner.quote_asset if owner else "USDT",
        "quote_index": owner.quote_index if owner else Decimal(1),
        "mark_price": Decimal(50100),
        "unrealized_pnl": Decimal("0.2"),
        "initial_margin": Decimal("10.02"),
        "liquidation_price": Decimal(45200),
        "observed_at": NOW,
    }
    return Position.objects.create(trade=owner, **(defaults | columns))


def transition(entity: str, entity_id: object, **columns: Any) -> AuditEvent:
    """One line of an entity's story."""
    defaults = {"to_state": RequestState.RECEIVED, "trigger": Source.AI, "at": NOW}
    return AuditEvent.objects.create(entity=entity, entity_id=str(entity_id), **(defaults | columns))


def outbox_event(**columns: Any) -> OutboxEvent:
    """An event that waits to be sent."""
    defaults = {
        "event_type": "order.placed",
        "aggregate": str(uuid4()),
        "sequence": 1,
        "payload": {},
        "created_at": NOW,
    }
    return OutboxEvent.objects.create(**(defaults | columns))


def ess(**columns: Any) -> EssStatus:
    """The emergency stop, armed and permitting."""
    defaults = {"state": "ARMED", "permitted": True, "source": "http", "observed_at": NOW}
    return EssStatus.objects.create(**(defaults | columns))


def lease(stack: Stack, **columns: Any) -> AccountLease:
    """A stack's account, just taken by it after a full cycle."""
    times = dict.fromkeys(("taken_at", "renewed_at", "reconciled_at"), NOW)
    whose = {"account": stack.account, "settings": stack.settings, "holder": stack.holder, "fence": 1}
    return AccountLease.objects.create(**(whose | times | columns))


def heartbeat(part: str, **columns: Any) -> Heartbeat:
    """One part's last run, healthy and just now."""
    details = {"exchange_latency_ms": 3.5, "duration_seconds": 0.02, "error": None} if part == "monitor" else {}
    defaults: dict[str, Any] = {"at": NOW, "healthy": True, "details": details}
    return Heartbeat.objects.create(part=part, **(defaults | columns))
