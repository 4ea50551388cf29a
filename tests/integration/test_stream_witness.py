"""What the stream is held against: every order and fill in the books, also those whose rows commit late."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from psycopg import sql

from execution.domain.states import OrderTrigger
from execution.models import Fill, Order, Trade
from execution.user_stream.silence_detector import LATE_COMMITS, LOOK_EVERY, SilenceDetector, fill_fact, order_fact
from execution_project.waits import DATABASE, Kind
from tests.support import builders
from tests.support.builders import NOW

pytestmark = pytest.mark.django_db(transaction=True)
PATIENCE = timedelta(seconds=5)
Session = psycopg.Connection[tuple[Any, ...]]


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def witness(clock: Clock) -> SilenceDetector:
    witness = SilenceDetector(patience=PATIENCE, clock=clock)
    witness.begin()
    clock.now += timedelta(seconds=3)
    return witness


def look(witness: SilenceDetector, clock: Clock, after: timedelta = LOOK_EVERY) -> tuple[str, str] | None:
    clock.now += after
    return witness.missed()


def sent(clock: Clock, symbol: str) -> Order:
    return builders.order(builders.approved(symbol=symbol), sent_at=clock.now)


def accept(order: Order) -> None:
    builders.transition("order", order.client_order_id, trigger=OrderTrigger.ACCEPTED, to_state="ACCEPTED")


def write_line(session: Session, order: Order) -> None:
    session.execute(
        "INSERT INTO execution_auditevent"
        " (entity, entity_id, from_state, to_state, trigger, reason_code, reason, details, at)"
        " VALUES ('order', %s, '', 'ACCEPTED', %s, '', '', '{}', now())",
        [order.client_order_id, OrderTrigger.ACCEPTED.value],
    )


def write_fill(session: Session, trade: Trade, clock: Clock) -> str:
    """Copy a fill of the trade under another number."""
    session.execute(
        "CREATE TEMPORARY TABLE copied ON COMMIT DROP AS SELECT * FROM execution_fill WHERE trade_id = %s", [trade.pk]
    )
    session.execute("ALTER TABLE copied DROP COLUMN id")
    session.execute("UPDATE copied SET exchange_trade_id = 4711, filled_at = %s", [clock.now])
    names = [field.column for field in Fill._meta.concrete_fields if field.column and field.column != "id"]
    columns = sql.SQL(", ").join(map(sql.Identifier, names))
    session.execute(sql.SQL("INSERT INTO execution_fill ({0}) SELECT {0} FROM copied").format(columns))
    return "4711"


@pytest.fixture
def session() -> Iterator[Session]:
    """Return a second connection, with a transaction that stays open until it is ended."""
    known = connection.settings_dict
    names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
    with psycopg.connect(**{name: known[key] for name, key in names.items() if known[key]}) as second:
        yield second


@pytest.mark.parametrize("kind", ["order", "fill"])
def test_a_row_that_commits_behind_a_later_one_is_awaited(
    witness: SilenceDetector, clock: Clock, session: Session, kind: str
) -> None:
    late, next_one = sent(clock, "BTCUSDT"), sent(clock, "ETHUSDT")
    trade = builders.trade(symbol="SOLUSDT")
    builders.fill(trade, filled_at=NOW)
    if kind == "order":
        write_line(session, late)
        fact = order_fact(late.client_order_id)
    else:
        fact = fill_fact("SOLUSDT", int(write_fill(session, trade, clock)))
    accept(next_one)
    builders.fill(trade, exchange_trade_id=4712, filled_at=clock.now)
    witness.hear(order_fact(next_one.client_order_id), fill_fact("SOLUSDT", 4712))
    assert look(witness, clock) is None

    # Its number is lower than what was seen already.
    session.commit()

    assert look(witness, clock, LATE_COMMITS - timedelta(seconds=5)) is None
    assert look(witness, clock, PATIENCE) == fact
    witness.hear(fact)
    assert look(witness, clock) is None


def test_what_was_heard_or_seen_long_ago_is_not_awaited_again(witness: SilenceDetector, clock: Clock) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        order = sent(clock, symbol)
        witness.hear(order_fact(order.client_order_id))
        accept(order)
        assert look(witness, clock, LATE_COMMITS / 2) is None
    assert look(witness, clock, PATIENCE) is None


def test_no_transaction_of_ours_that_trades_lasts_as_long() -> None:
    kinds = (Kind.WEB, Kind.WORKER, Kind.STREAM)
    longest = max(DATABASE[kind].idle_in_transaction + DATABASE[kind].statement for kind in kinds)
    assert longest + LOOK_EVERY.total_seconds() < LATE_COMMITS.total_seconds()
