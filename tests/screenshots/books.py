"""The books that the pictures show: open trades long and short, closed ones, an entry that rests, and a dead letter."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from execution.domain.states import OrderState, RequestState
from execution.domain.trading import Direction, OrderPurpose, OrderType
from execution.models import (
    DeadLetter,
    EntryHold,
    ExecutionRequest,
    ExternalPosition,
    Heartbeat,
    KillSwitch,
    PolicyValue,
    PositionSlot,
    Trade,
)
from tests.support import builders

CLOSED = ("ADAUSDT", "AVAXUSDT", "BNBUSDT", "DOTUSDT", "LINKUSDT", "LTCUSDT", "NEARUSDT", "UNIUSDT", "XRPUSDT")
RULES = [
    {"rule": name, "numbers": numbers, "refusal": "", "before": None, "after": None}
    for name, numbers in (
        ("MAX_POSITIONS", "open=2 limit=10"),
        ("MAX_DAILY_LOSS", "lost_usd=12.40 limit=500"),
        ("MAX_NOTIONAL", "notional_usd=1000 limit=5000"),
        ("SLIPPAGE", "expected<=50bps actual=3.10bps"),
        ("STOP_DISTANCE", "stop_distance=2.00% limit=5%"),
    )
]
LETTER = '{\n  "symbol": "BTCUSDT",\n  "side": "byu",\n  "position_size_usd": "250",\n  "stop_loss": "93500"\n}'


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The rows that have a picture of their own."""

    trade: Trade
    letter: DeadLetter


def write_books() -> Shown:
    """Write everything; call it once, on an empty database."""
    now = datetime.now(UTC).replace(microsecond=0)
    trade = _open(now, "BTCUSDT", Direction.LONG, entry="95120.40", stop="93200", target="99000", mark="96480.10")
    _open(now, "ETHUSDT", Direction.SHORT, entry="3310.55", stop="3395", target="3120", mark="3351.20")
    for number, symbol in enumerate(CLOSED):
        _closed(now - timedelta(hours=3 + 2 * number), symbol, number)
    _resting(now, "SOLUSDT")
    _others(now)
    return Shown(trade=trade, letter=_letter(now))


def _request(now: datetime, symbol: str, direction: Direction, **columns: Any) -> ExecutionRequest:
    entry, size = columns["reference_price"], Decimal("0.021")
    shared: dict[str, Any] = {"symbol": symbol, "direction": direction, "notional_usd": entry * size, "quantity": size}
    request = builders.approved(**(shared | {"received_at": now, "trace_id": f"desk-{symbol.lower()}"} | columns))
    builders.bracket(request)
    _steps(request)
    return request


def _steps(request: ExecutionRequest) -> None:
    """Write the journal of a decision with the numbers that the guard has judged by."""
    at, price = request.received_at, request.reference_price
    quote = {"bids": [[str(price), "4.2"]], "asks": [[str(price), "3.9"]], "mark": str(price)}
    details = {"rules": RULES, "inputs": {"quote": quote}, "usage": {"open_positions": "2"}, "policy_version": 3}
    ess = {"permitted": True, "ess_state": "ARMED", "ess_age_seconds": 0.4, "evidence": "event"}
    steps: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("", "RECEIVED", request.source, {}),
        ("RECEIVED", "CLEARED", "ess_cleared", ess),
        ("CLEARED", "APPROVED", "guard_approved", details),
        ("APPROVED", "SUBMITTING", "submission_started", {}),
        ("SUBMITTING", "ACCEPTED", "exchange_accepted", {}),
    )
    for number, (before, after, trigger, told) in enumerate(steps):
        moment = at + timedelta(milliseconds=40 * number)
        builders.transition(
            "request", request.pk, from_state=before, to_state=after, trigger=trigger, details=told, at=moment
        )


