"""Every kind of event that the bus gives twice: stored once, and what follows from it happens once."""

from typing import Any

import pytest

from execution.models import DeadLetter, EssStatus, ExecutionRequest, InboxEvent, ModelPromotion, OutboxEvent
from execution.signals.accept import (
    AI_DECISION,
    ESS_STATE_CHANGED,
    ESS_TRIPPED,
    EVENT_TYPES,
    MANUAL_SIGNAL,
    MODEL_PROMOTED,
    POLICY_UPDATED,
    AcceptedEvent,
    accept_entry,
)
from tests.support.desk import INTAKE, Desk, decision, entry

pytestmark = pytest.mark.django_db
SIGNAL = {"symbol": "BTCUSDT", "side": "sell", "quantity": "0.010", "leverage": 5}
PAYLOADS: dict[str, dict[str, Any]] = {
    ESS_TRIPPED: {"reason": "Daily drawdown 5.20% >= 5.00%"},
    ESS_STATE_CHANGED: {"previous_state": "ARMED", "new_state": "TRIPPED", "reason": "drawdown"},
    POLICY_UPDATED: {"key": "risk.max_leverage", "new_value": 5},
    AI_DECISION: decision("BTCUSDT", "sell"),
    MANUAL_SIGNAL: SIGNAL,
    MODEL_PROMOTED: {"model_name": "ensemble", "old_version": "1", "new_version": "2"},
}
ROWS = (InboxEvent, ExecutionRequest, EssStatus, ModelPromotion, DeadLetter, OutboxEvent)


def rows() -> dict[str, list[Any]]:
    """Return every row that an event may write; how often it was repeated is counted apart."""
    found: dict[str, list[Any]] = {
        model.__name__: list(model._default_manager.order_by("pk").values()) for model in ROWS
    }
    for row in found["InboxEvent"]:
        row.pop("duplicates", None)
    return found


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_entry_that_is_read_again_changes_nothing(desk: Desk, event_type: str) -> None:
    same = entry(event_type, PAYLOADS[event_type], at=desk.clock())
    first = accept_entry(same, rules=INTAKE, now=desk.clock())
    stored = rows()
    assert (first.repeated, len(stored["InboxEvent"]), stored["DeadLetter"]) == (False, 1, [])

    again = accept_entry(same, rules=INTAKE, now=desk.clock())

    # It should start nothing a second time.
    assert again == AcceptedEvent(repeated=True)
    assert rows() == stored


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_an_entry_that_nobody_can_read_is_kept_once(desk: Desk, event_type: str) -> None:
    broken = entry(event_type, {"symbol": 7, "key": 7, "reason": 7, "timestamp": "never"}, at=desk.clock())
    first = accept_entry(broken, rules=INTAKE, now=desk.clock())
    stored = rows()
    assert (len(stored["DeadLetter"]), stored["InboxEvent"]) == (1, [])
    # Whoever sent it meant to stop us.
    assert first == AcceptedEvent(tripped=event_type in {ESS_TRIPPED, ESS_STATE_CHANGED})

    assert accept_entry(broken, rules=INTAKE, now=desk.clock()) == AcceptedEvent()
    assert rows() == stored
