"""The default listing: as various as the venue's, each contract tradable on its own terms, also while it changes."""

import json
from collections import Counter
from contextlib import closing
from dataclasses import replace
from decimal import ROUND_CEILING
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
import websocket
from binance.error import ClientError
from binance.um_futures import UMFutures

from paper_exchange.__main__ import main
from paper_exchange.config import UNIFORM, Config
from paper_exchange.core.listing import ListingError, build_listing, check, quarter_ends
from paper_exchange.core.symbols import Symbol
from tests.paper_exchange.conftest import NOON
from tests.paper_exchange.trader import D
from tests.support.paper import PaperExchange

VENUE = build_listing(Config(), NOON)


def named(symbol: Symbol) -> str:
    return f"{symbol.pair} {symbol.contract_type}"


TRADING = [symbol for symbol in VENUE.values() if symbol.status == "TRADING"]
CHINESE = "币安人生USDT"


def test_listing_is_as_various_as_the_venues() -> None:
    symbols = list(VENUE.values())
    assert len(symbols) >= 40
    in_dollars = {str(s.min_notional) for s in symbols if s.quote != "BTC"}
    assert in_dollars == {"5", "20", "50", "100"}
    assert {str(symbol.step) for symbol in symbols} == {"0.001", "0.01", "0.1", "1"}
    assert Counter(symbol.margin for symbol in symbols).keys() == {"USDT", "USDC", "BTC"}
    assert {symbol.funding_hours for symbol in symbols if not symbol.is_dated} == {1, 4, 8}
    assert {symbol.status for symbol in symbols} == {"TRADING", "SETTLING", "PENDING_TRADING"}
    assert {symbol.contract_type for symbol in symbols} == {
        "PERPETUAL",
        "CURRENT_QUARTER",
        "NEXT_QUARTER",
        "TRADIFI_PERPETUAL",
    }
    # It should have ticks coarser than the precision, and market lots far below the limit lots.
    assert sum(symbol.tick > symbol.price_unit for symbol in symbols) >= 10
    assert sum(symbol.market_max_quantity * 100 <= symbol.max_quantity for symbol in symbols) >= 10
    assert {"1000PEPEUSDT", "1000SHIBUSDT", CHINESE, "BTCUSDC", "ETHUSDC", "ETHBTC", "BNBBTC"} <= VENUE.keys()
    assert len({symbol.brackets for symbol in symbols}) >= 5


@pytest.mark.parametrize("symbol", VENUE.values(), ids=named)
def test_every_contract_is_sound(symbol: Symbol) -> None:
    check(symbol)
    assert symbol.market_max_quantity <= symbol.max_quantity
    assert symbol.brackets[0].cum == 0
    assert symbol.max_leverage >= 20 or symbol.status != "TRADING"


@pytest.mark.parametrize(
    "terms",
    [
        {"price": D("50000.05")},
        {"market_max_quantity": D("1001")},
        {"step": D("0.0001")},
        {"tick": D("0.001")},
        {"min_notional": D("1e9")},
        {"max_price": D(40_000)},
    ],
)
def test_contracts_nobody_could_trade_are_refused(terms: dict[str, Any]) -> None:
    with pytest.raises(ListingError):
        check(replace(VENUE["BTCUSDT"], **terms))


def test_uniform_listing_stays(capsys: pytest.CaptureFixture[str]) -> None:
    alike = build_listing(Config(listing=UNIFORM, min_notional=D(7), extra_symbols=2), NOON)
    assert len(alike) == 26
    assert {(s.min_notional, s.margin, s.contract_type, s.funding_hours) for s in alike.values()} == {
        (D(7), "USDT", "PERPETUAL", 8)
    }
    # It should not let an option of the one listing change the other in silence.
    assert main(["--min-notional", "100"]) == 2
    assert "uniform" in capsys.readouterr().err


def test_quarters_end_on_last_fridays() -> None:
    ends = quarter_ends(NOON)
    # 2026-09-25, 2026-12-25 and 2027-03-26, each at 08:00 UTC.
    assert [next(ends) for _ in range(3)] == [1_790_323_200_000, 1_798_185_600_000, 1_806_048_000_000]


@pytest.mark.parametrize("before_end_hours", [1, 23, 25, 24 * 80])
def test_dated_contracts_are_alive_at_any_start(before_end_hours: int) -> None:
    start = 1_790_323_200_000 - before_end_hours * 3_600_000
    listed = [symbol for symbol in build_listing(Config(), start).values() if symbol.is_dated]
    assert [symbol.contract_type for symbol in listed] == ["CURRENT_QUARTER", "NEXT_QUARTER"] * 2
    assert all(start + 86_400_000 < symbol.delivery_ms for symbol in listed)


