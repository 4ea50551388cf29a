"""Reads what the judge believes: the venue by its signed API, as any client of the account, and our rows by SQL."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from execution.domain.states import ORDER_FINAL, REQUEST_FINAL, TRADE_OPEN
from execution.trades.shortfalls import keep_shortfalls
from tests.soak.accounts import BookedFill, BookedIncome, Books, ClosedTrade, Line, OpenSpan
from tests.soak.judge import Claim, Held, OpenTrade, OurOrder, Resting, Sample, Undecided
from tests.soak.outcomes import Outcome
from tests.support.desk import Desk
from tests.support.oracle import rows

Row = dict[str, Any]
PAGE = 1000
COMPUTING = timedelta(minutes=1)
OPEN, FINAL_REQUESTS, FINAL_ORDERS = sorted(TRADE_OPEN), sorted(REQUEST_FINAL), sorted(ORDER_FINAL)
TRADES = (
    "SELECT id::text, symbol, position_side, direction, quantity - exited_quantity"
    " FROM execution_trade WHERE state = ANY(%s)"
)
CLAIMS = (
    "SELECT c.request_id::text, c.symbol, c.position_side, NOT r.state = ANY(%s) OR coalesce(t.state = ANY(%s), false)"
    " FROM execution_positionslot c JOIN execution_executionrequest r ON r.id = c.request_id"
    " LEFT JOIN execution_trade t ON t.request_id = r.id"
)
ORDERS = "SELECT client_order_id, symbol, position_side, state FROM execution_order WHERE NOT state = ANY(%s)"
UNDECIDED = (
    "SELECT r.id::text, r.symbol, r.position_side, r.state, coalesce(o.client_order_id, '')"
    " FROM execution_executionrequest r LEFT JOIN execution_order o ON o.request_id = r.id AND o.purpose = 'ENTRY'"
    " WHERE NOT r.state = ANY(%s)"
)
# What is open and what is about to be: a position whose trade is not recorded yet has fees and funding already.
SPANS = (
    "SELECT symbol, entry_at FROM execution_trade WHERE state = ANY(%s) UNION ALL"
    " SELECT symbol, coalesce(approved_at, received_at) FROM execution_executionrequest"
    " WHERE state IN ('FILLED', 'PROTECTED', 'FLATTENED')"
)
FILLS = (
    "SELECT symbol, exchange_trade_id::text, trade_id::text, realized_pnl, commission, commission_asset"
    " FROM execution_fill"
)
INCOME = (
    "SELECT i.kind, i.transaction_id, i.trade_id::text, t.symbol, i.asset, i.amount"
    " FROM execution_income i JOIN execution_trade t ON t.id = i.trade_id"
)
CLOSED = (
    "SELECT t.id::text, t.symbol, t.net_pnl,"
    " coalesce((SELECT sum(realized_pnl) FROM execution_fill f WHERE f.trade_id = t.id), 0),"
    " coalesce((SELECT sum(fee_value) FROM execution_fill f WHERE f.trade_id = t.id), 0),"
    " coalesce((SELECT sum(value) FROM execution_income i WHERE i.trade_id = t.id), 0), s.total,"
    " coalesce(s.delay, 0) + coalesce(s.spread, 0) + coalesce(s.impact, 0) + coalesce(s.unsplit, 0)"
    " + coalesce(s.missed, 0) + coalesce(s.fees, 0) + coalesce(s.funding, 0) + coalesce(s.other, 0),"
    " CASE t.direction WHEN 'LONG' THEN 1 ELSE -1 END * (t.exit_price - s.benchmark_price) * s.wanted_quantity"
    " - t.net_pnl"
    " FROM execution_trade t LEFT JOIN execution_shortfall s ON s.trade_id = t.id WHERE t.state = 'CLOSED'"
)
# What has happened last to the requests, orders and trades of a symbol.
STORY = (
    "SELECT l.at, l.entity, l.entity_id, l.from_state, l.to_state, l.trigger, l.reason FROM execution_auditevent l"
    " WHERE l.entity_id IN (SELECT id::text FROM execution_executionrequest WHERE symbol = %s"
    "  UNION SELECT client_order_id FROM execution_order WHERE symbol = %s)"
    " OR (l.entity = 'terms' AND l.entity_id = %s)"
    " ORDER BY l.id DESC LIMIT 25"
)
OUTCOMES = "SELECT id::text, symbol, state, reason_code, reason FROM execution_executionrequest"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A closed trade: why, and how long it was held."""

    reason: str
    days: float


