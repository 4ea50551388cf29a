"""Sizes that a decision asks for: by notional, by equity, by what its stop may lose, under the policy's limits."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain import policy as keys
from execution.domain.sizing import SizingMode
from execution.models import AuditEvent
from execution.queries.requests import story_of
from execution.queries.story import lines
from execution.risk.decision_snapshot import replay
from execution.risk.policy_store import set_policy_value
from execution.risk.proposal import as_json, proposal_of
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
D = Decimal
SIDES = pytest.mark.parametrize("side", ["buy", "sell"])
# 1000 away from a market entry, on its losing side.
STOPS = {"buy": "49000.1", "sell": "50999.9"}
# The paper exchange's account begins with 10,000 USDT, which its index prices at 1 USD.
#
# At risk per unit, long: from 50000.1 to 49000.1 less a thousandth, 48951.0999, are 1049.0001, and fees of 0.0005 of
# both prices, 49.4756; together 1098.4757. Short: to 51050.8999 are 1050.9999, and 50.5254: 1101.5253.
SIZES = [
    # 505 USD at 50000.1 are 0.01009.
    ({"notional_usd": "505"}, "0.010"),
    # 5 % of 10,000 are 500 USD, a little less than 0.010 at 50000.1 and a little more at 49999.9.
    ({"equity_percent": "5"}, None),
    # 11.1 / 1098.5 = 0.01010 and 11.1 / 1101.5 = 0.01007.
    ({"risk_usd": "11.1"}, "0.010"),
    # The same as a share of 10,000.
    ({"risk_percent": "0.111"}, "0.010"),
]


def asked(desk: Desk, side: str = "buy", **fields: Any) -> UUID:
    return desk.signal(side=side, stop_loss=STOPS[side], **({"quantity": None} | fields))


def policy(desk: Desk, **values: str) -> None:
    for name, value in values.items():
        set_policy_value(getattr(keys, name), D(value), source="operator", now=desk.clock())


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@SIDES
@pytest.mark.parametrize(("fields", "expected"), SIZES, ids=[next(iter(each[0])) for each in SIZES])
def test_each_way_of_asking_is_a_quantity(
    desk: Desk, side: str, fields: dict[str, str], expected: str | None, mode: str
) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
    quantity = D(expected or {"buy": "0.009", "sell": "0.010"}[side])

    request_id = asked(desk, side, **fields)

    assert desk.run(request_id) == "RECORDED", desk.request(request_id).reason
    assert desk.trade(request_id).quantity == quantity
    assert [D(row["quantity"]) for row in desk.ledger.live_stops] == [quantity]
    # It should be judged the same from the journal alone.
    kept = AuditEvent.objects.get(entity_id=str(request_id), trigger="guard_approved").details
    assert [as_json(rule) for rule in replay(proposal_of(desk.request(request_id)), kept)] == kept["rules"]
    desk.check()


@pytest.mark.parametrize("fields", [{"equity_percent": "5"}, {"risk_usd": "11.1"}, {"risk_percent": "0.111"}])
def test_an_ai_decision_asks_in_the_same_ways(desk: Desk, fields: dict[str, str]) -> None:
    request_id = desk.decide(position_size_usd=None, entry_price=None, stop_loss=49000.1, take_profit=None, **fields)

    assert desk.run(request_id) == "RECORDED", desk.request(request_id).reason
    assert desk.trade(request_id).quantity == D("0.009" if "equity_percent" in fields else "0.010")


@SIDES
def test_what_a_size_by_risk_loses_at_its_stop_is_not_more_than_was_asked(desk: Desk, side: str) -> None:
    request_id = asked(desk, side, risk_usd="11.1")
    assert desk.run(request_id) == "RECORDED"

    desk.paper.set_price("BTCUSDT", {"buy": "49000", "sell": "51000"}[side])
    desk.clock.let_pass(3)
    desk.cycle()

    trade = desk.trade(request_id)
    assert trade.close_reason == "SL"
    assert trade.net_pnl is not None
    # The stop has filled without the slippage that was assumed.
    assert D("-11.1") <= trade.net_pnl < D("-10")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"notional_usd": "10100"}, "NOTIONAL_EXCEEDS_LIMIT: expected<=10000 actual="),
        ({"equity_percent": "200"}, "NOTIONAL_EXCEEDS_LIMIT: expected<=10000 actual="),
        ({"risk_usd": "500"}, "NOTIONAL_EXCEEDS_LIMIT: expected<=10000 actual="),
        ({"risk_percent": "5"}, "NOTIONAL_EXCEEDS_LIMIT: expected<=10000 actual="),
        ({"notional_usd": "40"}, "QUANTITY_BELOW_MINIMUM: expected>=0.001 actual=0"),
        ({"risk_usd": "1"}, "QUANTITY_BELOW_MINIMUM: expected>=0.001 actual=0"),
    ],
)
def test_the_limits_hold_for_every_way(desk: Desk, fields: dict[str, str], reason: str) -> None:
    request_id = asked(desk, **fields)

    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason.startswith(reason)
    assert desk.ledger.entries_sent == []


def test_a_size_by_risk_needs_a_stop(desk: Desk, settings: Any) -> None:
    settings.POLICY_CEILINGS = {}
    policy(desk, DEFAULT_STOP="0", ALLOW_NO_STOP="1")
    request_id = desk.signal(quantity=None, risk_usd="11.1")

    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason == "STOP_REQUIRED: stop=0 risk=11.1"


def test_equity_that_cannot_be_read_leaves_the_entry_where_it_is(desk: Desk) -> None:
    desk.paper.add_fault(path="/fapi/v3/account", method="GET", action="drop_before", count=1)
    request_id = asked(desk, risk_percent="0.111")

    # It should neither refuse nor guess, and go on when the answer is there.
    assert desk.run(request_id) == "CLEARED"
    assert desk.run(request_id) == "RECORDED"


@pytest.mark.parametrize("fields", [{"notional_usd": "505"}, {"equity_percent": "5"}, {"risk_usd": "11.1"}])
def test_a_policy_that_sizes_replaces_what_was_asked(desk: Desk, fields: dict[str, str]) -> None:
    policy(desk, SIZING_MODE=str(int(SizingMode.RISK_PER_TRADE)), RISK_PER_TRADE="5.5")

    request_id = asked(desk, **fields)

    # 5.5 / 1098.5 = 0.0050.
    assert desk.run(request_id) == "RECORDED"
    assert desk.trade(request_id).quantity == D("0.005")


def test_a_base_quantity_stands_under_every_policy(desk: Desk) -> None:
    policy(desk, SIZING_MODE=str(int(SizingMode.RISK_PER_TRADE)), RISK_PER_TRADE="5.5")

    request_id = asked(desk, quantity="0.010")

    assert desk.run(request_id) == "RECORDED"
    assert desk.trade(request_id).quantity == D("0.010")


@pytest.mark.parametrize(
    ("second", "outcome"),
    [
        ({"risk_usd": "11.1"}, ("DENIED", "LOOK_ALIKE_DECISION")),
        ({"risk_usd": "11.2"}, ("DENIED", "OPEN_TRADE_EXISTS")),
        ({"risk_percent": "11.1"}, ("DENIED", "NOTIONAL_EXCEEDS_LIMIT")),
    ],
)
def test_the_look_alike_rule_compares_the_size_as_asked(
    desk: Desk, second: dict[str, str], outcome: tuple[str, str]
) -> None:
    policy(desk, LOOK_ALIKE_WINDOW="30")
    assert desk.run(asked(desk, risk_usd="11.1")) == "RECORDED"

    assert desk.outcome(asked(desk, **second)) == outcome


def test_explain_names_the_size_as_asked(desk: Desk) -> None:
    request_id = asked(desk, risk_percent="0.111")
    desk.run(request_id)

    assert "BTCUSDT LONG MARKET risk_percent=0.111 " in "\n".join(lines(story_of(request_id)))
