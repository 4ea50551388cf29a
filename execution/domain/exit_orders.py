"""Guard rule on the orders that exits take: an entry that could not be protected is refused.

Stops, targets and trailing stops are market orders to the exchange, whose maximum may lie far below that of a LIMIT
entry. They are split by it; what cannot be split, or takes too many orders, is refused before there is a position.
"""

from decimal import Decimal

from execution.domain import policy as keys
from execution.domain.exits import ExitPlan
from execution.domain.lots import LotRule, lot_rule, split_of
from execution.domain.money import floor_to, plain
from execution.domain.policy import Policy
from execution.domain.reasons import Reason
from execution.domain.risk_review import RiskReview, RuleVerdict
from execution.domain.trading import OrderType

# Of one position. While a stop is replaced its orders rest twice, and the account has room for 200 in all.
MOST_EXIT_ORDERS = 40
# Open conditional orders that the exchange takes, over all symbols.
CONDITIONAL_ORDERS = 200


def check_exit_orders(review: RiskReview, quantity: Decimal, exits: ExitPlan) -> None:
    """Refuse an entry of which a part could not be closed, or whose exits are too many orders."""
    lot = lot_rule(review.rules, OrderType.MARKET)
    orders = exit_orders_for(quantity, exits, lot)
    closed = split_of(quantity, lot).total
    numbers = (
        f"expected<={MOST_EXIT_ORDERS} actual={orders} quantity={plain(quantity)} closable={plain(closed)} "
        f"step={plain(lot.step)} minimum={plain(lot.minimum)} maximum={plain(lot.maximum)}"
    )
    passed = orders <= MOST_EXIT_ORDERS and closed == quantity
    review.check("exit_orders", numbers, Reason.EXITS_NOT_PLACEABLE, passed=passed)


def exit_orders_for(quantity: Decimal, exits: ExitPlan, lot: LotRule) -> int:
    """Return how many orders protect a position of this size."""
    whole = [exits.stop_price is not None, exits.callback_percent is not None]
    shares = [floor_to(quantity * target.share, lot.step) for target in exits.targets]
    return sum(split_of(part, lot).number for part in (*(quantity for wanted in whole if wanted), *shares))


def judge_room(*, resting: int, needed: int, policy: Policy) -> RuleVerdict:
    """Return whether the account has room for an entry's exits beside its open conditional orders.

    An exchange with room for a stop and a target of more positions than Binance is given as `risk.max_positions`.
    """
    room = max(CONDITIONAL_ORDERS, 2 * int(policy[keys.MAX_POSITIONS]))
    numbers = f"expected<={room} actual={resting + needed} resting={resting} needed={needed}"
    refusal = Reason.EXITS_NOT_PLACEABLE if resting + needed > room else None
    return RuleVerdict(rule="exit_orders_room", numbers=numbers, refusal=refusal)
