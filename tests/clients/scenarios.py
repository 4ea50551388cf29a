"""What is asked of every client, with the exact answers; one function per capability, standard library only.

Each starts on a fresh exchange: BTCUSDT stands at 50 000 with 0.10 to either side of the book, the account has
10 000 USDT, leverage 20, one-way mode; an order must be worth 50 USDT; the taker's fee is 0.05 %.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from itertools import count
from typing import TypeVar

from tests.clients.control import Control
from tests.clients.ports import (
    SYMBOL,
    Algo,
    Balance,
    Client,
    Conditional,
    Event,
    Limit,
    Market,
    Order,
    Position,
    Refusal,
    Trade,
)

Value = TypeVar("Value")
Scenario = Callable[[Client, Control], None]

ASK, BID = Decimal("50000.10"), Decimal("49999.90")
LOT = Decimal("0.010")
FEE = Decimal("0.25000050")
# All contracts of the default listing, and among them some of each kind.
MARKETS = 67
KINDS = {"BTCUSDT", "BTCUSDC", "ETHBTC", "1000PEPEUSDT", "币安人生USDT", "XAUUSDT"}
DEADLINE_S = 10.0
KNOCK_S = 0.3
_numbers = count(1)


class WrongError(AssertionError):
    """An answer is not what it must be."""


def expect(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise WrongError(f"{what} is {actual!r} instead of {expected!r}")


def new_id(word: str) -> str:
    return f"client-{word}-{next(_numbers)}"


def wait_for(what: str, probe: Callable[[], Value | None], pause_s: float = 0.05) -> Value:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(pause_s)
    raise WrongError(f"{what} did not happen within {DEADLINE_S:g} s")


@contextmanager
def refused(client: Client, *codes: int) -> Iterator[None]:
    """Expect the client's own exception class with one of the codes; the class is the one of the code that came."""
    try:
        yield
    except Exception as error:
        wanted = {code: client.exceptions[code] for code in codes}
        if not any(type(error) is kind for kind in wanted.values()):
            raise
        code = client.code_of(error)
        if wanted.get(code) is not type(error):
            raise WrongError(f"{type(error).__name__} with code {code} instead of {codes}") from error
    else:
        raise WrongError(f"not refused with {codes}")


def buy(client: Client, word: str) -> Order:
    """Open a long position of one lot at the ask."""
    placed = client.place_market("BUY", str(LOT), new_id(word))
    return wait_for("the entry's fill", lambda: filled(client, placed.client_id))


def filled(client: Client, client_id: str) -> Order | None:
    order = client.order_by_client_id(client_id)
    return order if order.status == "FILLED" else None


def rest(client: Client, word: str, price: str = "49000.00") -> Order:
    """Place a LIMIT order that stays in the book."""
    order = client.place_limit(Limit(side="BUY", quantity=str(LOT), price=price, client_id=new_id(word)))
    expect("status", order.status, "NEW")
    return order


def connect(client: Client, _: Control) -> None:
    difference = abs(client.server_time_ms() - time.time() * 1000)
    if difference > 2000:
        raise WrongError(f"server time is {difference:.0f} ms away")


def markets(client: Client, _: Control) -> None:
    found = client.markets()
    expect("number of markets", len(found), MARKETS)
    expect("kinds that are missing", KINDS - found.keys(), set())
    expect("BTCUSDT", found[SYMBOL], Market(tick=Decimal("0.1"), step=Decimal("0.001"), smallest_notional=Decimal(50)))


def market_order(client: Client, _: Control) -> None:
    client_id = new_id("market")
    placed = client.place_market("BUY", str(LOT), client_id)
    expect("client id", placed.client_id, client_id)
    expect("quantity", placed.quantity, LOT)
    expect_filled(wait_for("the fill", lambda: filled(client, client_id)), placed.id, "MARKET")


def expect_filled(order: Order, order_id: str, kind: str) -> None:
    expect("id", order.id, order_id)
    expect("type", order.type, kind)
    expect("side", order.side, "BUY")
    expect("filled", order.filled, LOT)
    expect("average", order.average, ASK)


