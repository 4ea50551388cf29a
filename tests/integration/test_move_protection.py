"""PATCH /trades/{id}/protection: an operator's moves at the exchange, in the journal, and what is refused."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.test import Client

from execution import wiring
from execution.domain.authorization import Authorization
from execution.domain.money import ceil_to, floor_to, plain
from execution.domain.protection_moves import ProtectionMove
from execution.domain.trading import PositionSide
from execution.models import AuditEvent, BracketLeg, PolicyValue
from execution.protection.amend_bracket import move_protection
from execution.risk.limit_usage import usage_for
from execution.risk.policy_store import policy_in_force, set_policy_value
from tests.integration.test_bracket_targets import opened, resting
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db
D = Decimal
TARGETS = ("51000", "52000")
WHY = {"reason": "news ahead", "by": "alice"}
Patch = Callable[..., tuple[int, dict[str, Any]]]
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
# Best bid and ask lie alike beside it: what a long has below, a short has as far above.
MIDDLE = D(50_000)


def beside(side: str, price: str) -> str:
    """Return a long's price, or for a short the one that means the same to it."""
    return price if side == "buy" else plain(2 * MIDDLE - D(price))


def held(desk: Desk, side: str, **fields: Any) -> UUID:
    """Open 0.010 BTC with the stop a thousand USD away."""
    return opened(desk, side=side, **({"stop_loss": beside(side, "49000")} | fields))


def targets(side: str, *prices: str) -> list[dict[str, str]]:
    return [{"price": beside(side, price), "share": plain(D(1) / len(prices))} for price in prices]


