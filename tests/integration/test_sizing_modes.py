"""Sizes that the policy decides, at the exchange: by the account's equity, and by what the stop then really loses."""

from decimal import Decimal

import pytest

from execution.domain import policy as keys
from execution.domain.reasons import Reason
from execution.domain.sizing import SizingMode
from execution.domain.states import RequestState
from execution.models import AuditEvent
from execution.risk.decision_snapshot import replay
from execution.risk.policy_store import set_policy_value
from execution.risk.proposal import as_json, proposal_of
from tests.support.desk import BTC_ASK, Desk

pytestmark = pytest.mark.django_db
# What the paper exchange's accounts begin with.
WALLET = Decimal(10_000)


def in_mode(desk: Desk, mode: SizingMode, **values: str) -> None:
    named = {getattr(keys, name): Decimal(value) for name, value in values.items()}
    for key, value in ({keys.SIZING_MODE: Decimal(mode)} | named).items():
        set_policy_value(key, value, source="test", now=desk.clock())


def test_an_entry_by_equity_is_a_fraction_of_what_the_account_is_worth(desk: Desk) -> None:
    in_mode(desk, SizingMode.EQUITY_FRACTION, EQUITY_FRACTION="0.05")

    request_id = desk.trade_opened(position_size_usd=100.0)

    # 5 % of 10,000 USD are 500 USD: at 50000.1 less than 0.010 BTC
    assert desk.trade(request_id).quantity == Decimal("0.009")
    kept = AuditEvent.objects.get(entity_id=str(request_id), trigger="guard_approved").details
    assert Decimal(kept["inputs"]["equity"]) == WALLET
    [size] = [rule for rule in kept["rules"] if rule["rule"] == "size"]
    assert [Decimal(size["before"]), Decimal(size["after"])] == [100, Decimal("0.009") * BTC_ASK]
    # It should be judged the same from the journal alone
    assert [as_json(rule) for rule in replay(proposal_of(desk.request(request_id)), kept)] == kept["rules"]


def test_equity_that_nobody_can_read_leaves_the_entry_where_it_is(desk: Desk) -> None:
    in_mode(desk, SizingMode.EQUITY_FRACTION)
    desk.paper.add_fault(path="/fapi/v3/account", method="GET", action="drop_before", count=1)

    request_id = desk.decide()

    # It should neither refuse nor guess, and go on when the answer is there
    assert desk.run(request_id) is RequestState.CLEARED
    assert desk.run(request_id) is RequestState.RECORDED


def test_equity_is_read_only_when_it_decides_the_size(desk: Desk) -> None:
    desk.trade_opened()

    assert "/fapi/v3/account" not in {row["path"] for row in desk.paper.ledger()["requests"]}


@pytest.mark.parametrize(("side", "stop", "through"), [("buy", 49_000.0, "48999"), ("sell", 51_000.0, "51001")])
def test_a_trade_sized_by_risk_loses_no_more_than_that_at_its_stop(
    desk: Desk, side: str, stop: float, through: str
) -> None:
    in_mode(desk, SizingMode.RISK_PER_TRADE, RISK_PER_TRADE="25")

    request_id = desk.trade_opened(side=side, stop_loss=stop, position_size_usd=100.0)
    desk.paper.set_price("BTCUSDT", through)
    desk.cycle()

    trade = desk.trade(request_id)
    assert trade.close_reason == "SL"
    # It should have lost nearly what was allowed, fees and the fill beyond the stop included, and no more
    assert -25 <= trade.net_pnl < -22


def test_a_risk_too_small_for_one_step_is_refused(desk: Desk) -> None:
    in_mode(desk, SizingMode.RISK_PER_TRADE, RISK_PER_TRADE="0.5")

    assert desk.run(request_id := desk.decide(stop_loss=49_000.0)) is RequestState.DENIED
    assert desk.request(request_id).reason_code == Reason.QUANTITY_BELOW_MINIMUM
    assert desk.paper.ledger()["orders"] == []
