"""The judge of `make sequences` can be broken: each kind of fault that it looks for turns it red."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from random import Random

import pytest

from execution.models import ExecutionRequest, PositionSlot
from tests.sequences.contract import Contract
from tests.sequences.judge import leftovers, not_over, unexplained, unprotected
from tests.sequences.story import Story
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
SYMBOL = "BTCUSDT"
RANDOM = Random(0)  # noqa: S311 -- chance, not secrets


@pytest.fixture
def story(desk: Desk) -> Story:
    row = next(row for row in desk.person.exchange_info()["symbols"] if row["symbol"] == SYMBOL)
    contract = Contract.of(desk, row, {"USDT": Decimal(1)}, RANDOM)
    contract.change(step=Decimal("0.001"), tick=Decimal("0.1"), min_notional=Decimal(5))
    return Story(number=1, contract=contract, random=RANDOM, done=Counter())


def opened(story: Story, side: str) -> Desk:
    desk = story.contract.desk
    story.asked.append(desk.signal(SYMBOL, side))
    desk.run(story.asked[-1])
    return desk


def end(desk: Desk, kind: str) -> None:
    for row in desk.ledger.live(kind, SYMBOL):
        desk.paper.control("POST", "orders/end", {"order": row["clientAlgoId"]})


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_protected_position_is_in_order(story: Story, side: str) -> None:
    desk = opened(story, side)

    assert unprotected(story, desk.ledger) == ""
    assert leftovers(story, desk.ledger) == ""


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_position_without_its_stop_is_named(story: Story, side: str) -> None:
    desk = opened(story, side)
    amount = desk.ledger.positions[SYMBOL]
    end(desk, "STOP_MARKET")

    assert unprotected(story, desk.ledger) == f"position BOTH {amount}, covered 0 of {abs(amount)}; {{}}"


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_stop_that_is_too_small_is_named(story: Story, side: str) -> None:
    desk = opened(story, side)
    amount = desk.ledger.positions[SYMBOL]
    desk.paper.control("POST", "position", {"symbol": SYMBOL, "amount": str(amount * 2)})

    said = unprotected(story, desk.ledger)
    assert said.startswith(f"position BOTH {amount * 2}, covered 0.010 of {abs(amount * 2)}; ")


def place_stop(desk: Desk, side: str, **fields: str) -> None:
    """Place a stop for the whole position as our service does, but for the fields given."""
    exit_side = "SELL" if side == "buy" else "BUY"
    stop = {"algoType": "CONDITIONAL", "symbol": SYMBOL, "side": exit_side, "type": "STOP_MARKET", "quantity": "0.010"}
    stop |= {"workingType": "MARK_PRICE", "reduceOnly": "true"}
    desk.person.sign_request("POST", "/fapi/v1/algoOrder", stop | fields)


@pytest.mark.parametrize(("side", "sign"), [("buy", 1), ("sell", -1)])
@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("triggerPrice", "25000", "off the plan"),
        # Nearer than any policy asks for, on the losing side, and where nobody wanted it.
        ("triggerPrice", "2000", "off the plan"),
        ("workingType", "CONTRACT_PRICE", "trigger type CONTRACT_PRICE instead of MARK_PRICE"),
        ("reduceOnly", "false", "not reduce-only"),
    ],
)
def test_a_stop_that_is_not_the_plan_s_covers_nothing(
    story: Story, side: str, sign: int, field: str, value: str, said: str
) -> None:
    desk = opened(story, side)
    [planned] = [row["triggerPrice"] for row in desk.ledger.live_stops]
    end(desk, "STOP_MARKET")
    wrong = str(50_000 - sign * int(value)) if field == "triggerPrice" else value

    place_stop(desk, side, **({"triggerPrice": planned} | {field: wrong}))

    found = unprotected(story, desk.ledger)
    amount = desk.ledger.positions[SYMBOL]
    assert found.startswith(f"position BOTH {amount}, covered 0 of {abs(amount)}; ")
    assert said in found

    # It should count beside it what is as the plan has it.
    place_stop(desk, side, triggerPrice=planned)
    assert unprotected(story, desk.ledger) == ""


def test_less_than_a_step_needs_no_stop(story: Story) -> None:
    desk = opened(story, "buy")
    end(desk, "STOP_MARKET")
    story.contract.terms["step"] = Decimal(1)

    assert unprotected(story, desk.ledger) == ""


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_orders_beside_a_flat_position_are_named(story: Story, side: str) -> None:
    desk = opened(story, side)
    desk.paper.control("POST", "position", {"symbol": SYMBOL, "amount": "0"})

    assert leftovers(story, desk.ledger) == "2 conditional orders beside a flat position"


def flat(desk: Desk) -> None:
    """Close the position by hand and let the books follow."""
    desk.paper.control("POST", "position", {"symbol": SYMBOL, "amount": "0"})
    for _ in range(3):
        desk.clock.let_pass(3)
        desk.cycle()


def test_a_sequence_that_is_over_is_in_order(story: Story) -> None:
    desk = opened(story, "buy")
    flat(desk)

    assert not_over(story, desk.ledger) == ""
    assert unexplained(story) == ""


def stuck_position(_: Desk) -> None:
    """Nothing has ended."""


def stuck_trade(desk: Desk) -> None:
    desk.paper.control("POST", "position", {"symbol": SYMBOL, "amount": "0"})
    end(desk, "")


def stuck_request(desk: Desk) -> None:
    flat(desk)
    ExecutionRequest.objects.update(state="ACCEPTED")


def locked(desk: Desk) -> None:
    flat(desk)
    request = ExecutionRequest.objects.get()
    PositionSlot.objects.create(symbol=SYMBOL, position_side="BOTH", request=request, claimed_at=desk.clock())


@pytest.mark.parametrize(
    ("sabotage", "said"),
    [
        (stuck_position, "position BOTH "),
        (stuck_trade, "stuck in OPEN"),
        (stuck_request, "stuck in ACCEPTED"),
        (locked, "symbol locked by a claim"),
    ],
)
def test_what_is_not_over_is_named(story: Story, sabotage: Callable[[Desk], None], said: str) -> None:
    sabotage(opened(story, "buy"))

    assert said in not_over(story, story.contract.desk.ledger)


@pytest.mark.parametrize(
    ("state", "code", "reason", "ok"),
    [
        ("DENIED", "STOP_TOO_FAR", "STOP_TOO_FAR: expected<=0.1 actual=0.2", True),
        ("DENIED", "OPEN_TRADE_EXISTS", "OPEN_TRADE_EXISTS: symbol=BTCUSDT held_by=abc", True),
        ("DENIED", "STOP_TOO_FAR", "STOP_TOO_FAR", False),
        ("DENIED", "STOP_TOO_FAR", "too far", False),
        ("DENIED", "", "", False),
        ("DENIED", "NO_SUCH_RULE", "NO_SUCH_RULE: expected<=1 actual=2", False),
        ("DENIED", "STOP_TOO_FAR", "STOP_ON_WRONG_SIDE: expected<=1 actual=2", False),
        ("RECORDED", "", "", True),
    ],
)
def test_a_refusal_names_its_rule_and_numbers(story: Story, state: str, code: str, reason: str, *, ok: bool) -> None:
    opened(story, "buy")
    ExecutionRequest.objects.update(state=state, reason_code=code, reason=reason)

    assert (unexplained(story) == "") is ok
