"""The guard: whether an entry is sane, how large it may be, and which exits protect it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from execution.domain import policy as keys
from execution.domain.depth import Walk, quantity_on, walk
from execution.domain.exit_orders import check_exit_orders
from execution.domain.exits import ExitPlan, check_liquidation, judge_exits
from execution.domain.liquidation import MarginBracket
from execution.domain.money import ZERO, basis_points, ceil_to, floor_to, plain
from execution.domain.policy import Policy
from execution.domain.quote_index import QuoteIndex, quote_index
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal, RiskReview, RuleVerdict
from execution.domain.sizing import SHOWN_DIGITS, judge_size, sizing_levels
from execution.domain.trading import Direction, InstrumentFilters, Quote, SymbolLists, TimeInForce

HIGH_LEVERAGE = 10
ANY_SYMBOL = SymbolLists()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the guard decided: the order to send, or the first rule that refused."""

    rules: tuple[RuleVerdict, ...]
    reference_price: Decimal = ZERO
    limit_price: Decimal | None = None
    quantity: Decimal = ZERO
    exits: ExitPlan | None = None
    # What the contract's quote asset was worth; None when no index prices it, which is a refusal.
    index: QuoteIndex | None = None

    @property
    def stop_price(self) -> Decimal:
        """Return the stop's trigger price, 0 when there is none."""
        return (self.exits and self.exits.stop_price) or ZERO

    @property
    def target_price(self) -> Decimal:
        """Return the nearest target's trigger price."""
        return self.exits.targets[0].price if self.exits else ZERO

    @property
    def refusal(self) -> RuleVerdict | None:
        return next((rule for rule in self.rules if rule.refusal), None)


def judge(  # noqa: PLR0913 -- the inputs of a verdict, each by its name
    proposal: Proposal,
    *,
    quote: Quote,
    rules: InstrumentFilters,
    policy: Policy,
    lists: SymbolLists = ANY_SYMBOL,
    equity: Decimal | None = None,
    brackets: Sequence[MarginBracket] = (),
    index: QuoteIndex | None = None,
    atr: Decimal | None = None,
) -> Verdict:
    """Apply every rule and return the verdict with all numbers.

    Limits that need the database are the step's.

    Without an `index` only the asset that may be assumed to be a dollar is sized.
    """
    review = RiskReview(
        proposal=proposal,
        quote=quote,
        rules=rules,
        policy=policy,
        lists=lists,
        equity=equity,
        brackets=brackets,
        index=index or quote_index(rules.quote_asset, None),
        atr=atr,
    )
    _check_index(review)
    if proposal.atr:
        terms = f"interval={proposal.atr.interval} period={proposal.atr.period}"
        review.note("atr", f"{terms} atr={plain(round(atr or ZERO, SHOWN_DIGITS))}")
    reference, limit_price = _reference(review)
    # An empty book, a limit below one tick, a quote asset without an index: nothing to size or to measure against.
    if reference <= 0 or review.index is None:
        return Verdict(rules=tuple(review.verdicts))
    _check_symbol(review)
    _check_confidence(review)
    _check_leverage(review)
    exits = judge_exits(review, reference)
    quantity = judge_size(review, reference, exits.stop_price or ZERO, limit_price)
    check_exit_orders(review, quantity, exits)
    # What the whole of it is expected to cost: of a LIMIT, the book's part at the book, the rest at the limit.
    expected = walk(sizing_levels(review, reference, limit_price), quantity).average_price
    if exits.stop_price:
        check_liquidation(review, expected, exits.stop_price, quantity)
    # A limit order cannot fill worse than its limit, however thin the book is.
    _check_collar(review, expected if limit_price else _check_book(review, quantity))
    return Verdict(
        rules=tuple(review.verdicts),
        reference_price=reference,
        limit_price=limit_price,
        quantity=quantity,
        exits=exits,
        index=review.index,
    )


def _check_index(review: RiskReview) -> None:
    """Record the price that converts USD and the quote asset. Refuse an entry without one."""
    asset = review.rules.quote_asset
    numbers = f"quote_index={review.index}" if review.index else f"quote_index=none quote_asset={asset}"
    review.check("quote_index", numbers, Reason.QUOTE_ASSET_UNPRICED, passed=review.index is not None)


def _reference(review: RiskReview) -> tuple[Decimal, Decimal | None]:
    """Return the price that sizes and distances refer to, and the limit price on the symbol's tick.

    A LIMIT that the book meets is filled by the book: it refers to the better of the two.
    """
    proposal, tick = review.proposal, review.rules.tick_size
    if proposal.limit_price is None:
        taking = review.quote.taking_price(proposal.direction)
        review.check("book", f"price={plain(taking)}", Reason.MARKET_DATA_UNAVAILABLE, passed=taking > 0)
        return taking, None
    # A limit is rounded in the user's favour: never pay more, never sell for less than was asked.
    rounder = floor_to if proposal.direction is Direction.LONG else ceil_to
    limit = rounder(proposal.limit_price, tick)
    if limit != proposal.limit_price:
        review.adjust("limit_on_tick", f"tick={plain(tick)}", proposal.limit_price, limit)
    least, most = review.rules.min_price, review.rules.max_price
    numbers = f"expected={plain(least)}..{plain(most)} actual={plain(limit)}"
    review.check("limit_price", numbers, Reason.PRICE_OUT_OF_BOUNDS, passed=limit > 0 and least <= limit <= most)
    if limit <= 0:
        return ZERO, limit
    _check_percent_price(review, limit)
    return _better(review, limit), limit