def limit_gtc(client: Client, _: Control) -> None:
    client_id = new_id("gtc")
    order = client.place_limit(Limit(side="BUY", quantity=str(LOT), price="49000.00", client_id=client_id))
    expect(
        "order",
        order,
        Order(
            id=order.id,
            client_id=client_id,
            status="NEW",
            type="LIMIT",
            side="BUY",
            quantity=LOT,
            filled=Decimal(0),
            price=Decimal(49000),
        ),
    )
    expect("open orders", [one.id for one in client.open_orders()], [order.id])


def limit_ioc(client: Client, _: Control) -> None:
    taking = client.place_limit(crossing("ioc", "IOC"))
    expect_filled(wait_for("the fill", lambda: filled(client, taking.client_id)), taking.id, "LIMIT")
    missed = client.place_limit(waiting("ioc", "IOC"))
    ended = client.order_by_client_id(missed.client_id)
    expect("status and fill of the missed one", (ended.status, ended.filled), ("EXPIRED", Decimal(0)))


def limit_fok(client: Client, _: Control) -> None:
    taking = client.place_limit(crossing("fok", "FOK"))
    expect_filled(wait_for("the fill", lambda: filled(client, taking.client_id)), taking.id, "LIMIT")
    with refused(client, -5021):
        client.place_limit(waiting("fok", "FOK"))


def limit_gtx(client: Client, _: Control) -> None:
    resting = client.place_limit(waiting("gtx", "GTX"))
    expect("status", resting.status, "NEW")
    with refused(client, -5022):
        client.place_limit(crossing("gtx", "GTX"))


def crossing(word: str, time_in_force: str) -> Limit:
    return Limit(side="BUY", quantity=str(LOT), price="50000.10", client_id=new_id(word), time_in_force=time_in_force)


def waiting(word: str, time_in_force: str) -> Limit:
    return Limit(side="BUY", quantity=str(LOT), price="50000.00", client_id=new_id(word), time_in_force=time_in_force)


def stop(client: Client, exchange: Control) -> None:
    run_conditional(client, exchange, "STOP", trigger="49500.00", price="49400.00", path=["49450.00"])


def stop_market(client: Client, exchange: Control) -> None:
    run_conditional(client, exchange, "STOP_MARKET", trigger="49500.00", path=["49500.00"])


def take_profit(client: Client, exchange: Control) -> None:
    run_conditional(client, exchange, "TAKE_PROFIT", trigger="50500.00", price="50400.00", path=["50500.00"])


def take_profit_market(client: Client, exchange: Control) -> None:
    run_conditional(client, exchange, "TAKE_PROFIT_MARKET", trigger="50500.00", path=["50600.00"])


def trailing_stop_market(client: Client, exchange: Control) -> None:
    path = ["50300.00", "49700.00"]
    run_conditional(client, exchange, "TRAILING_STOP_MARKET", activation="50200.00", callback_rate="1", path=path)


def run_conditional(
    client: Client,
    exchange: Control,
    kind: str,
    *,
    path: list[str],
    trigger: str = "",
    price: str = "",
    activation: str = "",
    callback_rate: str = "",
) -> None:
    """Protect a long position, let the price go its way, and see the position closed by the triggered order."""
    buy(client, "entry")
    draft = Conditional(
        type=kind,
        side="SELL",
        quantity=str(LOT),
        client_id=new_id("algo"),
        trigger=trigger,
        price=price,
        activation=activation,
        callback_rate=callback_rate,
    )
    placed = client.place_conditional(draft)
    expect_waiting(placed, draft)
    expect_waiting(client.algo(placed.id), draft)
    for step in path:
        exchange.set_price(step)
    expect_executed(client, placed, Decimal(path[-1]) - Decimal("0.10"), "LIMIT" if price else "MARKET")


def expect_waiting(algo: Algo, draft: Conditional) -> None:
    wanted = Algo(
        id=algo.id,
        client_id=draft.client_id,
        status="NEW",
        type=draft.type,
        side=draft.side,
        quantity=LOT,
        trigger=Decimal(draft.trigger or 0),
    )
    expect("conditional order", algo, wanted)