def send(paper: PaperExchange, client: UMFutures, symbol: Symbol, side: str, **terms: str) -> Any:
    # The connector encodes what it signs as form data, Chinese letters too.
    del paper
    order = {"symbol": symbol.name, "side": side, "type": "MARKET", "quantity": lot(symbol)} | terms
    return client.sign_request("POST", "/fapi/v1/order", order)


def lot(symbol: Symbol) -> str:
    """Return the smallest quantity that the minimum notional allows with some room, as text."""
    steps = symbol.min_notional * D("1.1") / symbol.price / symbol.step
    return format(max(steps.to_integral_value(ROUND_CEILING), D(1)) * symbol.step, "f")


@pytest.mark.parametrize("symbol", TRADING, ids=named)
def test_every_contract_trades_over_http(paper: PaperExchange, client: UMFutures, symbol: Symbol) -> None:
    """Opened and closed again; what it earns and costs is booked in its margin asset, and nowhere else."""
    if symbol.is_dated:
        # Named after their end, which depends on the start.
        listed = client.exchange_info()["symbols"]
        wanted = symbol.pair, symbol.contract_type
        name = next(row["symbol"] for row in listed if (row["pair"], row["contractType"]) == wanted)
        symbol = replace(symbol, name=name)
    before = {row["asset"]: D(row["balance"]) for row in client.balance()}
    send(paper, client, symbol, "BUY")
    [row] = client.sign_request("GET", "/fapi/v3/positionRisk", {"symbol": symbol.name})
    assert (row["symbol"], row["marginAsset"]) == (symbol.name, symbol.margin)
    send(paper, client, symbol, "SELL", reduceOnly="true")

    trades = client.sign_request("GET", "/fapi/v1/userTrades", {"symbol": symbol.name})
    assert {(row["marginAsset"], row["commissionAsset"], row["pair"]) for row in trades} == {
        (symbol.margin, symbol.margin, symbol.pair)
    }
    after = {row["asset"]: D(row["balance"]) for row in client.balance()}
    earned = sum(D(row["realizedPnl"]) - D(row["commission"]) for row in trades)
    assert earned < 0
    assert after == before | {symbol.margin: before[symbol.margin] + earned}
    income = client.get_income_history(limit=1000)
    assert {row["asset"] for row in income if row["symbol"] == symbol.name} == {symbol.margin}


@pytest.mark.parametrize("name", ["EOSUSDT", "BLZUSDT", "我踏马来了USDT"])
def test_contracts_that_do_not_trade_refuse(client: UMFutures, name: str) -> None:
    symbol = VENUE[name]
    with pytest.raises(ClientError) as caught:
        client.sign_request(
            "POST", "/fapi/v1/order", {"symbol": name, "side": "BUY", "type": "MARKET", "quantity": lot(symbol)}
        )
    assert caught.value.error_code == (-1122 if symbol.status == "PENDING_TRADING" else -4141)


def test_documented_sample_order_passes(client: UMFutures) -> None:
    """The README's first order: 0.001 BTC at 50,000, which is exactly the minimum notional."""
    order = client.new_order(
        symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.001", price="50000"
    )
    assert order["status"] == "NEW"


def test_chinese_symbol_on_rest_and_streams(paper: PaperExchange, client: UMFutures) -> None:
    encoded = quote(CHINESE)
    plain = requests.get(f"{paper.url}/fapi/v1/ticker/price?symbol={encoded}", timeout=5, proxies={"http": ""}).json()
    assert plain["symbol"] == CHINESE
    key = client.new_listen_key()["listenKey"]
    market = f"{paper.stream_url}/market/stream?streams={quote(CHINESE.lower())}@aggTrade"
    with (
        closing(websocket.create_connection(market, timeout=5, http_no_proxy=["*"])) as prints,
        closing(
            websocket.create_connection(
                f"{paper.stream_url}/private/ws?listenKey={key}", timeout=5, http_no_proxy=["*"]
            )
        ) as user,
    ):
        send(paper, client, VENUE[CHINESE], "BUY")
        message = json.loads(prints.recv())
        assert (message["stream"], message["data"]["s"]) == (f"{CHINESE.lower()}@aggTrade", CHINESE)
        event = next(e for e in iter(lambda: json.loads(user.recv()), None) if e["e"] == "ACCOUNT_UPDATE")
        assert event["a"]["P"][0]["s"] == CHINESE


def test_books_of_coin_quoted_contracts_are_as_deep_in_dollars(client: UMFutures) -> None:
    asks = client.depth("ETHBTC", limit=5)["asks"]
    dollars = [float(price) * float(quantity) * 50_000 for price, quantity in asks]
    assert len(dollars) == 5
    assert all(40_000 < level < 160_000 for level in dollars)


