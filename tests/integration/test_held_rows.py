"""A row that somebody holds and forgets delays its own trade: every table of a trade, both sides; health says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.models import Heartbeat, Trade
from execution.reconciliation.cycle import MONITOR
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.risk.kill_switch import set_kill_switch
from execution_project.postgres.base import bound_session
from execution_project.waits import Kind, held_as
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db(transaction=True)
# What belongs to one trade, with the condition by which its rows are found.
OF_A_TRADE = {
    "execution_trade": "id = %s",
    "execution_executionrequest": "id = %s",
    "execution_order": "request_id = %s",
    "execution_bracket": "request_id = %s",
    "execution_bracketleg": "bracket_id = %s",
    "execution_positionslot": "request_id = %s",
    "execution_position": "trade_id = %s",
    "execution_outboxsequence": "aggregate = %s::text",
}
# What belongs to a sweep itself.
OF_A_SWEEP = {"execution_heartbeat": "%s::text IS NOT NULL", "execution_accountlease": "%s::text IS NOT NULL"}


@pytest.fixture(autouse=True)
def _worker() -> Iterator[None]:
    """Let the test be as patient as a worker."""
    with held_as(Kind.WORKER):
        bound_session(connection)
        yield
    bound_session(connection)


@contextmanager
def held(table: str, where: str, key: object) -> Iterator[int]:
    """Hold rows in a transaction that nobody ends; yield how many those are."""
    database = settings.DATABASES["default"]
    address = f"postgresql://{database['USER']}@{database['HOST']}:{database['PORT']}/"
    with psycopg.connect(f"{address}{connection.settings_dict['NAME']}") as forgotten:
        rows = forgotten.execute(f"SELECT FROM {table} WHERE {where} FOR UPDATE".encode(), [key])
        yield rows.rowcount
        forgotten.rollback()


def stopped_out(desk: Desk, trade_id: UUID) -> None:
    """Move the price by a hundredth past a trade's stop."""
    stop = desk.order(trade_id, "STOP")
    price = (stop.trigger_price or Decimal(0)) * (Decimal("0.99") if stop.side == "SELL" else Decimal("1.01"))
    desk.paper.set_price(stop.symbol, f"{price:.1f}")


def work_off(desk: Desk) -> None:
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("table", [*OF_A_TRADE])
def test_a_held_row_delays_its_own_trade(desk: Desk, table: str, side: str) -> None:
    mine, other = (desk.trade_opened(symbol, side) for symbol in ("BTCUSDT", "ETHUSDT"))
    desk.cycle()
    for trade in (mine, other):
        stopped_out(desk, trade)

    with held(table, OF_A_TRADE[table], mine) as rows:
        assert rows >= 1, f"nothing of {table} is held"
        desk.clock.let_pass(10)
        desk.cycle()
        # It should book the other trade as at any time.
        assert desk.trade(other).state == "CLOSED"

    # It should book this one as soon as its rows are let go.
    desk.clock.let_pass(10)
    desk.cycle()
    assert desk.trade(mine).state == "CLOSED"
    assert Trade.objects.exclude(state="CLOSED").count() == 0
    desk.check()


@pytest.mark.parametrize("table", [*OF_A_SWEEP])
def test_a_held_row_of_the_sweep_itself_stops_no_repair(desk: Desk, table: str) -> None:
    trade = desk.trade_opened()
    desk.cycle()
    stopped_out(desk, trade)

    with held(table, OF_A_SWEEP[table], "") as rows:
        assert rows >= 1
        desk.clock.let_pass(10)
        desk.cycle()
        assert desk.trade(trade).state == "CLOSED"


def test_health_names_what_is_held_and_since_when(desk: Desk, client: Client) -> None:
    trade = desk.trade_opened()
    desk.cycle()
    stopped_out(desk, trade)

    with held("execution_executionrequest", "id = %s", trade):
        desk.cycle()
        first = Heartbeat.objects.get(part=MONITOR).details["held"]
        desk.cycle()
        again = Heartbeat.objects.get(part=MONITOR).details["held"]
        reasons = client.get("/health").json()["reasons"]

    assert any(str(trade) in what for what in first), first
    # It should keep the time since which it is so.
    assert {what: since for what, since in again.items() if what in first} == first
    assert any(reason.startswith("rows: held by another session since ") for reason in reasons), reasons
    # It should forget it with the first sweep that goes through.
    desk.cycle()
    assert Heartbeat.objects.get(part=MONITOR).details["held"] == {}


def test_a_held_row_keeps_no_other_position_from_being_flattened(desk: Desk) -> None:
    mine, _ = desk.trade_opened("BTCUSDT"), desk.trade_opened("ETHUSDT")
    set_kill_switch(KillLevel.FLATTEN, Authorization(by="test", reason="a drill"), now=desk.clock())
    with held("execution_executionrequest", "id = %s", mine):
        work_off(desk)
        assert "ETHUSDT" not in desk.ledger.positions
    work_off(desk)
    assert desk.ledger.positions == {}
