"""Every order type against every filter, as it opens and as it reduces: long and short, in both position modes."""

from typing import Any, Final

import pytest

from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.assumptions import assume
from paper_exchange.core.contract_changes import ContractChange, change_contract
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import BTC, D, Trader

LIMITS: Final = ("LIMIT", "STOP", "TAKE_PROFIT")
MARKETS: Final = ("MARKET", "STOP_MARKET", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
LOT_MOST, MARKET_MOST = D("0.100"), D("0.050")
USES: Final = ("opening", "reducing")


@pytest.fixture
def strict(trader: Trader) -> Trader:
    """BTCUSDT where a MARKET order may be half as large as a LIMIT order, and an order must be worth 100."""
    terms = ContractChange(max_quantity=LOT_MOST, market_max_quantity=MARKET_MOST, min_notional=D(100))
    change_contract(trader.market, terms)
    return trader


def send(trader: Trader, mode: Mode, use: str, kind: str, quantity: str, price: str = "") -> Any:
    """Place an order of any type that rests or waits; MARKET executes at once."""
    side = mode.opening if use == "opening" else mode.closing
    terms = mode.side_terms if use == "opening" else mode.terms
    # Where an order of that side and type waits.
    below = (side == "BUY") == (kind in {"LIMIT", "TAKE_PROFIT", "TAKE_PROFIT_MARKET"})
    level = "49000" if below else "51000"
    if kind == "MARKET":
        return trader.send(side, kind, quantity, **terms)
    if kind == "LIMIT":
        return trader.send(side, kind, quantity, price or level, **terms)
    if kind == "TRAILING_STOP_MARKET":
        return trader.condition(side, kind, quantity, callback_rate=D(1), **terms)
    if kind in {"STOP", "TAKE_PROFIT"}:
        terms = {**terms, "price": D(price or level)}
    return trader.condition(side, kind, quantity, level, **terms)


def hold(trader: Trader, mode: Mode, quantity: str = "0.150") -> None:
    """Open a position in parts that the filters let through."""
    mode.prepare(trader)
    left = D(quantity)
    while left:
        part = min(left, MARKET_MOST)
        trader.send(mode.opening, "MARKET", str(part), **mode.side_terms)
        left -= part


def outcome(trader: Trader, *order: Any) -> int:
    """Return the code of a refusal, zero when the order was taken."""
    try:
        send(trader, *order)
    except ExchangeError as error:
        return error.code
    return 0


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", [*LIMITS, *MARKETS])
class TestEachType:
    def test_largest_quantity(self, strict: Trader, kind: str, use: str, mode: Mode) -> None:
        hold(strict, mode)
        most = LOT_MOST if kind in LIMITS else MARKET_MOST
        assert outcome(strict, mode, use, kind, str(most + D("0.001"))) == -4005
        assert outcome(strict, mode, use, kind, str(most)) == 0

    def test_smallest_notional_is_for_what_opens(self, strict: Trader, kind: str, use: str, mode: Mode) -> None:
        hold(strict, mode)
        assert outcome(strict, mode, use, kind, "0.001") == (-4164 if use == "opening" else 0)

    @pytest.mark.parametrize(("quantity", "code"), [("0.0011", -1111), ("0", -4003), ("-0.010", -4003)])
    def test_quantity(self, strict: Trader, kind: str, use: str, mode: Mode, quantity: str, code: int) -> None:
        hold(strict, mode)
        assert outcome(strict, mode, use, kind, quantity) == code

    def test_step_and_least(self, strict: Trader, kind: str, use: str, mode: Mode) -> None:
        hold(strict, mode)
        change_contract(strict.market, ContractChange(step=D("0.010")))
        assert outcome(strict, mode, use, kind, "0.015") == -4023
        assert outcome(strict, mode, use, kind, "0.005") == -4004
        assert outcome(strict, mode, use, kind, "0.020") == 0


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("kind", LIMITS)
def test_tick_holds_for_all_that_have_a_price(strict: Trader, kind: str, use: str, mode: Mode) -> None:
    hold(strict, mode)
    assert outcome(strict, mode, use, kind, "0.010", "50500.05") == -4014
    assert outcome(strict, mode, use, kind, "0.010", "50500.001") == -1111


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
def test_close_position_asks_for_no_notional(strict: Trader, kind: str, mode: Mode) -> None:
    hold(strict, mode, "0.002")
    change_contract(strict.market, ContractChange(min_notional=D(1000)))
    steps = 1 if kind == "STOP_MARKET" else -1
    algo = mode.stop(strict, kind=kind, steps=steps)
    strict.price(mode.against(steps))
    assert (algo.status, strict.position(mode.position_side).amount) == ("FINISHED", D(0))


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize(("limited", "status"), [(True, "REJECTED"), (False, "FINISHED")])
def test_close_position_of_more_than_the_market_takes(
    strict: Trader, mode: Mode, status: str, *, limited: bool
) -> None:
    strict.exchange.state.assumptions = assume(strict.exchange.state.assumptions, {"close_position_limited": limited})
    hold(strict, mode)
    algo = mode.stop(strict)
    strict.price(mode.against(1))
    assert algo.status == status
    assert algo.reject_reason == ("Quantity greater than max quantity." if limited else "")


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("use", USES)
def test_amendment_keeps_to_the_same_filters(strict: Trader, use: str, mode: Mode) -> None:
    hold(strict, mode)
    order = send(strict, mode, use, "LIMIT", "0.010")

    def amended(quantity: str, price: str = "") -> int:
        terms: dict[str, Any] = {"side": order.side, "quantity": D(quantity), "price": D(price or str(order.price))}
        try:
            strict.exchange.amendments.amend(strict.account, AmendTicket(symbol=BTC, order_id=order.order_id, **terms))
        except ExchangeError as error:
            return error.code
        return 0

    assert amended("0.101") == -4005
    assert amended("0.0015") == -1111
    assert amended("0.010", "49000.05") == -4014
    assert amended("0.001") == (-5029 if use == "opening" else 0)
    # LIMIT orders are held against the LIMIT maximum alone.
    assert amended("0.100") == 0


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["STOP_MARKET", "TAKE_PROFIT_MARKET"])
def test_filter_that_tightens_refuses_at_the_trigger(strict: Trader, kind: str, mode: Mode) -> None:
    hold(strict, mode, "0.050")
    steps = 1 if kind == "STOP_MARKET" else -1
    algo = mode.stop(strict, "0.050", kind=kind, steps=steps)
    change_contract(strict.market, ContractChange(market_max_quantity=D("0.040")))
    strict.price(mode.against(steps))
    assert (algo.status, algo.reject_reason) == ("REJECTED", "Quantity greater than max quantity.")
    assert abs(strict.position(mode.position_side).amount) == D("0.050")