def expect_executed(client: Client, placed: Algo, average: Decimal, kind: str) -> None:
    ended = wait_for("FINISHED", lambda: executed(client, placed.id))
    order = client.order(ended.order_id)
    wanted = (placed.client_id, "FILLED", kind, "SELL", LOT, average)
    actual = (order.client_id, order.status, order.type, order.side, order.filled, order.average)
    expect("triggered order", actual, wanted)
    expect("positions", list(client.positions()), [])


def executed(client: Client, algo_id: str) -> Algo | None:
    algo = client.algo(algo_id)
    return algo if algo.status == "FINISHED" and algo.order_id else None


def bracket(client: Client, exchange: Control) -> None:
    buy(client, "entry")
    loss = client.place_conditional(leg("STOP_MARKET", "49000.00"))
    target = client.place_conditional(leg("TAKE_PROFIT_MARKET", "51000.00"))
    expect("open legs", {one.id for one in client.open_algos()}, {loss.id, target.id})
    exchange.set_price("51000.00")
    expect_executed(client, target, Decimal("50999.90"), "MARKET")
    trades = [(one.side, one.price, one.quantity, one.realised) for one in client.trades()]
    profit = (Decimal("50999.90") - ASK) * LOT
    expect("fills", trades, [("BUY", ASK, LOT, 0), ("SELL", Decimal("50999.90"), LOT, profit)])
    client.cancel_algo(loss.id)
    expect("status of the stop", client.algo(loss.id).status, "CANCELED")


def leg(kind: str, trigger: str) -> Conditional:
    return Conditional(type=kind, side="SELL", quantity=str(LOT), client_id=new_id("leg"), trigger=trigger)


def cancel(client: Client, _: Control) -> None:
    first, second = rest(client, "cancel"), rest(client, "cancel", "48900.00")
    expect(
        "answer", (client.cancel(first.id).id, client.cancel_by_client_id(second.client_id).id), (first.id, second.id)
    )
    for one in (first, second):
        ended = client.order(one.id)
        expect("status and fill", (ended.status, ended.filled), ("CANCELED", Decimal(0)))
    expect("open orders", list(client.open_orders()), [])


def cancel_algo(client: Client, _: Control) -> None:
    placed = client.place_conditional(leg("STOP_MARKET", "49000.00"))
    client.cancel_algo(placed.id)
    expect("status", client.algo(placed.id).status, "CANCELED")
    expect("open conditional orders", list(client.open_algos()), [])


def amend(client: Client, _: Control) -> None:
    order = rest(client, "amend")
    answer = client.amend(order, "0.020", "48900.00")
    expect("id", answer.id, order.id)
    found = client.order(order.id)
    actual = (found.client_id, found.status, found.quantity, found.price)
    expect("order", actual, (order.client_id, "NEW", Decimal("0.020"), Decimal(48900)))


def batch_place(client: Client, _: Control) -> None:
    drafts = [
        Limit(side="BUY", quantity="0.010", price="49000.00", client_id=new_id("batch")),
        Limit(side="BUY", quantity="0.020", price="48900.00", client_id=new_id("batch")),
        Limit(side="SELL", quantity="0.010", price="51000.00", client_id=new_id("batch"), reduce_only=True),
    ]
    first, second, third = client.place_batch(drafts)
    for draft, answer in ((drafts[0], first), (drafts[1], second)):
        if isinstance(answer, Refusal):
            raise WrongError(f"{draft.client_id} was refused with {answer.code}")
        actual = (answer.client_id, answer.status, answer.quantity, answer.price)
        expect("order", actual, (draft.client_id, "NEW", Decimal(draft.quantity), Decimal(draft.price)))
    expect("third", third, Refusal(code=-2022))
    expect("open orders", {one.client_id for one in client.open_orders()}, {one.client_id for one in drafts[:2]})


