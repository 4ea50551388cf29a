"""Contracts whose terms change while they trade: filters, and a status in which little or nothing is allowed."""

from typing import Any

import pytest
import requests
from binance.error import ClientError
from binance.um_futures import UMFutures

from tests.support.paper import PaperExchange


def change_contract(paper: PaperExchange, **terms: Any) -> dict[str, Any]:
    row: dict[str, Any] = paper.control("POST", "symbols", {"symbol": "BTCUSDT"} | terms)
    return row


def limit(client: UMFutures, quantity: str = "0.010", price: str = "49000", **terms: str) -> Any:
    return client.new_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity=quantity, price=price, **terms
    )


def code_of(caught: pytest.ExceptionInfo[ClientError]) -> int:
    code: int = caught.value.error_code
    return code


@pytest.mark.parametrize(
    ("terms", "bad", "code", "good"),
    [
        ({"tick": "0.50"}, ("0.010", "49000.10"), -4014, ("0.010", "49000.50")),
        ({"tick": "100"}, ("0.010", "49050"), -4014, ("0.010", "49000")),
        ({"step": "0.005"}, ("0.012", "49000"), -4023, ("0.015", "49000")),
        ({"min_notional": "500"}, ("0.010", "49000"), -4164, ("0.011", "49000")),
        ({"max_quantity": "0.5"}, ("0.600", "49000"), -4005, ("0.500", "49000")),
        ({"multiplier_down": "0.99", "multiplier_up": "0.99"}, ("0.010", "49900"), -4016, ("0.010", "49400")),
    ],
)
def test_filter_that_changes(
    paper: PaperExchange,
    client: UMFutures,
    terms: dict[str, str],
    bad: tuple[str, str],
    code: int,
    good: tuple[str, str],
) -> None:
    limit(client, *bad)
    change_contract(paper, **terms)

    with pytest.raises(ClientError) as caught:
        limit(client, *bad)
    assert code_of(caught) == code
    assert limit(client, *good)["status"] == "NEW"
    # It should let the first order rest.
    assert len(client.get_orders()) == 2


def test_filters_are_listed_as_they_are(paper: PaperExchange, client: UMFutures) -> None:
    row = change_contract(paper, tick="0.01", step="0.0001", min_notional="100")
    [listed] = [row for row in client.exchange_info()["symbols"] if row["symbol"] == "BTCUSDT"]
    assert listed == row
    filters = {row["filterType"]: row for row in listed["filters"]}
    assert (filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"]) == ("0.01", "0.0001")
    assert filters["MIN_NOTIONAL"]["notional"] == "100"
    assert listed["quantityPrecision"] == 4
    assert limit(client, "0.0123", "49000.01")["origQty"] == "0.0123"


def test_market_moves_to_the_new_grid(paper: PaperExchange, client: UMFutures) -> None:
    paper.set_price("BTCUSDT", "50000.10")
    change_contract(paper, tick="0.50")
    assert float(client.ticker_price("BTCUSDT")["price"]) % 0.5 == 0
    book = client.depth("BTCUSDT", limit=50)
    for side in ("asks", "bids"):
        assert {float(price) % 0.5 for price, _ in book[side]} == {0}


def test_reset_lists_the_old_terms(paper: PaperExchange, client: UMFutures) -> None:
    change_contract(paper, tick="100", status="CLOSE")
    paper.reset()
    assert limit(client, price="49000.10")["status"] == "NEW"


@pytest.mark.parametrize(
    ("status", "opening", "reducing"),
    [
        ("PRE_SETTLE", -4140, None),
        ("BREAK", -1122, -1122),
        ("PENDING_TRADING", -1122, -1122),
        ("SETTLING", -4141, -4141),
        ("CLOSE", -4141, -4141),
    ],
)
def test_status_and_what_it_lets_pass(
    paper: PaperExchange, client: UMFutures, status: str, opening: int, reducing: int | None
) -> None:
    paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0.010"})
    resting = limit(client)
    assert change_contract(paper, status=status)["status"] == status

    with pytest.raises(ClientError) as caught:
        client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    assert code_of(caught) == opening
    with pytest.raises(ClientError) as caught:
        client.modify_order("BTCUSDT", "BUY", "0.010", "48000", orderId=resting["orderId"])
    assert code_of(caught) == -5024
    # It should let orders be cancelled in any case.
    assert client.cancel_order("BTCUSDT", orderId=resting["orderId"])["status"] == "CANCELED"

    closing = {"symbol": "BTCUSDT", "side": "SELL", "type": "MARKET", "quantity": "0.010", "reduceOnly": "true"}
    if reducing is None:
        assert client.new_order(**closing)["side"] == "SELL"
        return
    with pytest.raises(ClientError) as caught:
        client.new_order(**closing)
    assert code_of(caught) == reducing


def test_conditional_orders_are_held_to_the_status(paper: PaperExchange, client: UMFutures) -> None:
    stop = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "BUY", "type": "STOP_MARKET"}
    stop |= {"triggerPrice": "51000", "quantity": "0.010"}
    change_contract(paper, status="PRE_SETTLE")
    with pytest.raises(ClientError) as caught:
        client.sign_request("POST", "/fapi/v1/algoOrder", dict(stop))
    assert code_of(caught) == -4140
    change_contract(paper, status="TRADING")
    assert client.sign_request("POST", "/fapi/v1/algoOrder", dict(stop))["algoStatus"] == "NEW"


def test_halted_symbol_trades_with_nobody(paper: PaperExchange, client: UMFutures) -> None:
    resting = limit(client)
    change_contract(paper, status="BREAK")
    paper.set_price("BTCUSDT", "48000")
    assert client.query_order("BTCUSDT", orderId=resting["orderId"])["status"] == "NEW"

    change_contract(paper, status="TRADING")
    paper.set_price("BTCUSDT", "48000")
    assert client.query_order("BTCUSDT", orderId=resting["orderId"])["status"] == "FILLED"


@pytest.mark.parametrize("terms", [{"status": "HAPPY"}, {"tick": "0"}, {"step": "-1"}, {"max_open_orders": 0}])
def test_terms_that_make_no_sense(paper: PaperExchange, client: UMFutures, terms: dict[str, Any]) -> None:
    answer = requests.post(
        f"{paper.url}/paper/symbols", json={"symbol": "BTCUSDT"} | terms, timeout=5, proxies={"http": ""}
    )
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert limit(client)["status"] == "NEW"
