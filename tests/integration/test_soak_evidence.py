"""The long soak's judge on a real desk: what it reads is what is there, and each sabotage of it turns red."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from uuid import UUID

import pytest

from execution.models import Fill, Income, Order, PositionSlot, Trade
from tests.soak.accounts import audit
from tests.soak.evidence import Evidence
from tests.soak.judge import Kind, findings
from tests.soak.outcomes import judged_outcomes
from tests.support.desk import Desk

D = Decimal
MARGINS = {"BTCUSDT": "USDT", "ETHUSDT": "USDT", "XRPUSDT": "USDT"}
FOREIGN = frozenset({"XRPUSDT"})


@pytest.fixture(params=["one-way", "hedge"])
def hedge(request: pytest.FixtureRequest, desk: Desk) -> bool:
    """Both modes: a position side must not be lost on the way."""
    if request.param == "hedge":
        desk.paper.control("POST", "settings", {"dual_side": True})
    return bool(request.param == "hedge")


@pytest.fixture
def evidence(desk: Desk, hedge: bool) -> Evidence:  # noqa: FBT001 -- a fixture
    found = Evidence(desk=desk, hedge=hedge, foreign=FOREIGN)
    found.begin()
    return found


@pytest.fixture(params=["buy", "sell"])
def request_id(request: pytest.FixtureRequest, desk: Desk, evidence: Evidence) -> UUID:  # noqa: ARG001 -- it begins first
    """One trade with stop and target, and one entry of the other symbol that rests."""
    long = request.param == "buy"
    far = {"stop_loss": "49000", "take_profit": "51000"} if long else {"stop_loss": "51000", "take_profit": "49000"}
    resting = desk.signal("ETHUSDT", request.param, quantity="0.1", price="2400" if long else "2600")
    assert desk.run(resting) == "ACCEPTED"
    return desk.trade_opened(side=request.param, position_size_usd=500.0, **far)


def seen(evidence: Evidence) -> set[Kind]:
    sample = evidence.sample(at_ms=0, cycle=0, halted=frozenset())
    return {finding.kind for finding in findings(sample)}


def close_by_hand(desk: Desk, evidence: Evidence, symbol: str = "BTCUSDT") -> None:
    for held in evidence.held():
        if held.symbol == symbol:
            desk.paper.control("POST", "position", {"symbol": symbol, "amount": "0", "position_side": held.side})


def test_open_trade_and_resting_entry_are_right(evidence: Evidence, request_id: UUID) -> None:
    assert seen(evidence) == set()
    # It should have looked at all of it.
    sample = evidence.sample(at_ms=0, cycle=0, halted=frozenset())
    assert (len(sample.held), len(sample.trades), len(sample.claims), len(sample.undecided)) == (1, 1, 2, 1)
    assert sorted(row.kind for row in sample.resting) == ["LIMIT", "STOP_MARKET", "TAKE_PROFIT_MARKET"]
    assert {row.id for row in sample.trades} == {str(request_id)}


def test_stop_that_is_gone_at_the_venue(desk: Desk, evidence: Evidence, request_id: UUID) -> None:
    desk.paper.control("POST", "orders/end", {"order": desk.order(request_id, "STOP").client_order_id})

    assert seen(evidence) == {Kind.UNPROTECTED, Kind.GHOST_ORDER}


def test_position_that_is_gone_at_the_venue(desk: Desk, evidence: Evidence, request_id: UUID) -> None:  # noqa: ARG001
    close_by_hand(desk, evidence)

    assert seen(evidence) >= {Kind.STUCK_TRADE}


def test_trade_of_another_size(evidence: Evidence, request_id: UUID) -> None:
    trade = Trade.objects.get(pk=request_id)
    Trade.objects.filter(pk=request_id).update(quantity=trade.quantity + D("0.001"))

    assert seen(evidence) == {Kind.BOOKS_DIFFER}


def test_stop_that_our_rows_call_ended(desk: Desk, evidence: Evidence, request_id: UUID) -> None:
    Order.objects.filter(pk=desk.order(request_id, "STOP").pk).update(state="CANCELED")

    assert seen(evidence) == {Kind.ORDER_WITHOUT_INTENT}


def test_claim_that_outlives_its_request(desk: Desk, evidence: Evidence) -> None:
    refused = desk.signal("BTCUSDT", quantity="1000000")
    assert desk.outcome(refused) == ("DENIED", "QUANTITY_ABOVE_MAXIMUM")
    row = desk.request(refused)
    PositionSlot.objects.create(symbol="BTCUSDT", position_side="BOTH", request=row, claimed_at=desk.clock())

    assert seen(evidence) == {Kind.LOCKED_SYMBOL}


@pytest.mark.parametrize("until", ["check_ess", "guard_safety"])
def test_decision_that_stands_still(desk: Desk, evidence: Evidence, until: str) -> None:
    desk.run(desk.decide(), until=until)

    assert seen(evidence) == {Kind.NO_OUTCOME}


def test_position_of_nobody(desk: Desk, evidence: Evidence, hedge: bool) -> None:  # noqa: FBT001 -- a fixture
    side = "LONG" if hedge else "BOTH"
    for symbol, amount in (("BTCUSDT", "0.01"), ("XRPUSDT", "100")):
        desk.paper.control("POST", "position", {"symbol": symbol, "amount": amount, "position_side": side})

    # It should leave a stranger's contract alone.
    sample = evidence.sample(at_ms=0, cycle=0, halted=frozenset())
    assert {(row.kind, row.symbol) for row in findings(sample)} == {
        (Kind.UNPROTECTED, "BTCUSDT"),
        (Kind.NO_TRADE, "BTCUSDT"),
    }


# Money


@pytest.fixture
def closed(desk: Desk, evidence: Evidence) -> UUID:
    """A trade that was open over a funding time and has ended, beside a stranger's, with some fees in BNB."""
    desk.paper.control("POST", "transfer", {"asset": "BNB", "amount": "1"})
    side = "LONG" if evidence.hedge else "BOTH"
    desk.paper.control("POST", "position", {"symbol": "XRPUSDT", "amount": "100", "position_side": side})
    request_id = desk.trade_opened()
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0002"})
    desk.paper.control("POST", "funding", {"symbol": "XRPUSDT", "rate": "0.0002"})
    desk.person.sign_request("POST", "/fapi/v1/feeBurn", {"feeBurn": "true"})
    close_by_hand(desk, evidence)
    desk.clock.let_pass(10)
    desk.cycle()
    assert desk.trade(request_id).state == "CLOSED"
    return request_id


