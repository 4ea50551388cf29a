"""Leaps in time: days and weeks in one call or in many, with all that falls due on the way at its own moment."""

import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from binance.um_futures import UMFutures

from paper_exchange.config import Config
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.fill_rules import FillRule
from paper_exchange.core.history import candle_end, candle_start
from paper_exchange.core.listen_keys import VALIDITY_MS
from paper_exchange.core.money import floor_to
from paper_exchange.core.orders import AlgoTicket, Ticket
from tests.paper_exchange.test_user_stream import listen
from tests.paper_exchange.trader import BTC, D, Trader
from tests.support.paper import PaperExchange

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR
START: Final = 1_790_000_000_000
FIRST_FUNDING: Final = (START // (8 * HOUR) + 1) * 8 * HOUR


def moving(**settings: Any) -> Trader:
    """A trader whose prices move."""
    return Trader(Config(min_notional=D(5), queue_position=False, **settings), SteppedClock(START))


def pieces(whole: int, piece: int) -> Iterator[int]:
    """Split a time; the last piece is what is left."""
    while whole > 0:
        yield min(piece, whole)
        whole -= piece


def live_for_weeks(trader: Trader) -> None:
    """Leave something of each kind behind that falls due within weeks."""
    now = trader.clock.now_ms()
    trader.buy("0.010", client_id="held")
    trader.condition("SELL", "STOP_MARKET", "0.010", "40000", client_id="stop")
    for name, hours in (("a", 1), ("b", 30), ("c", 24 * 9)):
        trader.bid("0.010", "49000", client_id=name, time_in_force="GTD", good_till=now + hours * HOUR + 1234)
    trader.bid("0.010", "48000", client_id="counted")
    trader.exchange.count_down(trader.account, BTC, 200 * HOUR + 7)
    trader.exchange.state.fill_rules.add(FillRule(id="p", client_id="parts", parts=4, every_ms=11 * HOUR))
    trader.buy("0.040", client_id="parts")


def books(trader: Trader) -> Any:
    state, account = trader.exchange.state, trader.account
    return {
        "orders": [(row.client_id, row.status, row.executed, row.updated) for row in state.orders],
        "algos": [(row.client_id, row.status, row.updated) for row in state.algos],
        "fills": [(row.order.client_id, row.quantity, row.price, row.time) for row in state.fills],
        "income": [(row.type, row.amount, row.time) for row in account.income],
        "wallet": account.wallet,
        "known": sorted(client for _, client in account.order_by_client),
    }


def after(piece: int, whole: int) -> Any:
    trader = Trader(Config(static_prices=True, queue_position=False), SteppedClock(START))
    live_for_weeks(trader)
    for part in pieces(whole, piece):
        trader.exchange.advance(part)
    return books(trader)


@pytest.mark.parametrize("days", [2, 4, 8, 40])
@pytest.mark.parametrize("piece", [250 * 1000, 7 * 60_000 + 13, HOUR, DAY])
def test_one_leap_and_many_end_in_the_same_books(days: int, piece: int) -> None:
    whole = days * DAY
    assert after(whole, whole) == after(piece, whole)


def test_everything_happens_at_its_own_millisecond() -> None:
    found = after(40 * DAY, 40 * DAY)
    by_client = {client: (status, updated - START) for client, status, _, updated in found["orders"]}
    assert by_client == {
        "held": ("FILLED", 0),
        "a": ("EXPIRED", HOUR + 1234),
        "b": ("EXPIRED", 30 * HOUR + 1234),
        # The countdown was faster.
        "c": ("CANCELED", 200 * HOUR + 7),
        "counted": ("CANCELED", 200 * HOUR + 7),
        "parts": ("FILLED", 33 * HOUR),
    }
    assert [row[3] - START for row in found["fills"] if row[0] == "parts"] == [0, 11 * HOUR, 22 * HOUR, 33 * HOUR]
    funding = [row[2] for row in found["income"] if row[0] == "FUNDING_FEE"]
    assert funding == [FIRST_FUNDING + n * 8 * HOUR for n in range(120)]
    # Orders that ended unfilled are forgotten, the conditional one that waits is not.
    assert found["known"] == ["held", "parts"]
    assert found["algos"] == [("stop", "NEW", START)]


def test_each_funding_pays_what_is_held_at_its_mark_price() -> None:
    trader = moving()
    trader.buy("0.010")
    trader.exchange.advance(40 * DAY)
    rates = trader.exchange.funding.rates(trader.market, START, trader.clock.now_ms(), 1000, newest=True)
    rows = [row for row in trader.account.income if row.type == "FUNDING_FEE"]
    assert len(rows) == len(rates) == 120
    paid = [(row.time, row.amount) for row in rows]
    assert paid == [(rate.time, (-D("0.010") * rate.mark * rate.rate).quantize(D("1e-8"))) for rate in rates]
    # It should not be one price for all.
    assert len({rate.mark for rate in rates}) > 60
    trader.check_identity()


def test_funding_history_of_months_is_the_one_that_was_paid() -> None:
    trader = Trader(Config(static_prices=True, extra_symbols=60), SteppedClock(START))
    trader.market.funding_rate = D("0.0003")
    trader.exchange.advance(60 * DAY)
    rates = trader.exchange.funding.rates(trader.market, START, trader.clock.now_ms(), 1000, newest=True)
    assert [(rate.time, rate.rate) for rate in rates] == [
        (FIRST_FUNDING + n * 8 * HOUR, D("0.0003")) for n in range(180)
    ]


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize("working_type", ["CONTRACT_PRICE", "MARK_PRICE"])
def test_stop_triggers_on_the_way_and_not_at_the_end(side: str, working_type: str) -> None:
    trader = moving()
    long = side == "SELL"
    trader.buy("0.010") if long else trader.sell("0.010")
    # Two deviations of the price away: within weeks of hourly prices it is passed for certain.
    trigger = "49750" if long else "50250"
    trader.condition(side, "STOP_MARKET", trigger=trigger, close_position=True, working_type=working_type)
    trader.exchange.advance(40 * DAY)
    [algo] = trader.exchange.state.algos
    assert algo.status == "FINISHED"
    assert START < algo.triggered_at < START + 20 * DAY
    assert algo.order is not None
    assert [fill.time for fill in algo.order.fills] == [algo.triggered_at] * len(algo.order.fills)
    assert trader.position().amount == 0
    # Nothing is paid for a position that had gone.
    assert {row.type for row in trader.account.income} >= {"COMMISSION", "FUNDING_FEE"}
    assert max(row.time for row in trader.account.income) <= algo.triggered_at
    trader.check_identity()


def test_resting_order_meets_the_prices_of_the_way() -> None:
    trader = moving()
    order = trader.bid("0.010", "49800")
    trader.exchange.advance(40 * DAY)
    assert order.status == "FILLED"
    assert START < order.updated < START + 20 * DAY


@pytest.mark.parametrize("side", ["BUY", "SELL"])
@pytest.mark.parametrize("isolated", [False, True])
def test_margin_is_looked_at_on_the_way(side: Any, *, isolated: bool) -> None:
    trader = moving(volatility=20.0)
    account = trader.account
    account.setting(trader.market.symbol).isolated = isolated
    account.setting(trader.market.symbol).leverage = 100
    if not isolated:
        account.wallet = account.deposits = D(40)
    trader.send(side, "MARKET", "0.050")
    trader.exchange.advance(10 * DAY)
    [(kind, order)] = account.force_orders
    assert (kind, order.quantity) == ("LIQUIDATION", D("0.050"))
    assert START < order.created < START + 10 * DAY
    trader.check_identity()


def test_listen_key_ends_on_the_way_and_hears_nothing_after() -> None:
    trader = Trader(Config(static_prices=True, queue_position=False), SteppedClock(START))
    _, ear, key = listen(trader)
    trader.bid("0.010", "49000", client_id="x", time_in_force="GTD", good_till=START + 30 * 60_000)
    trader.bid("0.010", "49000", client_id="y", time_in_force="GTD", good_till=START + 90 * 60_000)
    trader.exchange.advance(40 * DAY)
    told = [(event["e"], event.get("o", {}).get("c"), event.get("o", {}).get("X"), event["E"]) for event in ear.heard]
    assert told == [
        ("ORDER_TRADE_UPDATE", "x", "NEW", START),
        ("ORDER_TRADE_UPDATE", "y", "NEW", START),
        ("ORDER_TRADE_UPDATE", "x", "EXPIRED", START + 30 * 60_000),
        ("listenKeyExpired", None, None, START + VALIDITY_MS),
    ]
    assert key == ear.heard[-1]["listenKey"]


@pytest.mark.parametrize("piece", [4 * HOUR, 40 * DAY])
def test_closed_candles_stay_what_they_were(piece: int) -> None:
    trader = moving()
    trader.exchange.advance(15 * DAY)
    before = {interval: closed(trader, interval, START + 15 * DAY) for interval in ("1h", "4h", "1d", "1w")}
    for part in pieces(40 * DAY, piece):
        trader.exchange.advance(part)
    for interval, rows in before.items():
        assert closed(trader, interval, START + 15 * DAY) == rows
        # It should hold what was traded, not what is invented of a past before the start.
        assert any(row["first_id"] for row in rows)


def closed(trader: Trader, interval: str, moment: int) -> list[dict[str, Any]]:
    """Candles from two days before the start that were closed at a moment."""
    last = candle_start(moment, interval) - 1
    return [vars_of(row) for row in trader.market.history.candles(interval, START - 2 * DAY, 1500, last)]


def vars_of(candle: Any) -> dict[str, Any]:
    return {name: getattr(candle, name) for name in candle.__slots__}


@pytest.mark.parametrize("interval", ["1h", "4h", "1d"])
def test_candles_older_than_the_recorded_minutes_live_on(interval: str) -> None:
    """Ten days of trades each minute, of which three are kept as minutes."""
    trader = moving(static_prices=True)
    history = trader.market.history
    snapshots: dict[int, dict[str, Any]] = {}
    for minute in range(10 * 1440):
        trader.clock.advance(60_000)
        price = D(50_000) + minute % 977
        trader.market.print_trade(price, D("0.001"), trader.clock.now_ms(), buyer_is_maker=minute % 2 == 0)
        if minute % 1440 == 0:
            start = candle_start(trader.clock.now_ms(), interval)
            for candle in history.candles(interval, START - DAY, 1000, start - 1):
                seen = snapshots.setdefault(candle.open_time, vars_of(candle))
                assert vars_of(candle) == seen
    # All days and no gap; their trades are counted once.
    final = history.candles(interval, START, 1000, trader.clock.now_ms())
    assert [row.close_time + 1 for row in final[:-1]] == [row.open_time for row in final[1:]]
    first_open = final[0].open_time
    skipped = max(0, -(-(first_open - START) // 60_000))
    assert sum(row.count for row in final) in range(10 * 1440 - skipped - 1, 10 * 1440 + 1)
    assert candle_end(final[-1].open_time, interval) == final[-1].close_time + 1


def test_leap_over_http_is_told_by_every_list(paper: PaperExchange, client: UMFutures) -> None:
    client.new_order(symbol=BTC, side="BUY", type="MARKET", quantity="0.010")
    opened = client.time()["serverTime"]
    answer = paper.control("POST", "clock", {"advance_ms": 40 * DAY})
    assert answer["now_ms"] - opened >= 40 * DAY
    # A week is what a call without times tells: 21 payments of 120.
    assert len(client.get_income_history(incomeType="FUNDING_FEE", limit=1000)) == 21
    assert len(client.get_income_history(incomeType="FUNDING_FEE", startTime=opened - 1000, limit=1000)) == 21
    whole = {"startTime": opened - 1000, "endTime": answer["now_ms"]}
    assert len(client.get_income_history(incomeType="FUNDING_FEE", limit=1000, **whole)) == 120
    assert client.get_account_trades(BTC) == []
    assert len(client.get_account_trades(BTC, startTime=opened - 1000)) == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"advance_ms": -1}, "must not be negative"),
        ({"advance_ms": DAY, "stride_ms": 0}, "stride_ms must be positive"),
        ({"advance_ms": 367 * DAY}, "at most 8784 strides"),
        ({"advance_ms": DAY, "stride_ms": 250}, "at most 8784 strides"),
        ({"advance_ms": 10**18}, "at most 8784 strides"),
    ],
)
def test_leaps_without_an_end_are_refused(paper: PaperExchange, body: dict[str, int], told: str) -> None:
    before = paper.control("GET", "status")["now_ms"]
    with pytest.raises(AssertionError, match=told):
        paper.control("POST", "clock", body)
    assert paper.control("GET", "status")["now_ms"] - before < 60_000


