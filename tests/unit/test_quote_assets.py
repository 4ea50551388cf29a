"""USD and quote asset in the guard: every figure in USD with every quote asset, long and short."""

from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain import policy as keys
from execution.domain.limits import OrderImpact
from execution.domain.policy import Policy
from execution.domain.quote_index import AccountMargin, QuoteIndex, in_usd, quote_index
from execution.domain.reasons import Reason
from execution.domain.risk_review import Proposal
from execution.domain.safety import Verdict, judge
from execution.domain.sizing import SizingMode
from execution.domain.trading import Direction, OrderType, Quote
from tests.unit.examples import BTCUSDT, levels

D = Decimal
LONG, SHORT = Direction.LONG, Direction.SHORT
SIDES = [LONG, SHORT]
# A contract at 0.05 on whose side of the book everything is taken at that price.
RULES = replace(
    BTCUSDT,
    symbol="ETHXXX",
    tick_size=D("0.00001"),
    min_price=D("0.00001"),
    max_price=D(100),
    limit_step=D("0.01"),
    limit_min_quantity=D("0.01"),
    limit_max_quantity=D(10_000_000),
    market_step=D("0.01"),
    market_min_quantity=D("0.01"),
    market_max_quantity=D(10_000_000),
    min_notional=D("0.001"),
)
BOOK = Quote(symbol="ETHXXX", bids=levels("0.05"), asks=levels("0.05"), mark=D("0.05"))
# Quote asset, USD per unit, and the base quantity that 100 USD buy at 0.05: 100 / index / 0.05, floored to 0.01.
ASSETS = [
    ("USDT", "1", "2000"),
    ("USDT", "0.98", "2040.81"),
    ("USDC", "1.0002", "1999.60"),
    ("USD1", "0.5", "4000"),
    ("FDUSD", "1", "2000"),
    ("BTC", "50000", "0.04"),
    ("ETH", "2500", "0.8"),
    ("BNFCR", "1", "2000"),
]


def proposal(direction: Direction, **fields: object) -> Proposal:
    asked = Proposal(
        symbol="ETHXXX",
        direction=direction,
        order_type=OrderType.MARKET,
        notional_usd=D(100),
        base_quantity=None,
        limit_price=None,
        expected_price=D("0.05"),
        leverage=5,
        stop_price=D("0.05") - direction.sign * D("0.001"),
        target_price=D("0.05") + direction.sign * D("0.002"),
        confidence=None,
    )
    return replace(asked, **fields)  # type: ignore[arg-type]  # fields of Proposal


def judged(asked: Proposal, asset: str, price: str | None, equity: str | None = None, **values: str) -> Verdict:
    policy = Policy(values={getattr(keys, name): D(value) for name, value in values.items()}, version=1)
    rules = replace(RULES, quote_asset=asset, margin_asset=asset)
    index = quote_index(asset, None if price is None else {asset: D(price)})
    worth = None if equity is None else D(equity)
    return judge(asked, quote=BOOK, rules=rules, policy=policy, index=index, equity=worth)


def numbers(verdict: Verdict, rule: str) -> str:
    return next(each.numbers for each in verdict.rules if each.rule == rule)


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize(("asset", "price", "quantity"), ASSETS)
def test_a_notional_in_usd_buys_that_much(direction: Direction, asset: str, price: str, quantity: str) -> None:
    verdict = judged(proposal(direction), asset, price)

    assert verdict.refusal is None
    assert verdict.quantity == D(quantity)
    # It should name the price, and never be worth more than was asked for nor a step less
    assert numbers(verdict, "quote_index") == f"quote_index={asset}USD {price}"
    assert D(100) - D("0.01") * D("0.05") * D(price) < verdict.quantity * D("0.05") * D(price) <= 100


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize(("asset", "price", "quantity"), ASSETS)
def test_a_size_by_equity_in_usd(direction: Direction, asset: str, price: str, quantity: str) -> None:
    mode = str(SizingMode.EQUITY_FRACTION.value)

    verdict = judged(proposal(direction), asset, price, "5000", SIZING_MODE=mode, EQUITY_FRACTION="0.02")

    assert verdict.quantity == D(quantity)
    [size] = [each for each in verdict.rules if each.rule == "size"]
    assert (size.before, size.after) == (D(100), D(quantity) * D("0.05") * D(price))


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize(("asset", "price", "_"), ASSETS)
def test_a_size_by_what_the_stop_may_lose_in_usd(direction: Direction, asset: str, price: str, _: str) -> None:
    mode = str(SizingMode.RISK_PER_TRADE.value)
    free = {"TAKER_FEE": "0", "STOP_SLIPPAGE": "0", "MAX_ORDER_NOTIONAL": "10000000"}

    verdict = judged(proposal(direction), asset, price, SIZING_MODE=mode, RISK_PER_TRADE="100", **free)

    # It should lose 100 USD at most over a distance of 0.001, and not a step less
    assert verdict.quantity * D("0.001") * D(price) <= 100 < (verdict.quantity + D("0.01")) * D("0.001") * D(price)


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize(("asset", "price", "_"), ASSETS)
def test_the_policys_largest_order_is_in_usd_and_the_exchanges_least_in_the_quote_asset(
    direction: Direction, asset: str, price: str, _: str
) -> None:
    # At 0.05, 100 units of the quote asset
    asked = proposal(direction, notional_usd=None, base_quantity=D(2000))
    usd = f"{(D(100) * D(price)).normalize():f}"

    fits = judged(asked, asset, price, MAX_ORDER_NOTIONAL=usd)
    above = judged(asked, asset, price, MAX_ORDER_NOTIONAL=f"{D(usd) - D('0.01'):f}")

    assert fits.refusal is None
    assert above.refusal
    assert above.refusal.numbers == f"expected<={D(usd) - D('0.01'):f} actual={usd}"
    assert above.refusal.refusal is Reason.NOTIONAL_EXCEEDS_LIMIT
    assert numbers(fits, "min_notional") == "expected>=0.001 actual=100"


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("price", sorted({price for _, price, _ in ASSETS}))
def test_a_stake_is_in_usd(direction: Direction, price: str) -> None:
    stop = D("0.05") - direction.sign * D("0.001")

    stake = OrderImpact.of("ETHXXX", quantity=D(2), price=D("0.05"), stop_price=stop, usd_per_quote=D(price))

    assert (stake.notional, stake.risk) == (D("0.1") * D(price), D("0.002") * D(price))


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize(("asset", "price", "quantity"), ASSETS)
def test_a_persons_base_quantity_stands_whatever_it_is_quoted_in(
    direction: Direction, asset: str, price: str, quantity: str
) -> None:
    asked = proposal(direction, notional_usd=None, base_quantity=D(quantity))

    assert judged(asked, asset, price).quantity == D(quantity)


