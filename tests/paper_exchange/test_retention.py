"""What the exchange forgets and when: ended orders, fills and income, by age, through leaps and restarts."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from binance.error import ClientError
from binance.um_futures import UMFutures

from paper_exchange.core.retention import GOOD_TILL_CANCEL_MS, KEPT_MS, UNFILLED_KEPT_MS
from paper_exchange.errors import ExchangeError
from tests.paper_exchange.histories import DAY, Historian, add_amendment, add_fill, add_income
from tests.paper_exchange.trader import BTC, D
from tests.support.paper import PaperExchange

HOUR: Final = 3_600_000


@pytest.fixture
def trader() -> Historian:
    return Historian()


def cancelled(trader: Historian) -> None:
    trader.bid("0.010", "49000", client_id="x")
    trader.exchange.orders.cancel(trader.account, BTC, None, "x")


def cancelled_ask(trader: Historian) -> None:
    trader.ask("0.010", "51000", client_id="x")
    trader.exchange.orders.cancel_all(trader.account, BTC)


def expired_at_once(trader: Historian) -> None:
    trader.bid("0.010", "49000", client_id="x", time_in_force="IOC")


def expired_in_match(trader: Historian) -> None:
    trader.bid("0.010", "50000", client_id="x")
    trader.sell("0.010")


def expired_by_date(trader: Historian) -> None:
    good_till = trader.clock.now_ms() + HOUR
    trader.bid("0.010", "49000", client_id="x", time_in_force="GTD", good_till=good_till)
    trader.exchange.advance(HOUR)


def counted_down(trader: Historian) -> None:
    trader.bid("0.010", "49000", client_id="x")
    trader.exchange.count_down(trader.account, BTC, 1000)
    trader.exchange.advance(1000)


def idle_reducer(trader: Historian) -> None:
    trader.buy("0.010")
    trader.ask("0.010", "51000", client_id="x", reduce_only=True)
    trader.sell("0.010")


VOID: Final = (
    cancelled,
    cancelled_ask,
    expired_at_once,
    expired_in_match,
    expired_by_date,
    counted_down,
    idle_reducer,
)


def filled(trader: Historian) -> None:
    trader.buy("0.010", client_id="x")


def filled_short(trader: Historian) -> None:
    trader.sell("0.010", client_id="x")


def partly_filled_and_cancelled(trader: Historian) -> None:
    order = trader.bid("0.010", "49000", client_id="x")
    trader.exchange.matching.fill_resting(order, D("0.004"))
    trader.exchange.orders.cancel(trader.account, BTC, None, "x")


TRADED: Final = (filled, filled_short, partly_filled_and_cancelled)


def seen(trader: Historian, client_id: str = "x") -> tuple[bool, bool]:
    """Whether an order is looked up, and whether it is listed."""
    [row] = [row for row in trader.exchange.state.orders if row.client_id == client_id]
    by_client = trader.code("order", symbol=BTC, origClientOrderId=client_id)
    by_id = trader.code("order", symbol=BTC, orderId=row.order_id)
    assert by_client == by_id
    listed = trader.get("allOrders", symbol=BTC, orderId=row.order_id, limit=1)
    everywhere = trader.get("allOrders", orderId=row.order_id, limit=1)
    assert listed == everywhere
    return by_client == 0, [found["orderId"] for found in listed] == [row.order_id]


@pytest.mark.parametrize("end", VOID, ids=lambda end: end.__name__)
@pytest.mark.parametrize(("days", "known"), [(2, True), (4, False), (8, False), (40, False)])
def test_order_that_ended_unfilled_is_forgotten_after_three_days(
    trader: Historian, end: Callable[[Historian], None], days: int, *, known: bool
) -> None:
    end(trader)
    trader.exchange.advance(days * DAY)
    assert seen(trader) == (known, known)
    assert refused_cancel(trader) == -2011


@pytest.mark.parametrize("end", VOID, ids=lambda end: end.__name__)
def test_three_days_end_at_the_millisecond_and_count_from_the_placement(
    trader: Historian, end: Callable[[Historian], None]
) -> None:
    end(trader)
    [order] = [row for row in trader.exchange.state.orders if row.client_id == "x"]
    trader.exchange.advance(order.created + UNFILLED_KEPT_MS - trader.clock.now_ms())
    assert seen(trader) == (True, True)
    trader.clock.advance(1)
    # It should be so before any step of time has come, and after.
    assert seen(trader) == (False, False)
    trader.exchange.step()
    assert seen(trader) == (False, False)


@pytest.mark.parametrize("end", TRADED, ids=lambda end: end.__name__)
@pytest.mark.parametrize(("days", "known"), [(2, True), (4, True), (8, True), (40, True), (90, True), (91, False)])
def test_order_with_a_fill_is_forgotten_after_ninety_days(
    trader: Historian, end: Callable[[Historian], None], days: int, *, known: bool
) -> None:
    end(trader)
    trader.exchange.advance(days * DAY)
    assert seen(trader) == (known, known)
    assert refused_cancel(trader) == -2011


def refused_cancel(trader: Historian) -> int:
    try:
        trader.exchange.orders.cancel(trader.account, BTC, None, "x")
    except ExchangeError as error:
        return error.code
    return 0


def test_order_that_ends_late_is_forgotten_by_its_age(trader: Historian) -> None:
    """It rests for five days, which is longer than an ended one is remembered."""
    trader.bid("0.010", "49000", client_id="x")
    trader.exchange.advance(5 * DAY)
    assert seen(trader) == (True, True)
    trader.exchange.orders.cancel(trader.account, BTC, None, "x")
    assert trader.code("order", symbol=BTC, origClientOrderId="x") == -2013


@pytest.mark.parametrize("fills", [False, True])
def test_open_order_outlives_every_retention_until_it_ends(trader: Historian, *, fills: bool) -> None:
    order = trader.bid("0.010", "49000", client_id="x")
    if fills:
        trader.exchange.matching.fill_resting(order, D("0.004"))
    trader.exchange.advance(100 * DAY)
    # It should be open, though no look-up of its state knows it.
    assert trader.get("openOrder", symbol=BTC, origClientOrderId="x")["orderId"] == order.order_id
    assert [row["orderId"] for row in trader.get("openOrders")] == [order.order_id]
    assert seen(trader) == (False, False)

    trader.exchange.orders.cancel(trader.account, BTC, order.order_id, None)
    assert trader.code("openOrder", symbol=BTC, origClientOrderId="x") == -2013
    trader.exchange.advance(1000)
    assert (trader.account.order_by_id, trader.account.order_by_client, trader.account.orders[BTC]) == ({}, {}, [])
    # Its client id is free.
    assert trader.bid("0.010", "49000", client_id="x").is_open


def test_order_that_fills_after_ninety_days_is_forgotten_with_its_fill_told(trader: Historian) -> None:
    order = trader.bid("0.010", "49000", client_id="x")
    trader.exchange.advance(100 * DAY)
    trader.price("48999")
    trader.exchange.advance(1000)
    assert order.status == "FILLED"
    assert trader.code("order", symbol=BTC, orderId=order.order_id) == -2013
    assert order.order_id not in {row.order_id for row in trader.account.orders[BTC]}
    # Trades of a forgotten order are told by its id.
    [fill] = trader.get("userTrades", symbol=BTC, orderId=order.order_id)
    assert (fill["qty"], fill["price"]) == ("0.010", "49000.00")


@pytest.mark.parametrize("conditional", [False, True])
def test_order_without_an_end_ends_after_a_year(trader: Historian, *, conditional: bool) -> None:
    placed = trader.clock.now_ms()
    order: Any = (
        trader.condition("SELL", "STOP_MARKET", "0.010", "40000") if conditional else trader.bid("0.010", "49000")
    )
    trader.exchange.advance(GOOD_TILL_CANCEL_MS - 1)
    assert order.status == "NEW"
    trader.exchange.advance(1)
    assert (order.status, order.updated) == ("EXPIRED", placed + GOOD_TILL_CANCEL_MS)


def algo_cancelled(trader: Historian) -> None:
    trader.condition("SELL", "STOP_MARKET", "0.010", "40000", client_id="x")
    trader.exchange.algos.cancel(trader.account, None, "x")


def algo_expired(trader: Historian) -> None:
    """A close-position order that finds no position."""
    trader.condition("SELL", "STOP_MARKET", trigger="49900", close_position=True, client_id="x")
    trader.price("49900")


def algo_rejected(trader: Historian) -> None:
    trader.condition("SELL", "STOP_MARKET", "0.010", "49900", reduce_only=True, client_id="x")
    trader.price("49900")


def algo_finished(trader: Historian) -> None:
    trader.buy("0.010")
    trader.condition("SELL", "STOP_MARKET", "0.010", "49900", reduce_only=True, client_id="x")
    trader.price("49900")


def algo_finished_short(trader: Historian) -> None:
    trader.sell("0.010")
    trader.condition("BUY", "TAKE_PROFIT_MARKET", trigger="49900", close_position=True, client_id="x")
    trader.price("49900")


@pytest.mark.parametrize(
    ("end", "status", "kept_ms"),
    [
        (algo_cancelled, "CANCELED", UNFILLED_KEPT_MS),
        (algo_expired, "EXPIRED", UNFILLED_KEPT_MS),
        (algo_rejected, "REJECTED", UNFILLED_KEPT_MS),
        (algo_finished, "FINISHED", KEPT_MS),
        (algo_finished_short, "FINISHED", KEPT_MS),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
@pytest.mark.parametrize("days", [2, 4, 8, 40, 91])
def test_conditional_orders_are_forgotten_by_how_they_ended(
    trader: Historian, end: Callable[[Historian], None], status: str, kept_ms: int, days: int
) -> None:
    end(trader)
    [algo] = trader.exchange.state.algos
    assert algo.status == status
    trader.exchange.advance(days * DAY)

    known = days * DAY <= kept_ms
    assert trader.code("algoOrder", clientAlgoId="x") == (0 if known else -2013)
    assert trader.code("algoOrder", algoId=algo.algo_id) == (0 if known else -2013)
    listed = trader.get("allAlgoOrders", symbol=BTC, algoId=algo.algo_id)
    assert [row["algoId"] for row in listed] == ([algo.algo_id] if known else [])


def test_waiting_conditional_order_is_listed_as_open_whatever_its_age(trader: Historian) -> None:
    algo = trader.condition("SELL", "STOP_MARKET", "0.010", "40000", client_id="x")
    trader.exchange.advance(100 * DAY)
    assert [row["algoId"] for row in trader.get("openAlgoOrders")] == [algo.algo_id]
    trader.exchange.algos.cancel(trader.account, algo.algo_id, None)
    trader.exchange.advance(1000)
    account = trader.account
    assert (account.algo_by_id, account.algo_by_client, account.algos[BTC]) == ({}, {}, [])


@pytest.mark.parametrize(("days", "known"), [(2, True), (4, True), (8, True), (40, True), (90, True), (91, False)])
def test_fills_and_income_are_told_for_three_months(trader: Historian, days: int, *, known: bool) -> None:
    add_fill(trader)
    add_income(trader)
    began = trader.clock.now_ms()
    trader.exchange.advance(days * DAY)
    count = 1 if known else 0
    assert len(trader.get("userTrades", symbol=BTC, startTime=began)) == count
    assert len(trader.get("income", incomeType="TRANSFER", startTime=began)) == count
    assert len(trader.get("userTrades", symbol=BTC, fromId=1)) == count


def test_wallet_is_explained_to_the_last_digit_whatever_is_forgotten(trader: Historian) -> None:
    for _ in range(50):
        add_fill(trader)
        trader.exchange.advance(4 * DAY)
    account = trader.account
    assert account.wallet == account.deposits + sum(account.booked.values())
    ledger = [row.amount for row in trader.exchange.state.balances]
    assert account.wallet == sum(ledger)
    # It should have forgotten what is older, or this would prove nothing.
    assert len(trader.exchange.state.balances) > len(account.income) + 50


def test_indexes_hold_what_can_be_asked_for_and_no_more(trader: Historian) -> None:
    """Ten thousand cancelled orders over ten days: those of three days are kept."""
    for _ in range(1000):
        for _ in range(10):
            cancelled(trader)
        trader.exchange.advance(864_000)
    account = trader.account
    assert len(trader.exchange.state.orders) == 10_000
    # Ten orders each 864 seconds: the last are 864 seconds old, those of 300 times as much are still kept.
    assert len(account.order_by_id) == len(account.orders[BTC]) == 3000
    assert len(trader.get("allOrders", symbol=BTC, limit=1000)) == 1000


def test_amendments_go_with_their_order(trader: Historian) -> None:
    order = trader.bid("0.010", "49000", client_id="x")
    add_amendment(trader)
    trader.exchange.orders.cancel(trader.account, BTC, None, "x")
    trader.exchange.advance(2 * DAY)
    assert len(trader.get("orderAmendment", symbol=BTC, orderId=order.order_id)) == 1
    trader.exchange.advance(2 * DAY)
    assert trader.code("orderAmendment", symbol=BTC, orderId=order.order_id) == -2013
    assert trader.account.amendments == {}


# Through the state file, over HTTP


def connect(paper: PaperExchange) -> UMFutures:
    client = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=10)
    client.session.trust_env = False
    return client


def code_of(call: Callable[[], object]) -> int:
    with pytest.raises(ClientError) as caught:
        call()
    return int(caught.value.error_code)


def leap(paper: PaperExchange, milliseconds: int) -> None:
    paper.control("POST", "clock", {"advance_ms": milliseconds})


def place_and_cancel(client: UMFutures) -> None:
    terms = {"symbol": BTC, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.010"}
    client.new_order(**terms, price="49000", newClientOrderId="r:1")
    client.cancel_order(BTC, origClientOrderId="r:1")
    client.new_order(symbol=BTC, side="BUY", type="MARKET", quantity="0.010", newClientOrderId="r:2")


@pytest.mark.parametrize("by_kill", [False, True])
def test_what_is_forgotten_stays_forgotten_through_restarts(tmp_path: Path, *, by_kill: bool) -> None:
    options = ("--state-file", str(tmp_path / "state"))

    def restart(paper: PaperExchange) -> None:
        if by_kill:
            os.kill(paper.pid, signal.SIGKILL)
        paper.stop()
        paper.start()

    with PaperExchange(*options) as paper:
        place_and_cancel(connect(paper))
        leap(paper, 2 * DAY)
        restart(paper)
        assert connect(paper).query_order(BTC, origClientOrderId="r:1")["status"] == "CANCELED"
        leap(paper, 2 * DAY)
        assert code_of(lambda: connect(paper).query_order(BTC, origClientOrderId="r:1")) == -2013
        paper.control("POST", "assumptions", {"order_id_reach": "all", "page_from_start": "newest"})
        wallet = paper.summary()["wallet"]
        restart(paper)
        client = connect(paper)
        # It should know as much as before: the fill, not the cancelled order, and what is assumed.
        assert code_of(lambda: client.query_order(BTC, origClientOrderId="r:1")) == -2013
        assert code_of(lambda: client.cancel_order(BTC, origClientOrderId="r:1")) == -2011
        assert [row["clientOrderId"] for row in client.get_all_orders(BTC)] == ["r:2"]
        assert paper.control("GET", "assumptions")["page_from_start"] == "newest"
        assert paper.summary()["wallet"] == wallet
        leap(paper, 87 * DAY)
        assert code_of(lambda: client.query_order(BTC, origClientOrderId="r:2")) == -2013
        assert [row["clientOrderId"] for row in paper.ledger()["orders"]] == ["r:1", "r:2"]


def test_leap_under_moving_prices_is_repeated_digit_by_digit(tmp_path: Path) -> None:
    options = ("--state-file", str(tmp_path / "state"))

    def books(paper: PaperExchange) -> Any:
        ledger = paper.ledger()
        prices = connect(paper).ticker_price()
        return {name: ledger[name] for name in ("orders", "algo_orders", "fills", "balances")}, prices, paper.summary()

    with PaperExchange(*options, static_prices=False) as paper:
        client = connect(paper)
        place_and_cancel(client)
        stop = {"algoType": "CONDITIONAL", "symbol": BTC, "side": "SELL", "type": "STOP_MARKET"}
        client.sign_request("POST", "/fapi/v1/algoOrder", stop | {"triggerPrice": "49750", "closePosition": "true"})
        leap(paper, 20 * DAY)
        leap(paper, 5 * HOUR)
        paper.freeze()
        before = books(paper)
        os.kill(paper.pid, signal.SIGKILL)
    # It should have triggered on the way, or the repetition would have had little to repeat.
    assert [row["algoStatus"] for row in before[0]["algo_orders"]] == ["FINISHED"]
    with PaperExchange(*options, static_prices=False) as paper:
        assert books(paper) == before


def test_switches_are_set_at_the_start_and_refused_when_unknown() -> None:
    with PaperExchange("--assume", "unknown_income_type=empty", "--assume", "limit_above_most=cap") as paper:
        client = connect(paper)
        assert client.get_income_history(incomeType="NONE", limit=5000) == []
        paper.control("POST", "assumptions", {"limit_above_most": "refuse"})
        assert code_of(lambda: client.get_income_history(limit=1001)) == -1130
        with pytest.raises(AssertionError, match="no switch nonsense"):
            paper.control("POST", "assumptions", {"nonsense": "refuse"})
        with pytest.raises(AssertionError, match="must be one of refuse, cap"):
            paper.control("POST", "assumptions", {"limit_above_most": "maybe"})
        paper.reset()
        # It should be as it was started.
        assert paper.control("GET", "assumptions")["limit_above_most"] == "cap"