def batch_cancel(client: Client, _: Control) -> None:
    orders = [rest(client, "batch"), rest(client, "batch", "48900.00"), rest(client, "batch", "48800.00")]
    answers = client.cancel_batch([one.id for one in orders[:2]])
    expect("answers", [(one.id, one.status) for one in answers], [(one.id, "CANCELED") for one in orders[:2]])
    expect("open orders", [one.id for one in client.open_orders()], [orders[2].id])


def open_orders(client: Client, _: Control) -> None:
    order = rest(client, "open")
    algo = client.place_conditional(leg("STOP_MARKET", "49000.00"))
    ordinary = [(one.id, one.client_id, one.status, one.price) for one in client.open_orders()]
    conditional = [(one.id, one.client_id, one.status, one.trigger) for one in client.open_algos()]
    expect("ordinary", ordinary, [(order.id, order.client_id, "NEW", Decimal(49000))])
    expect("conditional", conditional, [(algo.id, algo.client_id, "NEW", Decimal(49000))])


def order_query(client: Client, _: Control) -> None:
    order = rest(client, "query")
    found = client.order(order.id)
    wanted = (order.client_id, "NEW", "LIMIT", "BUY", LOT, Decimal(0), Decimal(49000))
    actual = (found.client_id, found.status, found.type, found.side, found.quantity, found.filled, found.price)
    expect("order", actual, wanted)
    expect("by client id", client.order_by_client_id(order.client_id), found)


def positions(client: Client, exchange: Control) -> None:
    expect("positions at first", list(client.positions()), [])
    buy(client, "long")
    exchange.set_price("50500.00")
    wanted = Position(symbol=SYMBOL, amount=LOT, entry=ASK, unrealised=(Decimal(50500) - ASK) * LOT)
    expect("long", list(client.positions()), [wanted])
    exchange.set_price("50000.00")
    client.place_market("SELL", "0.030", new_id("short"))
    short = wait_for("the short position", lambda: [one for one in client.positions() if one.amount < 0])
    wanted = Position(symbol=SYMBOL, amount=Decimal("-0.020"), entry=BID, unrealised=(BID - 50000) * 2 * LOT)
    expect("short", short, [wanted])


def balance(client: Client, _: Control) -> None:
    expect("at first", client.balance(), Balance(wallet=Decimal(10000), available=Decimal(10000)))
    buy(client, "long")
    after = client.balance()
    expect("wallet", after.wallet, Decimal(10000) - FEE)
    # Margin at the mark price and the unrealised loss: 50 000 * 0.010 / 20 and 0.10 * 0.010.
    expect("available", after.available, Decimal(10000) - FEE - Decimal(25) - Decimal("0.001"))


def account_trades(client: Client, _: Control) -> None:
    entry = buy(client, "entry")
    wanted = Trade(order_id=entry.id, side="BUY", price=ASK, quantity=LOT, fee=FEE, is_maker=False, realised=Decimal(0))
    expect("trades", list(client.trades()), [wanted])


def funding(client: Client, exchange: Control) -> None:
    buy(client, "long")
    exchange.pay_funding("0.00020000")
    found = client.funding()
    expect("rate", found.rate, Decimal("0.0002"))
    expect("newest rate of the history", found.newest_rate, Decimal("0.0002"))
    expect("income", found.income, -Decimal(50000) * LOT * Decimal("0.0002"))


def order_book(client: Client, _: Control) -> None:
    bids, asks = client.book(10)
    expect("levels", (len(bids), len(asks)), (10, 10))
    expect("best prices", (bids[0][0], asks[0][0]), (BID, ASK))
    expect("order of bids", [row[0] for row in bids], sorted({row[0] for row in bids}, reverse=True))
    expect("order of asks", [row[0] for row in asks], sorted({row[0] for row in asks}))
    expect("empty levels", [row for row in [*bids, *asks] if row[1] <= 0], [])