@pytest.mark.parametrize("direction", SIDES)
@pytest.mark.parametrize("size", [{"notional_usd": D(100)}, {"notional_usd": None, "base_quantity": D("0.01")}])
@pytest.mark.parametrize("asset", ["BTC", "ETH", "USDC", "FDUSD", "USD1", "BNFCR", ""])
@pytest.mark.parametrize("price", [None, "0", "-1", "NaN", "Infinity"])
def test_what_no_index_prices_is_refused_in_any_size(
    direction: Direction, size: dict[str, object], asset: str, price: str | None
) -> None:
    verdict = judged(proposal(direction, **size), asset, price)

    assert verdict.refusal
    assert verdict.refusal.refusal is Reason.QUOTE_ASSET_UNPRICED
    assert verdict.refusal.numbers == f"quote_index=none quote_asset={asset}"
    assert verdict.quantity == 0
    assert verdict.index is None


@pytest.mark.parametrize("price", [None, "0", "NaN"])
def test_only_usdt_is_taken_for_a_dollar_unseen(price: str | None) -> None:
    verdict = judged(proposal(LONG), "USDT", price)

    assert verdict.refusal is None
    assert verdict.quantity == D(2000)
    assert numbers(verdict, "quote_index") == "quote_index=USDTUSD 1 (assumed)"


def test_what_stands_behind_a_contract() -> None:
    alone = AccountMargin(total_usd=None, by_asset={"USDT": D(10_000), "BTC": D("0.1")})
    together = AccountMargin(total_usd=D(14_750), by_asset={"USDT": D(10_000), "BTC": D("0.1")})
    bitcoin, dollar = QuoteIndex(asset="BTC", price=D(50_000)), QuoteIndex(asset="USDT", price=D("0.99"))

    # In single-asset mode only the contract's own asset is behind it, in multi-assets mode everything
    assert (alone.behind("BTC", bitcoin), alone.behind("USDT", dollar), alone.behind("USDC", dollar)) == (
        D(5000),
        D(9900),
        D(0),
    )
    assert (together.behind("BTC", bitcoin), together.behind("USDC", dollar)) == (D(14_750), D(14_750))


def test_an_amount_in_usd_keeps_its_digits_at_a_price_of_one() -> None:
    assert str(in_usd(D("3.919999999999999999"), D("1.000"))) == "3.919999999999999999"
    assert str(in_usd(D("0.00075231"), D(50_000))) == "37.61550000"
    assert (in_usd(None, D(1)), in_usd(None, D(2)), in_usd(None, None), in_usd(D(1), None)) == (None,) * 4


amounts = st.decimals(min_value="0.01", max_value="1e6", places=2)
worths = st.decimals(min_value="0.0001", max_value="200000", places=4)


@given(amounts, worths, st.sampled_from(SIDES))
def test_no_index_makes_an_entry_worth_more_than_asked(usd: Decimal, price: Decimal, direction: Direction) -> None:
    asked = proposal(direction, notional_usd=usd)

    verdict = judged(asked, "BTC", f"{price:f}", MAX_ORDER_NOTIONAL="10000000")

    worth = verdict.quantity * D("0.05") * price
    assert worth <= usd < worth + D("0.01") * D("0.05") * price
