"""The contracts of the long soak: as various as the listing, on walks that a seed brings again, on their grid."""

from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from tests.soak.board import CLOSED, DAY_SECONDS, Board, Contract, chosen, shape_of

D = Decimal


def row(symbol: str, **fields: Any) -> dict[str, Any]:
    terms = {"tick": "0.10", "step": "0.001", "market_step": "0.01", "notional": "50", "most": "120"} | fields
    return {
        "symbol": symbol,
        "status": fields.get("status", "TRADING"),
        "contractType": fields.get("kind", "PERPETUAL"),
        "quoteAsset": fields.get("quote", "USDT"),
        "marginAsset": fields.get("quote", "USDT"),
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": terms["tick"]},
            {"filterType": "LOT_SIZE", "stepSize": terms["step"]},
            {"filterType": "MARKET_LOT_SIZE", "stepSize": terms["market_step"], "maxQty": terms["most"]},
            {"filterType": "MIN_NOTIONAL", "notional": terms["notional"]},
        ],
    }


LISTING = {
    found["symbol"]: found
    for found in [
        *(row(f"AA{number}USDT") for number in range(30)),
        row("BTCUSDT", notional="100"),
        row("BTCUSDC", quote="USDC"),
        row("ETHBTC", quote="BTC"),
        row("BTCUSDT_261225", kind="CURRENT_QUARTER"),
        row("1000PEPEUSDT", notional="5"),
        row("币安人生USDT", notional="5"),
        row("GONEUSDT", status="SETTLING", quote="FDUSD"),
    ]
}


def board(seed: int = 1, **terms: Any) -> Board:
    prices = {"BTCUSDT": D(50_000)}
    contracts = [
        Contract(row=row(name, quote=name[3:], **terms), price=prices.get(name, D(3)))
        for name in ("BTCUSDT", "ETHBTC", "AAAUSDT", "BBBUSDC", "CCCUSDT")
    ]
    return Board(random=Random(seed), contracts=contracts)  # noqa: S311 -- chance, not secrets


def test_every_shape_of_the_listing_is_chosen_and_nothing_that_does_not_trade() -> None:
    names = chosen(LISTING, 12, Random(3))  # noqa: S311 -- as above

    assert len(names) == len(set(names)) == 12
    assert {shape_of(LISTING[name]) for name in names} == {
        shape_of(found) for found in LISTING.values() if found["status"] == "TRADING"
    }
    assert Counter(LISTING[name]["quoteAsset"] for name in names) == {"USDT": 10, "USDC": 1, "BTC": 1}


def test_more_than_the_listing_has_is_all_of_it() -> None:
    assert len(chosen(LISTING, 1000, Random(3))) == len(LISTING) - 1  # noqa: S311 -- as above


def walked(seed: int) -> list[Decimal]:
    found = board(seed)
    for step in range(1, 400):
        found.moves(3, step * 1200.0)
    return [contract.price for contract in found.contracts]


def test_a_seed_brings_its_prices_again() -> None:
    assert walked(1) == walked(1) != walked(2)


@pytest.mark.parametrize("tick", ["0.1", "0.25", "1"])
def test_walks_stay_on_the_grid_and_within_their_bounds(tick: str) -> None:
    found = board(tick=tick)

    for step in range(1, 2000):
        for contract in found.moves(5, step * DAY_SECONDS):
            assert contract.price % D(tick) == 0
            assert contract.price >= D(tick)
            assert float(contract.price) <= contract.centre * 2.5 + float(tick)


def test_quantities_are_whole_steps_of_both_lot_filters() -> None:
    contract = board().contracts[0]

    assert (contract.lots(D("0.1239")), contract.lots(D("0.0001"))) == (D("0.12"), D("0.01"))


def test_units_of_the_quote_asset_are_worth_their_dollars() -> None:
    found = board()

    assert [found.usd(contract) for contract in found.contracts] == [1, 50_000, 1, 1, 1]


@pytest.mark.parametrize(("status", "trades", "halted"), [("TRADING", True, False), ("PRE_SETTLE", False, False)])
def test_contract_that_takes_reducing_orders_is_not_excused(status: str, trades: bool, halted: bool) -> None:  # noqa: FBT001
    contract = Contract(row=row("AAAUSDT", status=status), price=D(1))

    assert (contract.trades, contract.halted) == (trades, halted)
    assert status not in CLOSED