def klines(client: Client, _: Control) -> None:
    found = client.candles(5)
    expect("number", len(found), 5)
    first = found[0].open_time_ms
    expect("minutes", [one.open_time_ms for one in found], [first + 60_000 * index for index in range(5)])
    age_ms = time.time() * 1000 - found[-1].open_time_ms
    expect("the last one is of this minute", 0 <= age_ms < 62_000, True)
    broken = [one for one in found if not one.low <= min(one.open, one.close) <= max(one.open, one.close) <= one.high]
    expect("candles out of order", broken, [])


def ticker(client: Client, exchange: Control) -> None:
    expect("last price", client.last_price(), Decimal(50000))
    exchange.set_price("50123.40")
    expect("last price", client.last_price(), Decimal("50123.40"))


def leverage(client: Client, _: Control) -> None:
    expect("at first", client.leverage(), 20)
    client.set_leverage(7)
    expect("after", client.leverage(), 7)


def margin_type(client: Client, _: Control) -> None:
    expect("at first", client.margin_type(), "CROSSED")
    client.set_margin_type("ISOLATED")
    expect("after", client.margin_type(), "ISOLATED")


def position_mode(client: Client, _: Control) -> None:
    expect("hedge mode at first", client.is_hedge_mode(), False)
    client.set_hedge_mode(on=True)
    expect("hedge mode after", client.is_hedge_mode(), True)


def user_stream(client: Client, exchange: Control) -> None:
    with client.user_stream() as events:
        wake(client, events)
        entry = buy(client, "stream")
        fill = Event(kind="ORDER_TRADE_UPDATE", client_id=entry.client_id, status="FILLED", filled=LOT, average=ASK)
        wait_for("the entry's fill", lambda: fill in events)
        wait_for("the wallet", lambda: account_has(events, wallet=Decimal(10000) - FEE))
        wait_for("the position", lambda: account_has(events, position=LOT))
        algo = client.place_conditional(leg("STOP_MARKET", "49000.00"))
        wait_for("ALGO_UPDATE NEW", lambda: algo_was(events, algo, "NEW"))
        exchange.set_price("49000.00")
        wait_for("ALGO_UPDATE FINISHED", lambda: algo_was(events, algo, "FINISHED"))
        average = Decimal("48999.90")
        fill = Event(kind="ORDER_TRADE_UPDATE", client_id=algo.client_id, status="FILLED", filled=LOT, average=average)
        wait_for("the stop's fill", lambda: fill in events)
        wait_for("the closed position", lambda: account_has(events, position=Decimal(0)))


def wake(client: Client, events: Sequence[Event]) -> None:
    """Some clients do not tell when they are subscribed: place and cancel until the first event comes."""

    def knock() -> bool:
        client.cancel(rest(client, "knock").id)
        return bool(events)

    wait_for("the first event", knock, KNOCK_S)


def account_has(events: Sequence[Event], *, wallet: Decimal | None = None, position: Decimal | None = None) -> bool:
    found = [one for one in events if one.kind == "ACCOUNT_UPDATE"]
    return any(one.wallet == wallet if position is None else one.position == position for one in found)


def algo_was(events: Sequence[Event], algo: Algo, status: str) -> bool:
    return Event(kind="ALGO_UPDATE", client_id=algo.client_id, status=status) in events


def stream_book_ticker(client: Client, exchange: Control) -> None:
    expect_tick(client, exchange, "bookTicker", {"bid": "50099.90", "ask": "50100.10"})


def stream_depth(client: Client, exchange: Control) -> None:
    expect_tick(client, exchange, "depth", {"bid": "50099.90", "ask": "50100.10"})


def stream_agg_trade(client: Client, exchange: Control) -> None:
    expect_tick(client, exchange, "aggTrade", {"price": "50100.10", "quantity": "0.010"})


def stream_mark_price(client: Client, exchange: Control) -> None:
    expect_tick(client, exchange, "markPrice", {"price": "50100.00"})


def stream_kline(client: Client, exchange: Control) -> None:
    expect_tick(client, exchange, "kline", {"close": "50100.10"})


