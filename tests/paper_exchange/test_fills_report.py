"""The report of fills: what was paid against the book that stood when the order came."""

from binance.um_futures import UMFutures

from paper_exchange.control.report import fills_report
from tests.paper_exchange.trader import D, Trader
from tests.support.paper import PaperExchange


def test_each_fill_is_compared_with_the_book_at_arrival(paper: PaperExchange, client: UMFutures) -> None:
    order = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    client.new_order(symbol="BTCUSDT", side="SELL", type="LIMIT", timeInForce="GTC", quantity="0.010", price="50100.00")
    paper.set_price("BTCUSDT", "50100")

    report = paper.control("GET", "fills-report?key=paper")

    taken, made = report["fills"]
    assert (taken["orderId"], taken["maker"]) == (order["orderId"], False)
    assert (taken["arrivalBid"], taken["arrivalAsk"]) == ("49999.90", "50000.10")
    assert (taken["price"], taken["slippageBps"], taken["commission"]) == ("50000.10", "0.0000", "0.25000050")
    # It should show what waiting brought: 100.10 above the bid at arrival.
    assert (made["price"], made["maker"], made["slippage"]) == ("50100.00", True, "-1.00100000")
    assert made["slippageBps"] == "-20.0200"
    assert report["totals"] == {
        "fills": 2,
        "quote": "1001.00100000",
        "commission": "0.35020050",
        "slippage": "-1.00100000",
        "slippageBps": "-10.0100",
    }


def test_a_large_order_pays_for_the_levels_it_walks(trader: Trader) -> None:
    trader.account.wallet += 1_000_000
    (best, first), (second, _) = trader.market.book.depth("SELL", 2)

    trader.buy(str(first + D("0.100")))

    report = fills_report(trader.account.fills["BTCUSDT"])
    walked = report["fills"][1]
    assert (walked["arrivalAsk"], walked["price"]) == (f"{best:.2f}", f"{second:.2f}")
    assert D(walked["slippage"]) == (second - best) * D("0.100")


def test_forced_orders_have_no_arrival(trader: Trader) -> None:
    trader.buy("0.010")
    trader.exchange.liquidation.close(trader.position(), trader.account, "ADL")

    report = fills_report(trader.account.fills["BTCUSDT"])

    assert [row["slippageBps"] for row in report["fills"]] == ["0.0000", None]
    assert fills_report([])["totals"]["slippageBps"] is None
