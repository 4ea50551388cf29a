"""The journal keeps enough to run the guard's rules again: same inputs, same verdicts, to the last digit."""

from decimal import Decimal
from typing import Any

import pytest

from execution.domain.trading import SymbolLists
from execution.models import AuditEvent, PolicyValue
from execution.risk.decision_snapshot import replay
from execution.risk.proposal import as_json, proposal_of
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db


def told(desk: Desk, request_id: Any) -> Any:
    desk.run(request_id, until="guard_safety")
    return AuditEvent.objects.get(entity_id=str(request_id), trigger__startswith="guard_").details


@pytest.mark.parametrize(
    ("fields", "refused_by"),
    [
        ({}, ""),
        ({"stop_loss": 49_990.0}, ""),
        ({"entry_price": 49_000.0}, "slippage"),
        ({"leverage": 21}, "leverage"),
        ({"symbol": "ETHUSDT"}, "total_exposure"),
        ({"symbol": "SOLUSDT"}, "symbol_allowed"),
        ({"side": "sell"}, "one_open_trade"),
    ],
)
def test_journal_gives_the_same_verdicts_again(desk: Desk, fields: dict[str, Any], refused_by: str) -> None:
    values = {"risk.max_total_exposure_usd": "700", "risk.look_alike_window_sec": "60"}
    for version, (key, value) in enumerate(values.items(), start=1):
        PolicyValue.objects.create(
            key=key, value=Decimal(value), source="test", version=version, changed_at=desk.clock()
        )
    desk.lists = SymbolLists(denied=frozenset({"SOLUSDT"}))
    if refused_by in {"total_exposure", "one_open_trade"}:
        desk.trade_opened()

    kept = told(desk, request_id := desk.decide(**fields))
    # What changes afterwards must not matter.
    PolicyValue.objects.all().delete()
    desk.paper.set_price("BTCUSDT", "60000")

    again = [as_json(rule) for rule in replay(proposal_of(desk.request(request_id)), kept)]
    assert again == kept["rules"]
    refusals = [rule["rule"] for rule in again if rule["refusal"]]
    assert refusals[:1] == ([refused_by] if refused_by else [])