def test_funding_info_lists_other_intervals_only(paper: PaperExchange, client: UMFutures) -> None:
    rows = {row["symbol"]: row["fundingIntervalHours"] for row in client.query("/fapi/v1/fundingInfo")}
    assert rows == {s.name: s.funding_hours for s in VENUE.values() if not s.is_dated and s.funding_hours != 8}
    paper.control("POST", "symbols", {"symbol": "BTCUSDT", "funding_interval_hours": 1})
    assert {"BTCUSDT": 1}.items() <= {
        row["symbol"]: row["fundingIntervalHours"] for row in client.query("/fapi/v1/fundingInfo")
    }.items()
    now = paper.control("GET", "status")["now_ms"]
    due = {row["symbol"]: row["nextFundingTime"] for row in client.mark_price()}
    assert due["BTCUSDT"] == now // 3_600_000 * 3_600_000 + 3_600_000
    assert {due[name] for name in due if "_" in name} == {0}


@pytest.mark.parametrize("hours", [1, 2, 4])
def test_shorter_interval_owes_nothing_for_the_hours_before_it(
    paper: PaperExchange, client: UMFutures, hours: int
) -> None:
    """Funding was due every eight hours; five and a half of them have passed when the interval becomes shorter."""
    hour, now = 3_600_000, paper.control("GET", "status")["now_ms"]
    paper.control("POST", "clock", {"advance_ms": (now // (8 * hour) + 1) * 8 * hour + 11 * hour // 2 - now})
    send(paper, client, VENUE["BTCUSDT"], "BUY")

    paper.control("POST", "symbols", {"symbol": "BTCUSDT", "funding_interval_hours": hours})
    paper.control("POST", "clock", {"advance_ms": 1000})
    assert client.get_income_history(incomeType="FUNDING_FEE") == []
    # It should pay at the new interval's next hour, once.
    paper.control("POST", "clock", {"advance_ms": hour // 2 + 2 * hour})
    times = [row["time"] // hour % 24 % hours for row in client.get_income_history(incomeType="FUNDING_FEE")]
    assert times == [0] * len({1: (6, 7, 8), 2: (6, 8), 4: (8,)}[hours])


def contract_events(socket: websocket.WebSocket, count: int) -> list[Any]:
    return [json.loads(socket.recv()) for _ in range(count)]


def test_listing_and_delisting_while_running(paper: PaperExchange, client: UMFutures) -> None:
    url = f"{paper.stream_url}/market/stream?streams=!contractInfo/newusdt@markPrice@1s"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        row = paper.control(
            "POST",
            "listing",
            {"symbol": "NEWUSDT", "like": "SOLUSDT", "price": "12", "step": "0.1", "funding_interval_hours": 1},
        )
        assert (row["symbol"], row["baseAsset"], row["status"]) == ("NEWUSDT", "NEW", "TRADING")
        listed = json.loads(stream.recv())["data"]
        assert (listed["e"], listed["s"], listed["cs"]) == ("contractInfo", "NEWUSDT", "TRADING")
        assert (listed["bks"][0]["ma"], listed["bks"][0]["mi"], listed["bks"][-1]["mi"]) == (75, 51, 1)
        # It should serve streams that were asked for before there was the contract.
        assert json.loads(stream.recv())["data"]["s"] == "NEWUSDT"

        client.new_order(symbol="NEWUSDT", side="BUY", type="MARKET", quantity="2")
        stop = {"algoType": "CONDITIONAL", "symbol": "NEWUSDT", "side": "SELL", "type": "STOP_MARKET"}
        client.sign_request("POST", "/fapi/v1/algoOrder", stop | {"triggerPrice": "11", "quantity": "2"})
        client.new_order(symbol="NEWUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="2", price="11.5")
        paper.control("POST", "listing", {"symbol": "NEWUSDT", "delist": True})

    assert "NEWUSDT" not in {row["symbol"] for row in client.exchange_info()["symbols"]}
    with pytest.raises(ClientError) as caught:
        client.ticker_price("NEWUSDT")
    assert caught.value.error_code == -1121
    # It should have ended the orders and settled the position, and still tell of them.
    assert client.get_orders() == []
    assert client.sign_request("GET", "/fapi/v1/openAlgoOrders", {}) == []
    assert client.get_position_risk() == [] or all(D(p["positionAmt"]) == 0 for p in client.get_position_risk())
    last = client.get_account_trades("NEWUSDT")[-1]
    order = client.query_order("NEWUSDT", orderId=last["orderId"])
    assert order["clientOrderId"].startswith("settlement_autoclose-")
    assert (last["side"], last["qty"], last["price"]) == ("SELL", "2.00", "12.0000")


def test_what_cannot_be_listed(paper: PaperExchange, client: UMFutures) -> None:
    for body in (
        {"symbol": "BTCUSDT"},
        {"symbol": "ODDUSDT", "like": "SOLUSDT", "price": "12.00001"},
        {"symbol": "ODDUSDT", "like": "SOLUSDT", "price": "12", "funding_interval_hours": 3},
        {"symbol": "ODDUSDT", "like": "NOPEUSDT"},
        {"symbol": "NOPEUSDT", "delist": True},
    ):
        answer = requests.post(f"{paper.url}/paper/listing", json=body, timeout=5, proxies={"http": ""})
        assert answer.status_code == 400, body
    assert "ODDUSDT" not in {row["symbol"] for row in client.exchange_info()["symbols"]}


def test_brackets_that_change_bind_at_once(paper: PaperExchange, client: UMFutures) -> None:
    url = f"{paper.stream_url}/market/ws/!contractInfo"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        rows = [
            {"leverage": 10, "cap": "1000", "maint_ratio": "0.02"},
            {"leverage": 5, "cap": "5000", "maint_ratio": "0.05"},
        ]
        paper.control("POST", "symbols", {"symbol": "SOLUSDT", "brackets": rows})
        event = json.loads(stream.recv())
    assert [(row["bnf"], row["bnc"], row["cf"], row["mi"], row["ma"]) for row in event["bks"]] == [
        (0, 1000, 0.0, 6, 10),
        (1000, 5000, 30.0, 1, 5),
    ]
    [config] = client.symbol_configuration(symbol="SOLUSDT")
    assert (config["leverage"], config["maxNotionalValue"]) == (10, "1000")
    with pytest.raises(ClientError) as caught:
        client.new_order(symbol="SOLUSDT", side="BUY", type="MARKET", quantity="7")
    assert caught.value.error_code == -2027
    paper.control("POST", "symbols", {"symbol": "SOLUSDT", "max_leverage": 3})
    assert client.symbol_configuration(symbol="SOLUSDT")[0]["leverage"] == 3


@pytest.mark.parametrize(
    "terms",
    [
        {"brackets": []},
        {
            "brackets": [
                {"leverage": 5, "cap": "10", "maint_ratio": "0.1"},
                {"leverage": 9, "cap": "20", "maint_ratio": "0.2"},
            ]
        },
        {"brackets": [{"leverage": 5, "cap": "-1", "maint_ratio": "0.1"}]},
        {"brackets": ["five"]},
        {"max_leverage": 0},
        {"funding_interval_hours": 5},
    ],
)
def test_terms_that_are_no_terms(paper: PaperExchange, terms: dict[str, Any]) -> None:
    answer = requests.post(
        f"{paper.url}/paper/symbols", json={"symbol": "SOLUSDT"} | terms, timeout=5, proxies={"http": ""}
    )
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_listing_survives_a_crash(tmp_path: Path) -> None:
    options = ("--state-file", str(tmp_path / "state"))

    def names(paper: PaperExchange) -> list[str]:
        info = requests.get(f"{paper.url}/fapi/v1/exchangeInfo", timeout=5, proxies={"http": ""}).json()
        return [f"{row['symbol']} {row['contractType']} {row['status']}" for row in info["symbols"]]

    with PaperExchange(*options) as paper:
        paper.control("POST", "listing", {"symbol": "新币USDT", "like": "SOLUSDT", "price": "12"})
        paper.control("POST", "listing", {"symbol": "XMRUSDT", "delist": True})
        paper.control("POST", "clock", {"advance_ms": 100 * 86_400_000})
        before = names(paper)
        paper.kill()
    assert "新币USDT PERPETUAL TRADING" in before
    assert not any(name.startswith("XMRUSDT ") for name in before)
    with PaperExchange(*options) as paper:
        assert names(paper) == before


def test_contract_that_comes_again_begins_flat_and_can_end_again(paper: PaperExchange, client: UMFutures) -> None:
    for price in ("12", "15"):
        paper.control("POST", "listing", {"symbol": "NEWUSDT", "like": "SOLUSDT", "price": price})
        client.new_order(symbol="NEWUSDT", side="BUY", type="MARKET", quantity="2")
        [row] = client.sign_request("GET", "/fapi/v3/positionRisk", {"symbol": "NEWUSDT"})
        assert (row["positionAmt"], D(row["entryPrice"])) == ("2.00", D(price) + D("0.01"))
        paper.control("POST", "listing", {"symbol": "NEWUSDT", "delist": True})
        assert paper.summary()["positions"] == []
    # It should tell of both lives.
    assert [row["side"] for row in client.get_account_trades("NEWUSDT")] == ["BUY", "SELL"] * 2