@dataclass(kw_only=True)
class Evidence:
    """The arbiter's eyes. It keeps the lines of income that it has read: the venue forgets what is old."""

    desk: Desk
    hedge: bool = False
    foreign: frozenset[str] = frozenset()
    # What was in the wallet before the first line, by asset.
    began: Mapping[str, Decimal] = field(default_factory=dict)
    lines: dict[tuple[str, str, str], Line] = field(default_factory=dict)
    _read_until_ms: int = 0

    # The venue

    def listing(self) -> Mapping[str, Row]:
        """Return the rows of exchangeInfo by symbol."""
        return {row["symbol"]: row for row in self.desk.person.exchange_info()["symbols"]}

    def sample(
        self, *, at_ms: int, cycle: int, halted: frozenset[str], steps: Mapping[str, Decimal] | None = None
    ) -> Sample:
        """Return this moment. `at_ms`: what it is called; bounds are counted by it."""
        with connection.cursor() as cursor:
            return Sample(
                at_ms=at_ms,
                cycle=cycle,
                held=self.held(),
                resting=self.resting(),
                trades=[_open_trade(*row) for row in rows(cursor, TRADES, [OPEN])],
                claims=[_claim(*row) for row in rows(cursor, CLAIMS, [FINAL_REQUESTS, OPEN])],
                orders=[_our_order(*row) for row in rows(cursor, ORDERS, [FINAL_ORDERS])],
                undecided=[_undecided(*row) for row in rows(cursor, UNDECIDED, [FINAL_REQUESTS])],
                foreign=self.foreign,
                halted=halted,
                steps=steps or {},
            )

    def now_ms(self) -> int:
        return int(self.desk.clock().timestamp() * 1000)

    def held(self) -> list[Held]:
        found = [
            Held(symbol=row["symbol"], side=row["positionSide"], amount=Decimal(row["positionAmt"]))
            for row in self._signed("/fapi/v3/positionRisk")
        ]
        return [held for held in found if held.amount]

    def resting(self) -> list[Resting]:
        ordinary = [_resting(row, "clientOrderId", "type", "origQty") for row in self._signed("/fapi/v1/openOrders")]
        algos = self._signed("/fapi/v1/openAlgoOrders")
        return [*ordinary, *(_resting(row, "clientAlgoId", "orderType", "quantity") for row in algos)]

    def price(self, symbol: str) -> Decimal:
        """Return the last price."""
        return Decimal(self.desk.person.ticker_price(symbol)["price"])

    def wallet(self) -> dict[str, Decimal]:
        """Return the balances by asset."""
        found = {row["asset"]: Decimal(row["balance"]) for row in self._signed("/fapi/v3/balance")}
        return {asset: amount for asset, amount in found.items() if amount}

    def read_lines(self) -> None:
        """Read what has moved the wallet since the last reading, page by page."""
        start, end = self._read_until_ms, self.now_ms()
        while True:
            page = self._signed("/fapi/v1/income", startTime=start, endTime=end, limit=PAGE)
            found = [_line(row) for row in page]
            self.lines |= {(line.kind, line.tran_id, line.asset): line for line in found}
            if len(found) < PAGE:
                break
            # The last millisecond of a full page may go on in the next one.
            start = max(found[-1].at_ms, start + 1)
        self._read_until_ms = end

    def begin(self) -> None:
        """Count from now on."""
        self.began = self.wallet()
        self._read_until_ms = self.now_ms()

    def _signed(self, path: str, **parameters: Any) -> list[Row]:
        found: list[Row] = self.desk.person.sign_request("GET", path, parameters)
        return found

    # Our rows

    def books(self, margin_assets: Mapping[str, str]) -> Books:
        """Return all that our rows say of money. `margin_assets`: by symbol, what its contract is settled in."""
        keep_shortfalls(length=COMPUTING)
        with connection.cursor() as cursor:
            spans = rows(cursor, SPANS, [OPEN])
            return Books(
                fills={(row[0], row[1]): _booked_fill(row, margin_assets) for row in rows(cursor, FILLS)},
                income={(row[0], row[1]): _booked_income(*row) for row in rows(cursor, INCOME)},
                open=[OpenSpan(symbol=symbol, since_ms=_ms(entry_at)) for symbol, entry_at in spans],
                closed=[_closed(row) for row in rows(cursor, CLOSED)],
            )

    def outcomes(self) -> list[Outcome]:
        with connection.cursor() as cursor:
            return [
                Outcome(id=row[0], symbol=row[1], state=row[2], reason_code=row[3], reason=row[4])
                for row in rows(cursor, OUTCOMES)
            ]

    def trade_states(self) -> Counter[str]:
        with connection.cursor() as cursor:
            return Counter(dict(rows(cursor, "SELECT state, count(*) FROM execution_trade GROUP BY state")))

    def closed_trades(self) -> list[Ended]:
        query = (
            "SELECT close_reason, extract(epoch FROM exit_at - entry_at) FROM execution_trade WHERE state = 'CLOSED'"
        )
        with connection.cursor() as cursor:
            return [Ended(reason=reason, days=float(held) / 86_400) for reason, held in rows(cursor, query)]

    def story(self, symbol: str) -> list[str]:
        """Return the last lines of our log about a symbol, oldest first, for whoever looks for a cause."""
        with connection.cursor() as cursor:
            lines = rows(cursor, STORY, [symbol, symbol, symbol])
        return [
            f"{at:%m-%d %H:%M:%S} {' '.join(str(word) for word in words if word)}" for at, *words in reversed(lines)
        ]

    def unsent_events(self) -> int:
        with connection.cursor() as cursor:
            [(number,)] = rows(cursor, "SELECT count(*) FROM execution_outboxevent WHERE sent_at IS NULL")
            return int(number)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _resting(row: Row, name: str, kind: str, quantity: str) -> Resting:
    whole = bool(row.get("closePosition"))
    side, buys = row["positionSide"], row["side"] == "BUY"
    # In hedge mode the side itself says whether an order reduces.
    reduces = whole or bool(row.get("reduceOnly")) or (side, buys) in {("LONG", False), ("SHORT", True)}
    return Resting(
        client_id=row[name],
        symbol=row["symbol"],
        side=side,
        buys=buys,
        kind=row[kind],
        quantity=Decimal(row[quantity] or 0),
        whole=whole,
        reduces=reduces,
    )


