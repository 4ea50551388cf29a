"""The long soak's audit: money without books, books without money, and sums that are off in their last digit."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.soak.accounts import BookedFill, BookedIncome, Books, ClosedTrade, Line, OpenSpan, audit, sorted_out
from tests.soak.judge import Kind
from tests.soak.outcomes import Outcome, judged_outcomes

D = Decimal
BTC, BASIS, STRANGER, TRADE = "BTCUSDT", "ETHUSDC", "XRPUSDT", "trade-1"


def line(kind: str, amount: str, **fields: Any) -> Line:
    number = str(fields.pop("number", 1))
    rest = {"symbol": BTC, "asset": "USDT", "at_ms": 1000, "tran_id": f"{kind}-{number}", "trade_id": ""}
    return Line(kind=kind, amount=D(amount), **{**rest, **fields})


# A trade of ours with fees in BNB and funding, one in USDC, a stranger's loss, and what the owner brought.
LINES = [
    line("TRANSFER", "5", asset="BNB", symbol=""),
    line("COMMISSION", "-0.001", asset="BNB", trade_id="7"),
    line("REALIZED_PNL", "12.5", trade_id="8"),
    line("COMMISSION", "-0.25", trade_id="8", number=2),
    line("FUNDING_FEE", "-0.05"),
    line("REALIZED_PNL", "-3.00000001", symbol=BASIS, asset="USDC", trade_id="8", number=3),
    line("REALIZED_PNL", "-1", symbol=STRANGER, trade_id="9", number=4),
]
BEGAN = {"USDT": D(1000), "USDC": D(100)}
WALLET = {"BNB": D("4.999"), "USDT": D("1011.2"), "USDC": D("96.99999999")}


def fill(symbol: str, number: str, realized: str, commission: str, asset: str, margin: str) -> BookedFill:
    return BookedFill(
        symbol=symbol,
        trade_id=number,
        trade=TRADE,
        realized=D(realized),
        commission=D(commission),
        commission_asset=asset,
        margin_asset=margin,
    )


FILLS = [
    fill(BTC, "7", "0", "0.001", "BNB", "USDT"),
    fill(BTC, "8", "12.5", "0.25", "USDT", "USDT"),
    fill(BASIS, "8", "-3.00000001", "0", "USDC", "USDC"),
]
FUNDING = BookedIncome(
    kind="FUNDING_FEE", tran_id="FUNDING_FEE-1", trade=TRADE, symbol=BTC, asset="USDT", amount=D("-0.05")
)
CLOSED = ClosedTrade(id=TRADE, symbol=BTC, net=D("11.6"), realized=D("12.5"), fees=D("0.85"), income=D("-0.05"))


def books(**fields: Any) -> Books:
    rows: dict[str, Any] = {
        "fills": {(row.symbol, row.trade_id): row for row in FILLS},
        "income": {(FUNDING.kind, FUNDING.tran_id): FUNDING},
        "closed": [CLOSED],
    }
    return Books(**{**rows, **fields})


def found(lines: list[Line] = LINES, kept: Books | None = None, wallet: dict[str, Decimal] = WALLET) -> set[Kind]:
    foreign = frozenset({STRANGER})
    judged = audit(lines, kept or books(), began=BEGAN, wallet=wallet, foreign=foreign, at_ms=5)
    return {violation.kind for violation in judged}


def without(number: int) -> list[Line]:
    return [row for place, row in enumerate(LINES) if place != number]


def changed_fill(key: tuple[str, str], **change: Any) -> Books:
    fills = books().fills
    return books(fills={**fills, key: replace(fills[key], **change)})


def test_right_books_are_green() -> None:
    assert found() == set()


@pytest.mark.parametrize("asset", ["BNB", "USDT", "USDC"])
def test_wallet_off_in_its_last_digit_is_red(asset: str) -> None:
    assert found(wallet={**WALLET, asset: WALLET[asset] + D("0.00000001")}) == {Kind.WALLET_DIFFERS}


def test_asset_that_nobody_accounts_for_is_red() -> None:
    assert found(wallet={**WALLET, "BTC": D("0.1")}) == {Kind.WALLET_DIFFERS}


@pytest.mark.parametrize("key", [(BTC, "7"), (BTC, "8"), (BASIS, "8")])
def test_fill_that_no_trade_has_booked_is_red(key: tuple[str, str]) -> None:
    kept = books(fills={name: row for name, row in books().fills.items() if name != key})

    assert found(kept=kept) == {Kind.UNBOOKED_MONEY, Kind.WALLET_DIFFERS}


def test_funding_that_no_trade_has_booked_is_red() -> None:
    assert found(kept=books(income={})) == {Kind.UNBOOKED_MONEY, Kind.WALLET_DIFFERS}


def test_what_an_open_trade_books_later_is_no_gap() -> None:
    span = OpenSpan(symbol=BTC, since_ms=900)

    assert found(kept=books(income={}, open=[span])) == set()
    # It should not excuse what moved before the trade, or in another contract.
    assert Kind.UNBOOKED_MONEY in found(kept=books(income={}, open=[replace(span, since_ms=1001)]))
    assert Kind.UNBOOKED_MONEY in found(kept=books(income={}, open=[replace(span, symbol=BASIS)]))


@pytest.mark.parametrize(
    "change",
    [
        {"realized": D("12.50000001")},
        {"commission": D("0.24999999")},
        {"commission_asset": "BNB"},
        {"margin_asset": "USDC"},
    ],
    ids=str,
)
def test_fill_that_is_booked_otherwise_is_red(change: dict[str, Any]) -> None:
    assert {Kind.UNBOOKED_MONEY, Kind.WALLET_DIFFERS} <= found(kept=changed_fill((BTC, "8"), **change))


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_books_that_the_venue_does_not_show_are_red(number: int) -> None:
    assert Kind.INVENTED_MONEY in found(lines=without(number))


def test_stranger_in_our_contracts_is_not_excused() -> None:
    ours = [*LINES, line("REALIZED_PNL", "-1", trade_id="99", number=9)]

    wallet = {**WALLET, "USDT": WALLET["USDT"] - 1}
    assert found(lines=ours, wallet=wallet) == {Kind.UNBOOKED_MONEY, Kind.WALLET_DIFFERS}


def test_line_of_a_kind_that_nobody_knows_is_red() -> None:
    strange = [*LINES, line("SOMETHING_NEW", "0.1")]

    assert Kind.UNBOOKED_MONEY in found(lines=strange)


@pytest.mark.parametrize("part", ["net", "realized", "fees", "income"])
def test_net_that_is_not_the_sum_of_its_parts_is_red(part: str) -> None:
    wrong = replace(CLOSED, **{part: getattr(CLOSED, part) + D("0.00000001")})

    assert found(kept=books(closed=[wrong])) == {Kind.WRONG_NET}


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"shortfall": None, "paper": None}, set()),
        ({"shortfall": D("2.5"), "shortfall_parts": D("2.5"), "paper": D("2.5000000000001")}, set()),
        ({"shortfall": D("2.5"), "shortfall_parts": D("2.499999999999"), "paper": D("2.5")}, {Kind.WRONG_SHORTFALL}),
        ({"shortfall": D("2.5"), "shortfall_parts": D("2.5"), "paper": D("2.50000001")}, {Kind.WRONG_SHORTFALL}),
    ],
)
def test_parts_that_do_not_add_up_to_the_shortfall_are_named(fields: dict[str, Any], wrong: set[Kind]) -> None:
    assert found(kept=books(closed=[replace(CLOSED, **fields)])) == wrong


def test_statement_tells_whose_money_moved() -> None:
    told = sorted_out(LINES, books(), frozenset({STRANGER}))

    assert dict(told.owner) == {"BNB": D(5)}
    assert dict(told.others) == {"USDT": D(-1)}
    assert dict(told.ours) == {"BNB": D("-0.001"), "USDT": D("12.2"), "USDC": D("-3.00000001")}


# Outcomes


def outcome(state: str = "DENIED", code: str = "SLIPPAGE", reason: str = "SLIPPAGE: expected<=50bps") -> Outcome:
    return Outcome(id="one", symbol=BTC, state=state, reason_code=code, reason=reason)


def judged(row: Outcome | None) -> list[Kind]:
    return [found.kind for found in judged_outcomes({"one"}, [row] if row else [], at_ms=0)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (outcome(), []),
        (outcome("RECORDED", "", ""), []),
        (outcome("ACCEPTED", "", ""), []),
        (outcome("EXPIRED", "SIGNAL_TOO_OLD", "SIGNAL_TOO_OLD: nobody came"), []),
        (None, [Kind.LOST_DECISION]),
        (outcome("REJECTED", "", ""), [Kind.NO_REASON]),
        (outcome("CANCELED", "", "ended"), [Kind.NO_REASON]),
        (outcome("EXPIRED", "SIGNAL_TOO_OLD", ""), [Kind.NO_REASON]),
        (outcome("DENIED", "RULE", "RULE: for some reason"), [Kind.NO_NUMBERS]),
        (outcome("REJECTED", "CODE_2019", "CODE_2019: no margin"), [Kind.NO_NUMBERS]),
    ],
)
def test_every_end_says_why(row: Outcome | None, expected: list[Kind]) -> None:
    assert judged(row) == expected
