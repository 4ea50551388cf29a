"""Weighs the evidence of fills and positions about an order that no look-up knows. Pure.

An order leaves traces that do not depend on its look-up: its fills, and what they did to the position. They prove that
it arrived when the exchange names its client id, they may raise the suspicion, and only their absence allows to believe
that it never arrived.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from execution.domain.money import ZERO
from execution.domain.outcomes import ExchangeStatus, FillReport, OrderReport

# How far back before the sending a fill may lie and still be asked about: clocks jump by an hour, and a fill that is
# attributed to another client does no harm.
LOOK_BACK = timedelta(hours=2)
# A position's last change carries the time of the fill that made it, or nearly so.
SAME_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class OrderQuery:
    """The order that is looked for.

    `order_id` is empty unless the exchange has reported it. `opens`: it is an entry.
    """

    client_order_id: str
    order_id: str
    buyer: bool
    position_side: str
    quantity: Decimal
    sent_at: datetime
    opens: bool


@dataclass(frozen=True, kw_only=True)
class Traces:
    """What the exchange shows of the order's symbol.

    `origins` maps order ids to client ids, as far as the exchange reports them. `held` is the position in the order's
    direction, `held_since` its last change, `booked` what of it our open trades explain.
    """

    fills: Sequence[FillReport]
    origins: Mapping[str, str]
    held: Decimal = ZERO
    held_since: datetime | None = None
    booked: Decimal = ZERO


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What the traces come to.

    `order_id` is set when the exchange attributes fills to our client id. `unattributed`: filled like our order, by an
    order that the exchange does not name. `at_stake`: of the position, what may have come from our order and what none
    of our trades covers.
    """

    order_id: str = ""
    unattributed: Decimal = ZERO
    at_stake: Decimal = ZERO

    @property
    def speaks_for_arrival(self) -> bool:
        return bool(self.order_id) or self.unattributed > 0 or self.at_stake > 0

    @property
    def sentence(self) -> str:
        if self.order_id:
            return f"fills of order id {self.order_id}"
        fills = f"unattributed fills={self.unattributed}" if self.unattributed else "no fill"
        stake = f"position unexplained={self.at_stake}" if self.at_stake else "no position from it"
        return f"{fills}; {stake}"


def fills_in_question(query: OrderQuery, fills: Sequence[FillReport]) -> list[FillReport]:
    """Return the fills of the order's position that cannot be older than the order."""
    return [
        fill for fill in fills if fill.position_side == query.position_side and fill.at >= query.sent_at - LOOK_BACK
    ]


def weigh(query: OrderQuery, traces: Traces) -> Inference:
    """Return what the traces show. One of our order ids outweighs everything."""
    recent = fills_in_question(query, traces.fills)
    for fill in recent:
        if fill.order_id == query.order_id or traces.origins.get(fill.order_id) == query.client_order_id:
            return Inference(order_id=fill.order_id)
    # Fills that look like the order's and whose own order the exchange does not name.
    alike = (fill for fill in recent if fill.order_id not in traces.origins and fill.buyer is query.buyer)
    unattributed = sum((fill.quantity for fill in alike), ZERO)
    suspicious = unattributed > 0 or _fills_lag_behind(query, recent, traces)
    # An entry may have opened no more of the position than it asked for and our trades leave.
    unexplained = min(query.quantity, max(ZERO, traces.held - traces.booked))
    return Inference(unattributed=unattributed, at_stake=unexplained if suspicious and query.opens else ZERO)


def report_from_fills(query: OrderQuery, symbol: str, fills: Sequence[FillReport]) -> OrderReport:
    """Return an order as its own fills show it. A remainder is not seen."""
    executed = sum((fill.quantity for fill in fills), ZERO)
    status = ExchangeStatus.FILLED if executed >= query.quantity else ExchangeStatus.PARTIALLY_FILLED
    return OrderReport(
        client_order_id=query.client_order_id,
        symbol=symbol,
        status=status,
        quantity=query.quantity,
        executed_quantity=executed,
        order_id=fills[0].order_id,
    )


def _fills_lag_behind(query: OrderQuery, recent: Sequence[FillReport], traces: Traces) -> bool:
    """Whether the position changed lately by a fill that is not listed. Both times are the exchange's."""
    changed = traces.held_since
    if changed is None:
        return True
    lately = changed >= query.sent_at - LOOK_BACK
    return lately and all(fill.at < changed - SAME_MOMENT for fill in recent)
