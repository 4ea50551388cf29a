"""Where the stops of our trades belong: read from the books, and once more from the decisions that were published."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.support.ledger import Ledger
from tests.support.stops import StopPlan, plain

# `execution.default_sl_pct` and `execution.max_slippage_pct` as documented: read from the service, a wrong default
# would judge itself.
DEFAULT_DISTANCE = Decimal("0.025")
MOST_SLIPPAGE = Decimal("0.005")
PLANS = """
    SELECT entry.client_order_id, request.direction, request.reference_price, bracket.tick_size, leg.price, leg.origin,
           inbox.identity, inbox.payload ->> 'stop_loss', COALESCE(trade.entry_price, request.reference_price),
           request.id::text, request.symbol, request.position_side, COALESCE(trade.state <> 'CLOSED', external.id > 0)
    FROM execution_order AS entry
    JOIN execution_executionrequest AS request ON request.id = entry.request_id
    JOIN execution_bracket AS bracket ON bracket.request_id = request.id
    JOIN execution_bracketleg AS leg ON leg.bracket_id = bracket.request_id AND leg.purpose = 'STOP'
    LEFT JOIN execution_inboxevent AS inbox ON inbox.id = request.inbox_id
    LEFT JOIN execution_trade AS trade ON trade.id = request.id
    LEFT JOIN execution_externalposition AS external ON external.request_id = request.id
    WHERE entry.purpose = 'ENTRY'
"""
# Each earlier price of a stop: moved by a rule or an operator, or rounded to another tick.
EARLIER = """
    SELECT entity_id, details ->> 'from' FROM execution_auditevent
    WHERE to_state = 'LEG_MOVED' AND details ->> 'purpose' = 'STOP' AND details ->> 'from' IS NOT NULL
    UNION ALL
    SELECT entity_id, leg ->> 1 FROM execution_auditevent, jsonb_array_elements(details -> 'legs') AS leg
    WHERE to_state = 'REGRIDDED' AND jsonb_typeof(details -> 'legs') = 'array' AND leg ->> 0 = 'STOP 1'
"""
MOVED = frozenset({"BREAK_EVEN", "OPERATOR"})


@dataclass(frozen=True, kw_only=True)
class BookedStop:
    """The planned stop of one trade, as the books have it; `earlier` are the levels that it had before.

    `entry`: client id of the order that opened the position. `asked`: the decision's stop as it came in, None without
    one. `is_open`: whether the books hold the position still.
    """

    entry: str
    symbol: str
    position_side: str
    direction: str
    identity: str
    asked: Decimal | None
    reference_price: Decimal
    entry_price: Decimal
    tick: Decimal
    level: Decimal
    earlier: tuple[Decimal, ...]
    moved: bool
    is_open: bool

    @property
    def sign(self) -> int:
        return 1 if self.direction == "LONG" else -1

    def plan(self, *, past: bool) -> StopPlan:
        """Return where the stop may lie: at its present level, and with `past` at each that it had."""
        levels = (self.level, *(self.earlier if past else ()))
        ranges = tuple((level, level) for level in levels)
        return StopPlan(levels=ranges, tick=self.tick, entry_price=self.entry_price, moved=self.moved)


def booked_stops(cursor: Any) -> list[BookedStop]:
    """Return the planned stops of all trades, open or closed, and of protected external positions."""
    earlier: dict[str, list[Decimal]] = {}
    for owner, price in _rows(cursor, EARLIER):
        earlier.setdefault(owner, []).append(Decimal(price))
    return [_booked(row, earlier) for row in _rows(cursor, PLANS)]


def _booked(row: tuple[Any, ...], earlier: Mapping[str, list[Decimal]]) -> BookedStop:
    entry, direction, reference, tick, level, origin, identity, asked, price, owner, symbol, side, is_open = row
    return BookedStop(
        entry=entry,
        symbol=symbol,
        position_side=side,
        direction=direction,
        identity=identity or "",
        asked=Decimal(asked) if asked else None,
        reference_price=reference or Decimal(0),
        entry_price=price,
        tick=tick,
        level=level,
        earlier=tuple(earlier.get(owner, ())),
        # An external position has no entry of ours: its stop is measured from the mark price when it was adopted.
        moved=origin in MOVED or not identity,
        is_open=bool(is_open),
    )


def wrong_plans(
    stops: Iterable[BookedStop],
    ledger: Ledger,
    *,
    published: Mapping[str, Decimal | None],
    ticks: Mapping[str, Decimal],
) -> list[str]:
    """Return the planned stops that are not what their decisions asked for, in words.

    A decision's own stop is meant to a tick. Without one the stop lies at the default distance from the prices of the
    real fills, or from the price that was expected where that is tighter.

    Args:
        stops: the plans in the books; those that an operator or a rule has moved are not asked about.
        ledger: the venue's, for the fills.
        published: the stop of each decision, None without one, by the identity under which it is known; of others
            (REST) the books say it.
        ticks: the venue's tick sizes by symbol.

    """
    fills: dict[str, list[Decimal]] = {}
    for fill in ledger.fills:
        fills.setdefault(str(fill["clientOrderId"]), []).append(Decimal(fill["price"]))
    return [
        f"{stop.symbol} {stop.direction}: {why}"
        for stop in stops
        if stop.entry in fills and not stop.moved
        for why in _wrong_levels(stop, fills[stop.entry], published.get(stop.identity, stop.asked), ticks[stop.symbol])
    ]


def _wrong_levels(stop: BookedStop, fills: list[Decimal], asked: Decimal | None, tick: Decimal) -> list[str]:
    plan = StopPlan(levels=(_meant(stop, fills, asked),), tick=tick, entry_price=fills[0])
    found = [
        f"stop planned at {plain(level)}, meant {'..'.join(map(plain, plan.levels[0]))}, entry at {plain(fills[0])}"
        for level in (stop.level, *stop.earlier)
        if not plan.allows(level, sign=stop.sign, second_chance=False)
    ]
    slipped = abs(stop.reference_price / fills[0] - 1)
    if slipped > MOST_SLIPPAGE:
        found.append(f"expected {plain(stop.reference_price)}, filled at {plain(fills[0])}")
    return found


def _meant(stop: BookedStop, fills: list[Decimal], asked: Decimal | None) -> tuple[Decimal, Decimal]:
    if asked is not None:
        return asked, asked
    levels = [price * (1 - DEFAULT_DISTANCE * stop.sign) for price in (stop.reference_price, *fills)]
    return min(levels), max(levels)


def _rows(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