@pytest.fixture
def workers(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Stands where the order workers are, and carries out at once what it is handed; returns what that was."""
    handed: list[UUID] = []

    def cover(trade_id: UUID) -> None:
        handed.append(trade_id)
        desk.step("protect_position", trade_id)

    monkeypatch.setattr("execution.workflow.cover", cover)
    return handed


@pytest.fixture
def patch(desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> Patch:
    monkeypatch.setattr(wiring, "exchange", lambda: desk.exchange)
    settings.ENV = settings.ENV.model_copy(update={"order_answer_seconds": 0.2})

    def send(trade_id: object, **body: Any) -> tuple[int, dict[str, Any]]:
        url = f"/api/execution/trades/{trade_id}/protection"
        answer = client.patch(url, json.dumps(body), content_type="application/json")
        return answer.status_code, answer.json()

    return send


def moves(trade_id: UUID) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(entity_id=str(trade_id), to_state="LEG_MOVED").order_by("id"))


def stop_calls(desk: Desk) -> list[tuple[str, str | None]]:
    """Return the placements and cancellations of stops, in their order."""
    return [
        (row["method"], row["params"].get("triggerPrice"))
        for row in desk.ledger.requests
        if row["path"] == ALGO_ORDER
        and row["method"] in {"POST", "DELETE"}
        and row["params"]["clientAlgoId"].startswith("es1-s")
    ]


@pytest.mark.usefixtures("workers")
@SIDES
@pytest.mark.parametrize("of_long", ["48000", "49500.5"])
def test_a_stop_moves_either_way_and_the_new_one_stands_first(
    desk: Desk, patch: Patch, side: str, of_long: str
) -> None:
    trade_id, before, price = held(desk, side), beside(side, "49000"), beside(side, of_long)

    code, answer = patch(trade_id, stop_loss=price, **WHY)

    assert (code, answer["settled"]) == (200, True)
    [stop] = [leg for leg in answer["legs"] if leg["purpose"] == "stop"]
    assert (stop["price"], stop["origin"], len(stop["orders"])) == (price, "OPERATOR", 1)
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D(price), D("0.010"))]
    # It should have placed the new stop before it cancelled the old one.
    assert stop_calls(desk) == [("POST", before), ("POST", price), ("DELETE", None)]
    # It should tell who, when, before, after and why.
    [line] = moves(trade_id)
    assert line.details == {"purpose": "STOP", "number": 1, "from": before, "to": price, "operator": "alice"}
    assert (line.reason, line.trigger) == ("news ahead", "leg_moved_operator")
    desk.check()


@SIDES
def test_the_same_again_changes_nothing(desk: Desk, patch: Patch, workers: list[UUID], side: str) -> None:
    trade_id, price = held(desk, side), beside(side, "48000")
    first = patch(trade_id, stop_loss=price, **WHY)
    assert first[0] == 200

    assert patch(trade_id, stop_loss=int(price), **WHY) == first
    assert (len(moves(trade_id)), workers) == (1, [trade_id])


@SIDES
@pytest.mark.usefixtures("workers")
def test_targets_and_trailing_stop_move_together(desk: Desk, patch: Patch, side: str) -> None:
    trade_id = held(desk, side, take_profits=targets(side, *TARGETS), trailing={"callback_percent": "1"})
    near, far, farther = (beside(side, price) for price in (*TARGETS, "53000"))

    code, answer = patch(
        trade_id, take_profits=[{"number": 2, "price": farther}], trailing={"callback_percent": 2.5}, **WHY
    )

    assert (code, answer["settled"]) == (200, True)
    assert [price for _, price, _ in resting(desk, "TAKE_PROFIT_MARKET")] == sorted([D(near), D(farther)])
    [trailing] = desk.request(trade_id).orders.filter(purpose="TRAILING", state="ACCEPTED")
    assert trailing.callback_percent == D("2.5")
    assert [(line.details["purpose"], line.details["from"], line.details["to"]) for line in moves(trade_id)] == [
        ("TARGET", far, farther),
        ("TRAILING", "1", "2.5"),
    ]
    desk.check()


@SIDES
def test_a_stop_that_was_loosened_stays_so(desk: Desk, patch: Patch, workers: list[UUID], side: str) -> None:
    trade_id, price = held(desk, side), beside(side, "48000")
    patch(trade_id, stop_loss=price, **WHY)

    for _ in range(2):
        desk.clock.let_pass(3)
        desk.cycle()

    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D(price), D("0.010"))]
    assert workers == [trade_id]


@SIDES
def test_what_no_worker_takes_up_is_accepted_and_carried_out_by_the_monitor(
    desk: Desk, patch: Patch, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    monkeypatch.setattr("execution.workflow.cover", lambda _: None)
    trade_id, before, price = held(desk, side), beside(side, "49000"), beside(side, "48000")

    code, answer = patch(trade_id, stop_loss=price, **WHY)

    assert (code, answer["settled"]) == (202, False)
    # It should still be covered by the old stop.
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D(before), D("0.010"))]
    desk.cycle()
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", D(price), D("0.010"))]


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"stop_loss": "49900"}, {"stop_loss": ["STOP_ON_WRONG_SIDE: stop=49900 mark=50000"]}),
        ({"stop_loss": "51000.05"}, {"stop_loss": ["INVALID_FIELD: price=51000.05 is no multiple of tick=0.1"]}),
        (
            {"take_profits": [{"price": "50100"}]},
            {"take_profits.1": ["TARGET_ON_WRONG_SIDE: target=50100 mark=50000"]},
        ),
        (
            {"stop_loss": "52000", "take_profits": [{"number": 9, "price": "47500"}]},
            {"take_profits.9": ["INVALID_FIELD: the plan has 1 targets"]},
        ),
    ],
)
def test_a_short_s_bad_input_names_field_and_rule_and_moves_nothing(
    desk: Desk, patch: Patch, workers: list[UUID], body: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    trade_id = held(desk, "sell")
    before = resting(desk)
    assert len(before) == 2

    code, answer = patch(trade_id, **(WHY | body))

    assert (code, answer.get("errors")) == (400, errors)
    assert (resting(desk), moves(trade_id), workers) == (before, [], [])


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({"stop_loss": "50100"}, {"stop_loss": ["STOP_ON_WRONG_SIDE: stop=50100 mark=50000"]}),
        ({"stop_loss": "48999.95"}, {"stop_loss": ["INVALID_FIELD: price=48999.95 is no multiple of tick=0.1"]}),
        (
            {"take_profits": [{"price": "49900"}]},
            {"take_profits.1": ["TARGET_ON_WRONG_SIDE: target=49900 mark=50000"]},
        ),
        (
            {"trailing": {"callback_percent": "1"}},
            {"trailing.callback_percent": ["INVALID_FIELD: the plan has no trailing stop to move"]},
        ),
        ({"stop_los": "48000"}, {"stop_los": ["is not known; did you mean stop_loss?"]}),
        ({}, {"request": ["one of stop_loss, take_profits, trailing is required"]}),
        ({"stop_loss": "-1"}, {"stop_loss": ["Ensure this value is greater than or equal to 1E-12."]}),
        ({"stop_loss": True}, {"stop_loss": ["A valid number is required."]}),
        ({"stop_loss": "48000", "reason": ""}, {"reason": ["This field may not be blank."]}),
        (
            {"take_profits": [{"price": "51500"}, {"number": 1, "price": "52500"}]},
            {"take_profits": ["each number may stand there once"]},
        ),
        # One wrong field moves no other.
        (
            {"stop_loss": "48000", "take_profits": [{"number": 9, "price": "52500"}]},
            {"take_profits.9": ["INVALID_FIELD: the plan has 1 targets"]},
        ),
    ],
)
def test_bad_input_names_field_and_rule_and_moves_nothing(
    desk: Desk, patch: Patch, workers: list[UUID], body: dict[str, Any], errors: dict[str, list[str]]
) -> None:
    trade_id = opened(desk)
    before = resting(desk)
    assert len(before) == 2

    code, answer = patch(trade_id, **(WHY | body))

    assert (code, answer.get("errors")) == (400, errors)
    assert (resting(desk), moves(trade_id), workers) == (before, [], [])


@pytest.mark.parametrize(("side", "to_tick"), [("buy", floor_to), ("sell", ceil_to)])
def test_a_stop_beyond_the_liquidation_price_is_refused(
    desk: Desk, patch: Patch, side: str, to_tick: Callable[[Decimal, Decimal], Decimal]
) -> None:
    PolicyValue.objects.create(
        key="risk.max_order_notional_usd", value=D(100_000), source="test", version=1, changed_at=desk.clock()
    )
    trade_id = held(desk, side, leverage=20, quantity="0.4")
    [liquidation] = [row.liquidation_price for row in desk.exchange.positions() if row.symbol == "BTCUSDT"]
    assert liquidation > 0
    beyond = to_tick(liquidation, D("0.1"))

    code, answer = patch(trade_id, stop_loss=plain(beyond), **WHY)

    # So far away it breaks the rule of distance too.
    rule, _ = answer["errors"]["stop_loss"]
    assert (code, rule) == (400, f"STOP_BEYOND_LIQUIDATION: stop={plain(beyond)} liquidation={plain(liquidation)}")
    assert moves(trade_id) == []


OVERRIDE = {"scope": ["stop_distance", "open_risk"], "reason": "earnings"}


@pytest.mark.parametrize(("side", "stop", "away"), [("buy", 49000.0, -1), ("sell", 51000.0, 1)])
def test_a_loosening_move_is_held_against_an_entry_s_limits(
    desk: Desk, patch: Patch, workers: list[UUID], side: str, stop: float, away: int
) -> None:
    trade_id = opened(desk, side=side, stop_loss=stop)
    other = desk.trade_opened("ETHUSDT", side)
    set_policy_value("risk.max_open_risk_usd", D(30), source="operator", now=desk.clock())
    trade = desk.trade(trade_id)

    def at(distance: str) -> str:
        return plain(floor_to(trade.entry_price * (1 + away * D(distance)), D("0.1")))

    # 0.010 may lose 25 USD at 5 percent beside the other's 12.50, and 60 at 12 percent.
    for distance, code in (("0.05", "OPEN_RISK_EXCEEDS_LIMIT"), ("0.12", "STOP_TOO_FAR")):
        status, answer = patch(trade_id, stop_loss=at(distance), **WHY)
        assert (status, code in str(answer["errors"]["stop_loss"])) == (400, True)
    assert (moves(trade_id), workers) == ([], [])

    # It should pass what the override names, and say so in the journal with the rules that were set aside.
    status, _ = patch(trade_id, stop_loss=at("0.12"), override=OVERRIDE, **WHY)
    assert status == 200
    [line] = AuditEvent.objects.filter(entity_id=str(trade_id), to_state="LIMITS_OVERRIDDEN")
    assert (line.reason, line.details["by"]) == ("earnings", "alice")
    assert line.details["scope"] == ["open_risk", "stop_distance"]
    assert [rule.split(":")[0] for rule in line.details["overridden"]] == ["STOP_TOO_FAR", "OPEN_RISK_EXCEEDS_LIMIT"]
    # It should count what it may lose now against the next entry, and let the stop come back at any time.
    usage = usage_for(desk.request(other), PositionSide.BOTH, policy_in_force(), now=desk.clock(), later_too=True)
    assert usage.open_risk == D("0.010") * abs(trade.entry_price - D(at("0.12")))
    status, _ = patch(trade_id, stop_loss=at("0.11"), **WHY)
    assert status == 200
    desk.check()


@SIDES
@pytest.mark.usefixtures("workers")
def test_no_override_passes_the_hard_ceilings(desk: Desk, patch: Patch, settings: LazySettings, side: str) -> None:
    trade_id = held(desk, side)
    everything = {"scope": ["stop_distance", "open_risk", "daily_loss"], "reason": "earnings"}

    status, answer = patch(trade_id, stop_loss=beside(side, "0.1"), override=everything, **WHY)
    assert (status, "expected<=0.25" in str(answer["errors"])) == (400, True)
    settings.POLICY_CEILINGS = {**settings.POLICY_CEILINGS, "risk.max_daily_loss_usd": D(11)}
    status, answer = patch(trade_id, stop_loss=beside(side, "48000"), override=everything, **WHY)
    assert (status, "DAILY_LOSS_EXCEEDS_LIMIT: expected<=11" in str(answer["errors"])) == (400, True)
    assert moves(trade_id) == []


@pytest.mark.parametrize(
    "override",
    [
        {"scope": ["stop_distance"]},
        {"scope": [], "reason": "x"},
        {"scope": ["all"], "reason": "x"},
        {"scope": "stop_distance", "reason": "x"},
        {"scope": ["stop_distance"], "reason": ""},
        True,
    ],
)
def test_an_override_names_its_rules_and_its_reason(desk: Desk, patch: Patch, override: object) -> None:
    trade_id = opened(desk)

    status, answer = patch(trade_id, stop_loss="40000", override=override, **WHY)

    assert status == 400
    assert any(name.startswith("override") for name in answer["errors"])
    assert moves(trade_id) == []


@SIDES
@pytest.mark.usefixtures("workers")
def test_only_open_trades_can_be_moved(desk: Desk, patch: Patch, side: str) -> None:
    trade_id, price = held(desk, side), beside(side, "48000")
    desk.paper.set_price("BTCUSDT", beside(side, "48900"))
    # The exchange has closed it, and our books do not know yet.
    code, answer = patch(trade_id, stop_loss=price, **WHY)
    assert (code, answer["reason_code"]) == (409, "TRADE_NOT_OPEN")

    desk.clock.let_pass(3)
    desk.cycle()

    code, answer = patch(trade_id, stop_loss=price, **WHY)
    assert (code, answer["detail"]) == (409, "TRADE_NOT_OPEN: state=CLOSED reason=SL")
    for unknown in (uuid4(), "x"):
        assert patch(unknown, stop_loss=price, **WHY)[0] == 404


@SIDES
def test_without_the_exchange_nothing_is_moved(desk: Desk, patch: Patch, side: str) -> None:
    trade_id, price = held(desk, side), beside(side, "48000")
    desk.paper.add_fault(path="/fapi/v3/positionRisk", method="GET", count=None, action="reply", status=500, body={})
    desk.paper.add_fault(path="/fapi/v2/positionRisk", method="GET", count=None, action="reply", status=500, body={})

    code, answer = patch(trade_id, stop_loss=price, **WHY)

    assert (code, answer["detail"]) == (503, "The exchange does not answer: nothing was changed.")
    assert moves(trade_id) == []
    # It should be moved by the same words once the exchange answers.
    desk.paper.clear_faults()
    assert patch(trade_id, stop_loss=price, **WHY)[0] == 202
    assert len(moves(trade_id)) == 1


@pytest.mark.parametrize(("side", "direction"), [("buy", "LONG"), ("sell", "SHORT")])
def test_the_plan_is_shown(desk: Desk, client: Client, side: str, direction: str) -> None:
    trade_id = held(desk, side, take_profits=targets(side, *TARGETS))
    prices = [beside(side, price) for price in ("49000", *TARGETS)]

    answer = client.get(f"/api/execution/trades/{trade_id}/protection").json()

    assert (answer["trade_id"], answer["side"], answer["settled"]) == (str(trade_id), direction, True)
    assert [(leg["purpose"], leg["number"], leg["price"], leg["share"]) for leg in answer["legs"]] == [
        ("stop", 1, prices[0], "1"),
        ("target", 1, prices[1], "0.5"),
        ("target", 2, prices[2], "0.5"),
    ]
    assert [order["trigger_price"] for leg in answer["legs"] for order in leg["orders"]] == prices


@SIDES
@pytest.mark.django_db(transaction=True)
def test_two_operators_at_once_leave_one_stop_where_the_last_of_them_wanted_it(desk: Desk, side: str) -> None:
    trade_id = held(desk, side)

    def ask(price: str) -> int:
        move = ProtectionMove(stop_price=D(price))
        word = Authorization(by=price, reason="at once")
        return move_protection(trade_id, move, word, exchange=desk.another().exchange, now=desk.clock())

    assert at_once([lambda: ask(beside(side, "48000")), lambda: ask(beside(side, "48500"))]) == [1, 1]
    desk.cycle()

    first, last = moves(trade_id)
    # It should be one after the other: the second has found what the first has left.
    assert (first.details["from"], last.details["from"]) == (beside(side, "49000"), first.details["to"])
    [stop] = BracketLeg.objects.filter(bracket_id=trade_id, purpose="STOP")
    assert resting(desk, "STOP_MARKET") == [("STOP_MARKET", stop.price, D("0.010"))]
    assert stop.price == D(last.details["to"])