def audited(evidence: Evidence) -> set[Kind]:
    evidence.read_lines()
    lines = list(evidence.lines.values())
    broken = audit(
        lines,
        evidence.books(MARGINS),
        began=evidence.began,
        wallet=evidence.wallet(),
        foreign=FOREIGN,
        at_ms=0,
    )
    return {violation.kind for violation in broken}


def test_books_are_the_wallet(evidence: Evidence, closed: UUID) -> None:  # noqa: ARG001
    assert audited(evidence) == set()
    # It should have seen every sort of line.
    kinds = {(line.kind, line.asset) for line in evidence.lines.values()}
    assert kinds >= {("TRANSFER", "BNB"), ("COMMISSION", "BNB"), ("COMMISSION", "USDT"), ("FUNDING_FEE", "USDT")}


@pytest.mark.parametrize(
    ("sabotage", "expected"),
    [
        (lambda pk: Fill.objects.filter(trade_id=pk, entry=True).delete(), Kind.UNBOOKED_MONEY),
        (lambda pk: Income.objects.filter(trade_id=pk).delete(), Kind.UNBOOKED_MONEY),
        (lambda pk: Fill.objects.filter(trade_id=pk).update(realized_pnl=D("0.00000001")), Kind.INVENTED_MONEY),
        (lambda pk: Fill.objects.filter(trade_id=pk).update(commission_asset="USDT"), Kind.WALLET_DIFFERS),
        (lambda pk: Income.objects.filter(trade_id=pk).update(transaction_id="1"), Kind.INVENTED_MONEY),
        (lambda pk: Trade.objects.filter(pk=pk).update(net_pnl=D("0.1")), Kind.WRONG_NET),
    ],
    ids=["fill lost", "funding lost", "pnl invented", "fee in another asset", "line invented", "net invented"],
)
def test_sabotaged_books_are_red(
    evidence: Evidence, closed: UUID, sabotage: Callable[[UUID], object], expected: Kind
) -> None:
    sabotage(closed)

    assert expected in audited(evidence)


def test_wallet_that_somebody_has_touched_is_red(evidence: Evidence, closed: UUID) -> None:  # noqa: ARG001
    evidence.began = {**evidence.began, "USDT": evidence.began["USDT"] + D("0.00000001")}

    assert audited(evidence) == {Kind.WALLET_DIFFERS}


def test_decision_that_our_rows_have_lost(desk: Desk, evidence: Evidence) -> None:
    kept, lost = desk.signal("BTCUSDT", quantity="1000000"), "a-decision-that-nobody-has"
    desk.run(kept)

    found = judged_outcomes({str(kept), lost}, evidence.outcomes(), at_ms=0)

    assert [(row.kind, row.subject) for row in found] == [(Kind.LOST_DECISION, lost)]


def test_refusal_without_its_numbers(desk: Desk, evidence: Evidence) -> None:
    desk.run(desk.signal("BTCUSDT", quantity="1000000"))
    [row] = evidence.outcomes()

    assert judged_outcomes({row.id}, [row], at_ms=0) == []
    [found] = judged_outcomes({row.id}, [replace(row, reason=f"{row.reason_code}: too much")], at_ms=0)
    assert found.kind is Kind.NO_NUMBERS