def _better(review: RiskReview, limit: Decimal) -> Decimal:
    """Return the better of a limit and the book's best price.

    The limit where the book does not meet it.
    """
    direction, best = review.proposal.direction, review.quote.taking_price(review.proposal.direction)
    if review.proposal.time_in_force is TimeInForce.GTX:
        # The exchange refuses it where it meets the book, so all of it rests at its limit.
        rests = best <= 0 or best * direction.sign > limit * direction.sign
        numbers = f"limit={plain(limit)} best={plain(best)}"
        review.check("post_only", numbers, Reason.POST_ONLY_WOULD_TAKE, passed=rests)
        return limit
    if best <= 0 or best * direction.sign >= limit * direction.sign:
        return limit
    review.note("limit_meets_book", f"limit={plain(limit)} reference={plain(best)}")
    return best


def _check_percent_price(review: RiskReview, limit: Decimal) -> None:
    """Hold a limit against the exchange's band around the mark price, which is one-sided: the worse side."""
    rules, direction = review.rules, review.proposal.direction
    share = rules.percent_price_up if direction is Direction.LONG else rules.percent_price_down
    if not share or review.quote.mark <= 0:
        return
    bound = review.quote.mark * share
    sign = "<" if direction is Direction.LONG else ">"
    numbers = f"expected{sign}={plain(bound)} actual={plain(limit)} mark={plain(review.quote.mark)}"
    passed = limit * direction.sign <= bound * direction.sign
    review.check("percent_price", numbers, Reason.PRICE_OUT_OF_BOUNDS, passed=passed)


def _check_symbol(review: RiskReview) -> None:
    state = "TRADING" if review.rules.trading else "not TRADING"
    review.check("symbol_trading", f"status={state}", Reason.SYMBOL_NOT_TRADING, passed=review.rules.trading)
    listed = review.lists.verdict(review.proposal.symbol)
    numbers = f"symbol={review.proposal.symbol} {listed}"
    review.check("symbol_allowed", numbers, Reason.SYMBOL_NOT_ALLOWED, passed=listed == "allowed")


def _check_confidence(review: RiskReview) -> None:
    confidence = review.proposal.confidence
    # An operator's order has no confidence; the limit is about models.
    if confidence is None:
        return
    least = review.policy[keys.MIN_CONFIDENCE]
    numbers = f"expected>={plain(least)} actual={plain(confidence)}"
    review.check("confidence", numbers, Reason.CONFIDENCE_BELOW_LIMIT, passed=confidence >= least)


def _check_leverage(review: RiskReview) -> None:
    most, actual = review.policy[keys.MAX_LEVERAGE], review.proposal.leverage
    review.check(
        "leverage", f"expected<={plain(most)} actual={actual}", Reason.LEVERAGE_EXCEEDS_LIMIT, passed=actual <= most
    )


def _check_book(review: RiskReview, quantity: Decimal) -> Decimal:
    """Walk the book for the order's size and return what each unit would cost."""
    levels = review.quote.taken_levels(review.proposal.direction)
    reached = walk(levels, quantity)
    numbers = f"expected>={plain(quantity)} actual={plain(quantity_on(levels))} levels={len(levels)}"
    review.check("book_depth", numbers, Reason.BOOK_TOO_THIN, passed=reached.covered >= quantity)
    _check_slippage(review, reached)
    return reached.average_price


def _check_slippage(review: RiskReview, reached: Walk) -> None:
    """Compare what the size would pay with the planned price. A better price is never refused."""
    proposal, best = review.proposal, review.quote.taking_price(review.proposal.direction)
    # Without a planned price the best one counts: then the limit applies to what the size itself moves.
    planned = proposal.expected_price or best
    actual = (reached.average_price - planned) * proposal.direction.sign / reached.average_price
    limit = review.policy[keys.MAX_SLIPPAGE] / (2 if proposal.leverage > HIGH_LEVERAGE else 1)
    numbers = (
        f"expected<={basis_points(limit)}bps actual={basis_points(actual)}bps planned={plain(planned)} "
        f"average={plain(round(reached.average_price, SHOWN_DIGITS))} best={plain(best)} levels={reached.levels}"
    )
    review.check("slippage", numbers, Reason.SLIPPAGE_EXCEEDS_LIMIT, passed=actual <= limit)


def _check_collar(review: RiskReview, price: Decimal) -> None:
    """Check the price to pay against the mark price.

    A book or a limit far from it is an error, not an offer.
    """
    mark = review.quote.mark
    review.check("mark", f"price={plain(mark)}", Reason.MARKET_DATA_UNAVAILABLE, passed=mark > 0)
    if mark <= 0:
        return
    actual = (price - mark) * review.proposal.direction.sign / mark
    limit = review.policy[keys.MAX_PRICE_DEVIATION]
    numbers = f"expected<={basis_points(limit)}bps actual={basis_points(actual)}bps mark={plain(mark)}"
    review.check("mark_collar", numbers, Reason.PRICE_BEYOND_COLLAR, passed=actual <= limit)
