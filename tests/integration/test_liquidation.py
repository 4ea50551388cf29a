"""Where the guard expects a forced close is where the exchange says it is."""

from decimal import Decimal

import pytest

from execution.domain.liquidation import bracket_for, liquidation_distance
from execution.domain.trading import Direction
from execution.models import AuditEvent
from execution.risk.decision_snapshot import replay
from execution.risk.proposal import as_json, proposal_of
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("side", "direction"), [("buy", Direction.LONG), ("sell", Direction.SHORT)])
def test_liquidation_is_where_the_exchange_puts_it(desk: Desk, side: str, direction: Direction) -> None:
    # Alone with its own margin, as the guard assumes
    desk.person.change_margin_type(symbol="SOLUSDT", marginType="ISOLATED")

    request_id = desk.trade_opened("SOLUSDT", side, leverage=10)

    [position] = desk.exchange.positions()
    bracket = bracket_for(desk.exchange.margin_brackets("SOLUSDT"), abs(position.notional))
    assert bracket
    notional = abs(position.quantity) * position.entry_price
    distance = liquidation_distance(
        direction, leverage=10, notional=notional, rate=bracket.rate, deduction=bracket.deduction
    )
    expected = position.entry_price * (1 - distance * direction.sign)
    assert abs(position.liquidation_price - expected) / expected < Decimal("0.0002")
    # It should keep the brackets, so that the verdict can be given again
    kept = AuditEvent.objects.get(entity_id=str(request_id), trigger="guard_approved").details
    assert kept["inputs"]["brackets"]
    assert [as_json(rule) for rule in replay(proposal_of(desk.request(request_id)), kept)] == kept["rules"]
