"""Sizing: the quantity that a mode gives, on the exchange's step, never above its amount."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum
from typing import assert_never

from execution.domain import policy as keys
from execution.domain.depth import Level, levels_within, quantity_worth, walk
from execution.domain.lots import LotRule, entry_lot
from execution.domain.money import ONE, ZERO, floor_to, plain
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import AskedSize, Proposal, RiskReview, SizeMeasure
from execution.domain.trading import Direction, OrderType

# An average may have very many digits.
SHOWN_DIGITS = 8
PERCENT = 100


class SizingMode(IntEnum):
    """What decides the size of an entry that was asked for by its notional. The values are the policy's."""

    NOTIONAL = 0
    EQUITY_FRACTION = 1
    RISK_PER_TRADE = 2


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What one unit loses at its stop: fees of both sides and a fill worse than the stop's price included."""

    direction: Direction
    exit_price: Decimal
    fee: Decimal
    usd_per_quote: Decimal = ONE

    @staticmethod
    def at(direction: Direction, stop: Decimal, policy: Policy, usd_per_quote: Decimal = ONE) -> "Loss":
        worse = stop * (ONE - policy[keys.STOP_SLIPPAGE] * direction.sign)
        return Loss(direction=direction, exit_price=worse, fee=policy[keys.TAKER_FEE], usd_per_quote=usd_per_quote)

    def of_unit(self, entry: Decimal) -> Decimal:
        """Return the loss of one unit that was entered at this price, in USD."""
        lost = (entry - self.exit_price) * self.direction.sign + self.fee * (entry + self.exit_price)
        return lost * self.usd_per_quote


def quantity_for(notional: Decimal, levels: Sequence[Level], lot: LotRule) -> Decimal:
    """Return the base quantity that costs no more than `notional`, taken level by level.

    All in one asset.
    """
    return floor_to(quantity_worth(levels, notional), lot.step)


def sizing_levels(review: RiskReview, reference: Decimal, limit: Decimal | None) -> tuple[Level, ...]:
    """Return the prices that an entry's notional is counted at, the last without end.

    A market order is counted at the best price of the book. A LIMIT that the book meets takes from it, and what is not
    there rests at the limit.
    """
    direction = review.proposal.direction
    if limit is None:
        return (Level(price=reference, quantity=Decimal("Infinity")),)
    return levels_within(review.quote.taken_levels(direction), limit, direction.sign)


def quantity_at_risk(risk_usd: Decimal, levels: Sequence[Level], loss: Loss) -> Decimal:
    """Return the quantity that loses this much at its stop, or 0 when that loses nothing.

    It is entered level by level.

    Where the book ends before the risk is used up, its last price is taken to go on: whether the book holds such a
    size is another rule's question.
    """
    quantity, left, unit = ZERO, risk_usd, ZERO
    for level in levels:
        unit = loss.of_unit(level.price)
        if unit <= 0:
            return ZERO
        if unit * level.quantity >= left:
            break
        quantity, left = quantity + level.quantity, left - unit * level.quantity
    return quantity + left / unit if unit else ZERO


def sizing_mode(proposal: Proposal, policy: Policy) -> SizingMode:
    """Return what decides this entry's size.

    A base quantity is an operator's own figure and stands under any policy.
    """
    by_hand = proposal.notional_usd is None and proposal.base_quantity is not None
    return SizingMode.NOTIONAL if by_hand else SizingMode(int(policy[keys.SIZING_MODE]))


def needs_equity(proposal: Proposal, policy: Policy) -> bool:
    """Whether the account's equity decides this entry's size."""
    mode, size = sizing_mode(proposal, policy), proposal.size
    return mode is SizingMode.EQUITY_FRACTION or (mode is SizingMode.NOTIONAL and bool(size and size.needs_equity))


def judge_size(review: RiskReview, reference: Decimal, stop: Decimal, limit: Decimal | None = None) -> Decimal:
    """Return the quantity, checked against the filters. A too small order is never enlarged.

    `stop` is 0 without one.
    """
    lot = entry_lot(review.rules, review.proposal.order_type)
    levels = sizing_levels(review, reference, limit)
    mode = sizing_mode(review.proposal, review.policy)
    match mode:
        case SizingMode.NOTIONAL:
            quantity = _as_asked(review, levels, stop, lot)
        case SizingMode.EQUITY_FRACTION:
            quantity = _of_equity(review, levels, lot, review.policy[keys.EQUITY_FRACTION], "mode=equity_fraction")
        case SizingMode.RISK_PER_TRADE:
            quantity = _of_risk(review, levels, stop, lot, review.policy[keys.RISK_PER_TRADE], "mode=risk_per_trade")
        case _:
            assert_never(mode)
    _check_quantity(review, quantity, lot)
    _check_notional(review, quantity, walk(levels, quantity).average_price, limit)
    return quantity


def _sized(review: RiskReview, usd: Decimal, levels: Sequence[Level], lot: LotRule) -> tuple[Decimal, Decimal]:
    """Return the quantity for an amount of USD, and the price that each unit of it is expected to cost."""
    in_dollars = [Level(price=review.usd(level.price), quantity=level.quantity) for level in levels]
    quantity = quantity_for(usd, in_dollars, lot)
    return quantity, walk(levels, quantity).average_price


