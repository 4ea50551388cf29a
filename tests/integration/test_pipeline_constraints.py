"""What the database itself refuses, whatever the code above it tries."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from execution.models import (
    AuditEvent,
    DeadLetter,
    EssStatus,
    ExecutionRequest,
    Fill,
    InboxEvent,
    Order,
    OutboxEvent,
    Position,
    PositionSlot,
    Trade,
)
from tests.support import builders

pytestmark = pytest.mark.django_db
D = Decimal


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE execution_auditevent SET to_state = 'RECORDED'",
        "UPDATE execution_auditevent SET at = now()",
        "DELETE FROM execution_auditevent",
    ],
)
def test_log_of_transitions_can_only_grow(change: str) -> None:
    builders.transition("request", "1")

    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)

    assert AuditEvent.objects.get().to_state == "RECEIVED"


def second_claim() -> None:
    for _ in range(2):
        row = builders.approved()
        PositionSlot.objects.create(symbol="BTCUSDT", position_side="BOTH", request=row, claimed_at=builders.NOW)


def second_entry() -> None:
    row = builders.approved()
    builders.order(row, sequence=1)
    builders.order(row, sequence=2)


def second_stop_of_a_number() -> None:
    row = builders.approved()
    builders.order(row, purpose="STOP", client_order_id="es1-a")
    builders.order(row, purpose="STOP", client_order_id="es1-b")


def same_client_id() -> None:
    for _ in range(2):
        builders.order(builders.approved(), client_order_id="es1-same")


def second_open_trade() -> None:
    builders.trade()
    builders.trade()


def same_fill() -> None:
    first, second = builders.trade(), builders.trade(symbol="ETHUSDT")
    builders.fill(first, exchange_trade_id=1)
    builders.fill(second, exchange_trade_id=1, symbol=first.symbol)


def same_inbox_identity() -> None:
    builders.inbox(identity="event:1")
    builders.inbox(identity="event:1")


def same_outbox_number() -> None:
    builders.outbox_event(aggregate="a", sequence=1)
    builders.outbox_event(aggregate="a", sequence=1)


def same_position_row() -> None:
    builders.position()
    builders.position()


def second_ess_row() -> None:
    builders.ess()
    builders.ess(id=2)


def same_dead_letter() -> None:
    for _ in range(2):
        DeadLetter.objects.create(
            stream="s",
            entry_id="1-0",
            event_type="ai.decision.made",
            reason_code="X",
            reason="",
            raw="",
            size_bytes=0,
            sha256="",
            received_at=builders.NOW,
        )


BAD_ROWS: list[tuple[str, Callable[[], Any]]] = [
    ("slot_one_per_symbol_and_side", second_claim),
    ("order_one_entry_per_request", second_entry),
    ("order_once_per_step", second_stop_of_a_number),
    ("client_order_id", same_client_id),
    ("order_quantity_positive", lambda: builders.order(builders.approved(), quantity=D(0))),
    ("order_executed_not_negative", lambda: builders.order(builders.approved(), executed_quantity=D(-1))),
    ("order_state_known", lambda: builders.order(builders.approved(), state="LOST")),
    ("order_side_known", lambda: builders.order(builders.approved(), side="HOLD")),
    ("trade_one_open_per_symbol_and_side", second_open_trade),
    ("trade_quantity_positive", lambda: builders.trade(quantity=D(0))),
    ("trade_exit_within_entry", lambda: builders.trade(exited_quantity=D(5))),
    ("trade_closed_has_books", lambda: builders.trade(state="CLOSED")),
    ("trade_state_known", lambda: builders.trade(state="MAYBE")),
    ("fill_booked_once", same_fill),
    ("fill_positive", lambda: builders.fill(builders.trade(), price=D(0))),
    ("inbox_identity_once", same_inbox_identity),
    ("inbox_outcome_known", lambda: builders.inbox(outcome="PERHAPS")),
    ("outbox_sequence_once", same_outbox_number),
    ("position_one_row", same_position_row),
    ("ess_one_row", second_ess_row),
    ("dead_letter_once", same_dead_letter),
    ("request_has_a_size", lambda: builders.request(notional_usd=None)),
    ("request_has_a_size", lambda: builders.request(notional_usd=D(-5))),
    ("request_limit_has_a_price", lambda: builders.request(order_type="LIMIT")),
    ("request_leverage_range", lambda: builders.request(leverage=0)),
    ("request_leverage_range", lambda: builders.request(leverage=126)),
    ("request_state_known", lambda: builders.request(state="DONE")),
    ("request_direction_known", lambda: builders.request(direction="UP")),
]


@pytest.mark.parametrize(("constraint", "write"), BAD_ROWS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(BAD_ROWS)])
def test_bad_row_is_refused_by_its_constraint(constraint: str, write: Callable[[], Any]) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        write()

    # Nothing of it should have stayed.
    models = (
        ExecutionRequest,
        Order,
        Trade,
        Fill,
        InboxEvent,
        OutboxEvent,
        Position,
        EssStatus,
        DeadLetter,
        PositionSlot,
    )
    assert sum(model._default_manager.count() for model in models) == 0