def _open(now: datetime, symbol: str, direction: Direction, *, entry: str, stop: str, target: str, mark: str) -> Trade:
    at = now - timedelta(minutes=47)
    figures = {"stop_price": Decimal(stop), "target_price": Decimal(target), "reference_price": Decimal(entry)}
    request = _request(at, symbol, direction, state=RequestState.RECORDED, **figures)
    margin = Decimal(entry) * Decimal("0.021") / 10
    trade = builders.trade(request, entry_price=Decimal(entry), entry_fees=Decimal("0.7990"), margin=margin)
    _claim(request)
    order = builders.order(request, last_evidence="filled", last_evidence_at=at)
    for purpose in (OrderPurpose.STOP, OrderPurpose.TARGET):
        builders.order(request, purpose=purpose, last_evidence="resting", last_evidence_at=at)
    builders.fill(trade, order=order, realized_pnl=Decimal(0))
    pnl = (Decimal(mark) - Decimal(entry)) * Decimal("0.021") * direction.sign
    figures = {"mark_price": Decimal(mark), "unrealized_pnl": pnl, "initial_margin": margin}
    builders.position(trade, observed_at=now, liquidation_price=Decimal(entry) * Decimal("0.905"), **figures)
    builders.transition("trade", trade.pk, to_state="OPEN", trigger="entry_filled", at=at)
    builders.outbox_event(event_type="trade.opened", aggregate=str(trade.pk), created_at=at, sent_at=at)
    return trade


def _closed(at: datetime, symbol: str, number: int) -> None:
    direction = Direction.SHORT if number % 3 == 1 else Direction.LONG
    entry, move = Decimal("41.5") + 13 * number, Decimal("0.8") if number % 2 else Decimal("-0.35")
    prices = {"reference_price": entry, "stop_price": entry - direction.sign, "target_price": entry + direction.sign}
    request = _request(at, symbol, direction, **prices)
    gross = move * Decimal("0.021")
    builders.closed_trade(
        request,
        entry_price=entry,
        exit_price=entry + move * direction.sign,
        exit_at=at + timedelta(minutes=25),
        close_reason="TP" if move > 0 else "SL",
        gross_pnl=gross,
        net_pnl=gross - Decimal("0.0012"),
        r_multiple=move,
        entry_fees=Decimal("0.0006"),
        exit_fees=Decimal("0.0006"),
    )


def _resting(now: datetime, symbol: str) -> None:
    at, price = now - timedelta(minutes=4), Decimal("182.40")
    shared = {"order_type": OrderType.LIMIT, "limit_price_asked": price, "limit_price": price}
    prices = {"reference_price": price, "stop_price": Decimal(178), "target_price": Decimal(191)}
    request = _request(at, symbol, Direction.LONG, state=RequestState.ACCEPTED, **shared, **prices)
    _claim(request)
    builders.order(request, state=OrderState.ACCEPTED, last_evidence="resting", last_evidence_at=now)


def _claim(request: ExecutionRequest) -> None:
    PositionSlot.objects.create(
        symbol=request.symbol, position_side="BOTH", request=request, claimed_at=request.received_at
    )


def _others(now: datetime) -> None:
    """Write what somebody else holds, and what keeps watch."""
    theirs = {"symbol": "DOGEUSDT", "direction": Direction.LONG, "quantity": Decimal(1200)}
    builders.position(
        None,
        **theirs,
        entry_price=Decimal("0.3871"),
        mark_price=Decimal("0.3902"),
        unrealized_pnl=Decimal("3.72"),
        observed_at=now,
    )
    ExternalPosition.objects.create(
        **theirs, position_side="BOTH", entry_price=Decimal("0.3871"), since=now, seen_at=now
    )
    EntryHold.objects.create(
        scope="DOGEUSDT", reason_code="POSITION_NOT_OURS", reason="quantity=1200", since=now, seen_at=now
    )
    PolicyValue.objects.create(key="risk.max_leverage", value=5, source="http", version=3, changed_at=now)
    builders.ess(observed_at=now)
    for part in ("monitor", "bridge", "relay", "protector"):
        Heartbeat.objects.create(part=part, at=now, healthy=True, details={"duration_seconds": 0.02})
    KillSwitch.objects.create(
        level="halt",
        reason="drill",
        engaged_by="anna",
        engaged_at=now - timedelta(days=2),
        completed_at=now - timedelta(days=2),
        released_at=now - timedelta(days=2),
        released_by="anna",
        release_reason="drill over",
    )


def _letter(now: datetime) -> DeadLetter:
    shared = {"event_type": "signal.execute", "stream": "stream:signal.execute", "size_bytes": len(LETTER)}
    said = {"reason_code": "INVALID_FIELD", "reason": "side: 'byu' is none of buy, long, sell, short"}
    letter: DeadLetter = DeadLetter.objects.create(
        **shared, **said, entry_id="1764518400000-0", raw=LETTER, payload=LETTER, received_at=now - timedelta(minutes=9)
    )
    return letter