def _as_asked(review: RiskReview, levels: Sequence[Level], stop: Decimal, lot: LotRule) -> Decimal:
    proposal = review.proposal
    if proposal.size and proposal.notional_usd is None and proposal.base_quantity is None:
        return _of_size(review, proposal.size, levels, stop, lot)
    if proposal.notional_usd is not None:
        quantity, price = _sized(review, proposal.notional_usd, levels, lot)
        numbers = f"notional={plain(proposal.notional_usd)} price={_shown(price)} quantity={plain(quantity)}"
        review.note("size", numbers)
        return quantity
    asked = proposal.base_quantity or ZERO
    quantity = floor_to(asked, lot.step)
    if quantity != asked:
        review.adjust("quantity_on_step", f"step={plain(lot.step)}", asked, quantity)
    return quantity


def _of_size(review: RiskReview, size: AskedSize, levels: Sequence[Level], stop: Decimal, lot: LotRule) -> Decimal:
    """Return the quantity for a size by equity or risk that the decision itself has asked for."""
    numbers = f"asked={size.measure.lower()} amount={plain(size.amount)}"
    match size.measure:
        case SizeMeasure.EQUITY_PERCENT:
            return _of_equity(review, levels, lot, size.amount / PERCENT, numbers)
        case SizeMeasure.RISK_USD:
            return _of_risk(review, levels, stop, lot, size.amount, numbers)
        case SizeMeasure.RISK_PERCENT:
            equity = _checked_equity(review)
            numbers += f" equity={plain(equity)}"
            return _of_risk(review, levels, stop, lot, equity * size.amount / PERCENT, numbers)
        case _:
            assert_never(size.measure)


def _checked_equity(review: RiskReview) -> Decimal:
    """Return the equity in USD, 0 where that is a refusal."""
    equity = review.equity
    numbers = f"expected>0 actual={'unknown' if equity is None else plain(equity)}"
    review.check("equity", numbers, Reason.EQUITY_UNKNOWN, passed=equity is not None and equity > 0)
    return max(equity or ZERO, ZERO)


def _of_equity(review: RiskReview, levels: Sequence[Level], lot: LotRule, fraction: Decimal, by: str) -> Decimal:
    equity = _checked_equity(review)
    quantity, price = _sized(review, equity * fraction, levels, lot)
    _resized(review, f"{by} equity={plain(equity)} fraction={plain(fraction)}", quantity, price)
    return quantity


def _of_risk(
    review: RiskReview, counted: Sequence[Level], stop: Decimal, lot: LotRule, risk: Decimal, by: str
) -> Decimal:
    direction = review.proposal.direction
    review.check("stop_to_size_by", f"stop={plain(stop)} risk={plain(risk)}", Reason.STOP_REQUIRED, passed=stop > 0)
    if stop <= 0:
        return ZERO
    market = review.proposal.order_type is OrderType.MARKET
    levels = review.quote.taken_levels(direction) if market else counted
    loss = Loss.at(direction, stop, review.policy, review.usd(ONE))
    quantity = floor_to(quantity_at_risk(risk, levels, loss), lot.step)
    entry = walk(levels, quantity).average_price
    numbers = (
        f"{by} risk={plain(risk)} stop={plain(stop)} entry={plain(round(entry, SHOWN_DIGITS))} "
        f"unit_loss={plain(round(loss.of_unit(entry), SHOWN_DIGITS))} "
        f"at_stop={plain(round(quantity * loss.of_unit(entry), SHOWN_DIGITS))}"
    )
    _resized(review, numbers, quantity, walk(counted, quantity).average_price)
    return quantity


def _resized(review: RiskReview, numbers: str, quantity: Decimal, price: Decimal) -> None:
    """Record the notional in USD before and after: what was asked for, and what the policy made of it."""
    numbers = f"{numbers} price={_shown(price)} quantity={plain(quantity)}"
    review.adjust("size", numbers, review.proposal.notional_usd, review.usd(quantity * price))


def _shown(price: Decimal) -> str:
    return plain(round(price, SHOWN_DIGITS))


def _check_quantity(review: RiskReview, quantity: Decimal, lot: LotRule) -> None:
    small = f"expected>={plain(lot.minimum)} actual={plain(quantity)}"
    large = f"expected<={plain(lot.maximum)} actual={plain(quantity)}"
    review.check("min_quantity", small, Reason.QUANTITY_BELOW_MINIMUM, passed=quantity >= lot.minimum and quantity > 0)
    review.check("max_quantity", large, Reason.QUANTITY_ABOVE_MAXIMUM, passed=quantity <= lot.maximum)


def _check_notional(review: RiskReview, quantity: Decimal, price: Decimal, limit: Decimal | None) -> None:
    """Hold the notional against the exchange's least, in the quote asset, and the policy's most, in USD."""
    # The exchange measures a market order's notional at the mark price, and a LIMIT's at its limit.
    at_exchange = quantity * (review.quote.mark if limit is None else limit)
    least, most = review.rules.min_notional, review.policy[keys.MAX_ORDER_NOTIONAL]
    notional = review.usd(quantity * price)
    small = f"expected>={plain(least)} actual={plain(at_exchange)}"
    large = f"expected<={plain(most)} actual={plain(notional)}"
    review.check("min_notional", small, Reason.NOTIONAL_BELOW_MINIMUM, passed=at_exchange >= least)
    review.check("max_notional", large, Reason.NOTIONAL_EXCEEDS_LIMIT, passed=notional <= most)
