"""Shows how a position is protected: the bracket's legs, each with its live orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from execution.domain.brackets import compare
from execution.domain.money import ZERO
from execution.domain.states import ORDER_FINAL, ORDER_LIVE
from execution.domain.trading import OrderPurpose
from execution.models import Bracket, BracketLeg, Order, Trade
from execution.protection.bracket_store import exit_orders, exposure_of, plan_of, resting_of


@dataclass(frozen=True, kw_only=True)
class ProtectedLeg:
    """One leg of a bracket. `number` counts the legs of a purpose, the nearest target first."""

    leg: BracketLeg
    number: int
    orders: Sequence[Order]

    @property
    def purpose(self) -> str:
        purpose: str = self.leg.purpose
        return purpose.lower()


@dataclass(frozen=True, kw_only=True)
class Protection:
    """A trade's bracket.

    `settled`: the exchange has confirmed what the bracket wants, and nothing that it replaced rests.
    """

    trade: Trade
    legs: Sequence[ProtectedLeg]
    settled: bool


def protection_of(trade_id: UUID) -> Protection:
    """Return it.

    Raises:
        Trade.DoesNotExist: there is no such trade.

    """
    trade = Trade.objects.select_related("request").get(pk=trade_id)
    bracket = Bracket.objects.prefetch_related("legs").get(pk=trade_id)
    exits = exit_orders([trade_id]).get(trade_id, [])
    legs, numbers = [], dict.fromkeys(OrderPurpose, 0)
    for leg in sorted(bracket.legs.all(), key=lambda each: (each.purpose, each.number)):
        numbers[OrderPurpose(leg.purpose)] += 1
        live = [order for order in exits if order.leg_id == leg.pk and order.state in ORDER_LIVE]
        legs.append(ProtectedLeg(leg=leg, number=numbers[OrderPurpose(leg.purpose)], orders=live))
    return Protection(trade=trade, legs=legs, settled=_settled(trade, bracket, exits))


def _settled(trade: Trade, bracket: Bracket, exits: Sequence[Order]) -> bool:
    entry = Order.objects.filter(request_id=trade.pk, purpose=OrderPurpose.ENTRY).first()
    filled: Decimal = entry.executed_quantity if entry else ZERO
    growing = entry is not None and entry.state not in ORDER_FINAL
    exposure = exposure_of(trade.request, exits, filled=filled, exited=trade.exited_quantity, growing=growing)
    compared = compare(plan_of(bracket, exits), exposure, resting_of(exits))
    return not (compared.missing or compared.excess)
