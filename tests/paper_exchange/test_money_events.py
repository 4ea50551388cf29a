"""Funding, isolated margin, liquidation and deleveraging: what they do to the wallet, to the last digit."""

import pytest

from paper_exchange.core.market import FUNDING_INTERVAL_MS
from paper_exchange.core.settings import change_margin_type, change_position_margin
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.trader import D, Trader


def isolate(trader: Trader) -> None:
    change_margin_type(trader.exchange.state, trader.account, trader.market, isolated=True)


def income(trader: Trader, kind: str) -> list[D]:
    return [row.amount for row in trader.account.income if row.type == kind]


@pytest.mark.parametrize(("side", "payment"), [("BUY", "-0.05000000"), ("SELL", "0.05000000")])
def test_funding_is_paid_by_longs_to_shorts_at_its_hour(trader: Trader, side: str, payment: str) -> None:
    trader.send(side, "MARKET", "0.010")
    wallet, due = trader.account.wallet, trader.market.next_funding(trader.clock.now_ms())

    trader.clock.advance(due - trader.clock.now_ms() - 1)
    trader.exchange.step()
    assert income(trader, "FUNDING_FEE") == []

    trader.clock.advance(1)
    trader.exchange.step()
    # It should be amount x mark x 0.01 %, once.
    assert income(trader, "FUNDING_FEE") == [D(payment)]
    assert trader.account.wallet == wallet + D(payment)
    trader.exchange.step()
    assert len(income(trader, "FUNDING_FEE")) == 1


def test_stepping_over_several_funding_hours_pays_each(trader: Trader) -> None:
    trader.buy("0.010")
    trader.clock.advance(3 * FUNDING_INTERVAL_MS)
    trader.exchange.step()
    assert len(income(trader, "FUNDING_FEE")) == 3
    rates = trader.exchange.funding.rates(trader.market, 0, trader.clock.now_ms(), 3, newest=True)
    assert [row.time % FUNDING_INTERVAL_MS for row in rates] == [0, 0, 0]


def test_isolated_position_sets_its_margin_aside_and_releases_it(trader: Trader) -> None:
    isolate(trader)
    trader.buy("0.010")
    position = trader.position()
    # 500.001 at leverage 20.
    assert position.isolated_wallet == D("25.00005")
    assert trader.account.cross_wallet == trader.account.wallet - D("25.00005")

    trader.sell("0.004")
    assert position.isolated_wallet == D("15.00003")
    trader.sell("0.006")
    assert position.isolated_wallet == 0
    trader.check_identity()


def test_margin_can_be_added_and_taken_out(trader: Trader) -> None:
    isolate(trader)
    trader.buy("0.010")
    state, account, market = trader.exchange.state, trader.account, trader.market
    change_position_margin(state, account, market, "BOTH", D(10))
    assert trader.position().isolated_wallet == D("35.00005")

    for amount, code in ((D(20_000), -4050), (D(-11), -4051)):
        with pytest.raises(ExchangeError) as caught:
            change_position_margin(state, account, market, "BOTH", amount)
        assert caught.value.code == code
    change_position_margin(state, account, market, "BOTH", D(-5))
    assert trader.position().isolated_wallet == D("30.00005")


def test_isolated_position_is_liquidated_alone_and_costs_no_more_than_its_margin(trader: Trader) -> None:
    isolate(trader)
    trader.buy("0.010")
    wallet = trader.account.wallet

    trader.price("47705.50")
    assert trader.position().amount == D("0.010")

    # Balance 25.00005 - 23.000 = 2.00 stands against a maintenance margin of 1.908.
    trader.price("47690")
    assert trader.position().amount == 0
    [(kind, order)] = trader.account.force_orders
    assert (kind, order.client_id, order.status, order.type, order.time_in_force) == (
        "LIQUIDATION",
        f"autoclose-{trader.clock.now_ms()}",
        "FILLED",
        "LIMIT",
        "IOC",
    )
    # It should take all that is left as the liquidation fee, and nothing beyond.
    assert trader.account.wallet == wallet - D("25.00005")
    trader.check_identity()


def test_gap_beyond_the_isolated_margin_is_paid_by_the_insurance_fund(trader: Trader) -> None:
    isolate(trader)
    trader.buy("0.010")
    wallet = trader.account.wallet

    trader.price("40000")

    assert income(trader, "INSURANCE_CLEAR") == [D("75.00095")]
    assert trader.account.wallet == wallet - D("25.00005")


def test_cross_account_is_liquidated_when_maintenance_reaches_the_balance(trader: Trader) -> None:
    trader.buy("3")
    resting = trader.bid("0.010", "49000")
    entry = trader.position().entry

    # 10 000 - fees - 3 x (entry - mark) against 3 x mark x 0.004.
    trader.price("46800")
    assert trader.position().amount == 0
    assert (resting.status, resting.executed) == ("FILLED", D("0.010"))
    fill = trader.account.force_orders[0][1].fills[0]
    assert fill.realized == D("3.01") * 46800 - 3 * entry - 490
    # It should charge 1.25 %, or what is left.
    assert income(trader, "INSURANCE_CLEAR")[0] < 0
    assert trader.account.wallet >= 0
    trader.check_identity()


def test_open_orders_end_with_the_liquidation(trader: Trader) -> None:
    trader.buy("3")
    resting = trader.ask("0.010", "52000")
    trader.price("46500")
    assert (resting.status, resting.expiry_reason) == ("EXPIRED", 5)


def test_deleveraging_closes_without_a_clearance_fee(trader: Trader) -> None:
    trader.buy("0.010")
    target = trader.ask("0.010", "52000", reduce_only=True)

    order = trader.exchange.liquidation.close(trader.position(), trader.account, "ADL")

    assert (order.client_id, order.executed) == ("adl_autoclose", D("0.010"))
    assert income(trader, "INSURANCE_CLEAR") == []
    assert target.status == "EXPIRED"
    trader.check_identity()