def expect_tick(client: Client, exchange: Control, kind: str, wanted: dict[str, str]) -> None:
    """Move the price, trade until the stream has told it: some clients do not say when they are subscribed."""
    exchange.set_price("50100.00")
    values = {name: Decimal(figure) for name, figure in wanted.items()}
    with client.market_stream(kind) as ticks:

        def knock() -> bool:
            client.place_market("BUY", str(LOT), new_id("knock"))
            return any(tick == values for tick in ticks)

        try:
            wait_for(f"{wanted} on {kind}", knock, KNOCK_S)
        except WrongError as error:
            raise WrongError(f"{error}; seen: {list(ticks)[-2:]}") from error


def websocket_api(client: Client, _: Control) -> None:
    draft = Limit(side="BUY", quantity=str(LOT), price="49000.00", client_id=new_id("wsapi"))
    placed, found, cancelled = client.websocket_api(draft)
    expect("client ids", {placed.client_id, found.client_id, cancelled.client_id}, {draft.client_id})
    expect("ids", {placed.id, found.id, cancelled.id}, {placed.id})
    expect("statuses", (placed.status, found.status, cancelled.status), ("NEW", "NEW", "CANCELED"))
    expect("status by REST", client.order(placed.id).status, "CANCELED")


def error_margin(client: Client, _: Control) -> None:
    with refused(client, -2019):
        client.place_market("BUY", "5.000", new_id("margin"))
    expect("positions", list(client.positions()), [])


def error_unknown_order(client: Client, _: Control) -> None:
    with refused(client, -2011):
        client.cancel("12345")
    with refused(client, -2013):
        client.order("12345")


def error_duplicate_id(client: Client, _: Control) -> None:
    order = rest(client, "twice")
    with refused(client, -4116):
        client.place_limit(Limit(side="BUY", quantity=str(LOT), price="48900.00", client_id=order.client_id))
    expect("open orders", [one.id for one in client.open_orders()], [order.id])


def error_filters(client: Client, _: Control) -> None:
    wrong = {-1111: ("0.0101", "49000.00"), -4014: ("0.010", "49000.05"), -4164: ("0.001", "49000.00")}
    for code, (quantity, price) in wrong.items():
        with refused(client, code):
            client.place_unrounded(Limit(side="BUY", quantity=quantity, price=price, client_id=new_id("filter")))
    expect("open orders", list(client.open_orders()), [])


def error_trigger(client: Client, _: Control) -> None:
    with refused(client, -2021):
        client.place_conditional(leg("STOP_MARKET", "50500.00"))
    expect("open conditional orders", list(client.open_algos()), [])


def error_rate_limit(client: Client, exchange: Control) -> None:
    exchange.refuse("GET", "/fapi/v1/openOrders", "too_many_429")
    with refused(client, -1003):
        client.open_orders()
    exchange.refuse("POST", "/fapi/v1/order", "orders_429")
    with refused(client, -1015):
        client.place_market("BUY", str(LOT), new_id("limit"))
    expect("open orders afterwards", list(client.open_orders()), [])


def engine(client: Client, exchange: Control) -> None:
    """Let the client's own engine trade; the price stands still and is told again and again, so that it hears of it."""
    with telling_the_price(exchange):
        journal = list(client.trade_by_engine())
    wanted = [
        f"loaded {SYMBOL}, tick 0.10",
        "quote 49999.90 50000.10",
        "accepted 0.010 at 49000.00",
        "amended to 0.020 at 48900.00",
        "cancelled after 0.000 filled",
        "filled BUY 0.010 at 50000.10, 0.25000050 USDT",
        "opened LONG 0.010 at 50000.1",
        "filled SELL 0.010 at 49999.90, 0.24999950 USDT",
        "closed at 49999.9",
    ]
    expect("journal", journal, wanted)
    expect("positions", list(client.positions()), [])
    expect("open orders", list(client.open_orders()), [])


@contextmanager
def telling_the_price(exchange: Control) -> Iterator[None]:
    over = threading.Event()

    def tell() -> None:
        while not over.wait(KNOCK_S):
            exchange.set_price("50000.00")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def models(client: Client, _: Control) -> None:
    faults = client.model_faults()
    if faults:
        raise WrongError("; ".join(faults))