def _line(row: Row) -> Line:
    return Line(
        kind=row["incomeType"],
        symbol=row["symbol"],
        asset=row["asset"],
        amount=Decimal(row["income"]),
        at_ms=int(row["time"]),
        tran_id=str(row["tranId"]),
        trade_id=str(row.get("tradeId") or ""),
    )


def _open_trade(name: str, symbol: str, side: str, direction: str, left: Decimal) -> OpenTrade:
    return OpenTrade(id=name, symbol=symbol, side=side, amount=left if direction == "LONG" else -left)


def _claim(request: str, symbol: str, side: str, alive: bool) -> Claim:  # noqa: FBT001 -- a row's column
    return Claim(request=request, symbol=symbol, side=side, alive=alive)


def _our_order(client_id: str, symbol: str, side: str, state: str) -> OurOrder:
    return OurOrder(client_id=client_id, symbol=symbol, side=side, state=state)


def _undecided(name: str, symbol: str, side: str, state: str, entry: str) -> Undecided:
    return Undecided(id=name, symbol=symbol, side=side, state=state, entry=entry)


def _booked_fill(row: tuple[Any, ...], margin_assets: Mapping[str, str]) -> BookedFill:
    symbol, trade_id, trade, realized, commission, asset = row
    return BookedFill(
        symbol=symbol,
        trade_id=trade_id,
        trade=trade,
        realized=realized,
        commission=commission,
        commission_asset=asset,
        margin_asset=margin_assets[symbol],
    )


def _booked_income(kind: str, tran_id: str, trade: str, symbol: str, asset: str, amount: Decimal) -> BookedIncome:
    return BookedIncome(kind=kind, tran_id=tran_id, trade=trade, symbol=symbol, asset=asset, amount=amount)


def _closed(row: tuple[Any, ...]) -> ClosedTrade:
    columns = ("id", "symbol", "net", "realized", "fees", "income", "shortfall", "shortfall_parts", "paper")
    return ClosedTrade(**dict(zip(columns, row, strict=True)))
