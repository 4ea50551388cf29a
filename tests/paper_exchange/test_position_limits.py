"""What the exchange lets nobody hold: brackets, a symbol's own limit, and position risk control."""

from typing import Any

import pytest

from paper_exchange.core.amending import AmendTicket
from paper_exchange.core.assumptions import assume
from paper_exchange.core.contract_changes import ContractChange, ContractChangeError, change_contract
from paper_exchange.errors import ExchangeError
from paper_exchange.http.routes.listing import filters
from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import D, Trader


def outcome(call: Any, *order: Any, **terms: Any) -> int:
    try:
        call(*order, **terms)
    except ExchangeError as error:
        return error.code
    return 0


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["LIMIT", "MARKET"])
def test_bracket_of_the_leverage(trader: Trader, mode: Mode, kind: str) -> None:
    trader.account.setting(trader.market.symbol).leverage = 125
    mode.prepare(trader)
    # 300,000 USDT is the most at that leverage.
    price = "50000" if kind == "LIMIT" else "0"
    assert outcome(trader.send, mode.opening, kind, "6.001", price, **mode.side_terms) == -2027
    assert outcome(trader.send, mode.opening, kind, "5.900", price, **mode.side_terms) == 0
    assert outcome(trader.send, mode.opening, kind, "0.200", price, **mode.side_terms) == -2027


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("code", [-2027, -4189, -4401])
@pytest.mark.parametrize("kind", ["LIMIT", "MARKET"])
def test_limit_of_a_symbol(trader: Trader, mode: Mode, code: int, kind: str) -> None:
    mode.prepare(trader, "0.100")
    change_contract(trader.market, ContractChange(position_limit=D(7500), position_limit_code=code))
    price = "50000" if kind == "LIMIT" else "0"
    send, terms = trader.send, mode.side_terms
    assert outcome(send, mode.opening, kind, "0.051", price, **terms) == code
    assert outcome(send, mode.opening, kind, "0.049", price, **terms) == 0
    # It should let pass what reduces, also by more than the limit leaves room for.
    assert outcome(send, mode.closing, "MARKET", "0.100", **mode.terms) == 0


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_amendment_is_held_to_the_limit(trader: Trader, mode: Mode) -> None:
    mode.prepare(trader, "0.050")
    change_contract(trader.market, ContractChange(position_limit=D(7500)))
    order = trader.send(mode.opening, "LIMIT", "0.040", mode.against(1), **mode.side_terms)

    def grown(quantity: str) -> int:
        terms: dict[str, Any] = {"side": order.side, "quantity": D(quantity), "price": order.price}
        ticket = AmendTicket(symbol="BTCUSDT", order_id=order.order_id, **terms)
        return outcome(trader.exchange.amendments.amend, trader.account, ticket)

    assert (grown("0.120"), order.quantity) == (-2027, D("0.040"))
    assert (grown("0.045"), order.quantity) == (0, D("0.045"))


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_position_above_a_new_limit_may_only_shrink(trader: Trader, mode: Mode) -> None:
    mode.prepare(trader, "0.200")
    change_contract(trader.market, ContractChange(position_limit=D(5000)))
    assert outcome(trader.send, mode.opening, "MARKET", "0.001", **mode.side_terms) == -2027
    assert outcome(trader.send, mode.closing, "MARKET", "0.050", **mode.terms) == 0
    # A conditional order that opens is refused at its trigger only: no margin is looked at before.
    algo = trader.condition(mode.opening, "TAKE_PROFIT_MARKET", "0.010", mode.against(1), **mode.side_terms)
    trader.price(mode.against(1))
    assert (algo.status, algo.reject_reason) == (
        "REJECTED",
        "Exceeded the maximum allowable position at current leverage.",
    )


@pytest.mark.parametrize("mode", MODES, ids=name_of)
@pytest.mark.parametrize("kind", ["LIMIT", "MARKET"])
@pytest.mark.parametrize(
    ("control", "buys", "sells"), [("NONE", 0, 0), ("LONG", -4106, 0), ("SHORT", 0, -4107), ("BOTH", -4105, -4105)]
)
def test_position_risk_control(trader: Trader, mode: Mode, kind: str, control: str, buys: int, sells: int) -> None:
    mode.prepare(trader, "0.010")
    change_contract(trader.market, ContractChange(position_control=control))
    price = mode.against(1) if kind == "LIMIT" else "0"
    wanted = buys if mode.opening == "BUY" else sells
    assert outcome(trader.send, mode.opening, kind, "0.010", price, **mode.side_terms) == wanted
    trigger = mode.against(-1)
    assert outcome(trader.condition, mode.opening, "STOP_MARKET", "0.010", trigger, **mode.side_terms) == wanted
    # It should let pass what only reduces, whatever its side.
    assert outcome(mode.stop, trader, "0.010") == 0
    assert outcome(mode.stop, trader, kind="TAKE_PROFIT_MARKET", steps=-1) == 0
    assert (
        outcome(trader.send, mode.closing, kind, "0.010", mode.beyond(1) if kind == "LIMIT" else "0", **mode.terms) == 0
    )
    control_filter = filters(trader.market.symbol)[-1]
    assert control_filter == {"filterType": "POSITION_RISK_CONTROL", "positionControlSide": control}


@pytest.mark.parametrize("mode", MODES[:2], ids=name_of)
def test_plain_order_that_would_reduce_opens_for_the_control(trader: Trader, mode: Mode) -> None:
    """In one-way mode only the reduceOnly flag tells that an order reduces."""
    mode.prepare(trader, "0.010")
    change_contract(trader.market, ContractChange(position_control="BOTH"))
    assert outcome(trader.send, mode.closing, "MARKET", "0.010") == -4105
    assert outcome(trader.send, mode.closing, "MARKET", "0.010", reduce_only=True) == 0


def test_control_may_spare_conditional_orders_until_their_trigger(trader: Trader) -> None:
    trader.exchange.state.assumptions = assume(trader.exchange.state.assumptions, {"control_conditional": False})
    change_contract(trader.market, ContractChange(position_control="LONG"))
    algo = trader.condition("BUY", "STOP_MARKET", "0.010", "51000")
    trader.price("51000")
    assert (algo.status, algo.order) == ("REJECTED", None)
    assert algo.reject_reason == "This symbol is under position risk control: buy orders must be reduce-only."


@pytest.mark.parametrize(
    "terms", [{"position_control": "SIDEWAYS"}, {"position_limit": D(0)}, {"position_limit_code": -1}]
)
def test_terms_that_make_no_sense(trader: Trader, terms: dict[str, Any]) -> None:
    with pytest.raises(ContractChangeError):
        change_contract(trader.market, ContractChange(**terms))
    assert trader.market.symbol.position_limit is None