@pytest.mark.parametrize("stride", [60_000, 6 * HOUR])
def test_stride_says_how_often_prices_move(stride: int) -> None:
    trader = moving()
    first = trader.market.history.last_id
    trader.exchange.advance(DAY, stride)
    # One price a stride, one more at each funding that lies between, and one at the end.
    moved = trader.market.history.last_id - first
    assert DAY // stride <= moved <= DAY // stride + 4


def test_forty_days_in_hours_with_fifty_positions_take_seconds() -> None:
    exchange = Exchange(Config(extra_symbols=60), SteppedClock(START))
    account = exchange.state.accounts["paper"]
    account.wallet = account.deposits = D(10_000_000)
    tradable = [
        market
        for market in exchange.state.markets.values()
        if market.symbol.margin == "USDT" and market.symbol.status == "TRADING" and market.symbol.funding_ms
    ][:50]
    for market in tradable:
        symbol, name = market.symbol, market.symbol.name
        quantity = floor_to(D(200) / market.last, symbol.step) + symbol.step
        side: Any = "BUY" if len(account.held()) % 2 else "SELL"
        exchange.orders.place(account, Ticket(symbol=name, side=side, type="MARKET", quantity=quantity))
        trigger = floor_to(market.last * (D("0.5") if side == "BUY" else D("1.5")), symbol.tick)
        stop: Any = "SELL" if side == "BUY" else "BUY"
        exchange.algos.place(
            account,
            AlgoTicket(symbol=name, side=stop, type="STOP_MARKET", trigger_price=trigger, close_position=True),
        )
    assert len(account.held()) == 50

    began = time.process_time()
    for _ in range(40 * 24):
        exchange.advance(HOUR)
    took = time.process_time() - began

    funding = [row for row in account.income if row.type == "FUNDING_FEE"]
    assert len(funding) == sum(40 * 24 // market.symbol.funding_hours for market in tradable)
    assert len({market.symbol.funding_hours for market in tradable}) == 3
    assert len(account.held()) == 50
    assert account.wallet == account.deposits + sum(account.booked.values())
    assert took < 30, f"40 days in 960 leaps of an hour took {took:.1f} s of the processor"
