"""What a closed trade's books cost at the exchange: each fact is read once, whoever hears of it, and once for all."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from django.db import connection

from execution.domain.authorization import Authorization
from execution.domain.kill_switch import KillLevel
from execution.domain.outcomes import IncomeKind
from execution.models import AccountIncome, Fill, IncomeReading, StreamedFill, Trade
from execution.reconciliation.enforce_kill_switch import work_off_kill_switch
from execution.reconciliation.repair import book_reported_exits
from execution.reconciliation.stop_watchdog import ensure_cover
from execution.risk.kill_switch import engage
from execution.trades import account_income
from execution.trades.settle_exits import LONGEST_TURN, Settled, _turn, settle_exits
from execution.trades.streamed_fills import STREAMED_WITHIN, streamed_exits
from tests.support.desk import PATIENCE, Desk
from tests.support.listener import Listener
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)
# Symbol, side, stop and target of each position: both sides, so that their exits sell and buy.
POSITIONS = (
    ("BTCUSDT", "buy", 49000, 52000),
    ("ETHUSDT", "sell", 2600, 2300),
    ("SOLUSDT", "buy", 140, 170),
    ("XRPUSDT", "sell", None, None),
)
USER_TRADES, INCOME = "/fapi/v1/userTrades", "/fapi/v1/income"
Way = Callable[[Desk], None]


@pytest.fixture
def listener(desk: Desk) -> Iterator[Listener]:
    desk.clock.stop()
    with Listener(desk=desk) as made:
        yield made


def opened(desk: Desk) -> dict[str, UUID]:
    found = {}
    for symbol, side, stop, target in POSITIONS:
        levels = {"stop_loss": stop, "take_profit": target} if stop else {}
        found[symbol] = desk.trade_opened(symbol, side, **levels)
    return found


def calls(desk: Desk) -> Counter[tuple[str, str]]:
    return Counter((row["method"], row["path"]) for row in desk.ledger.requests)


def states() -> set[str]:
    return set(Trade.objects.values_list("state", flat=True))


def flattened(desk: Desk) -> None:
    engage(KillLevel.FLATTEN, Authorization(by="test", reason="tried"), now=desk.clock())
    work_off_kill_switch(exchange=desk.exchange, rules=desk._protection(), clock=desk.clock, spare=None)


def stopped_out(desk: Desk) -> None:
    for symbol, price in (("BTCUSDT", "48900"), ("ETHUSDT", "2610"), ("SOLUSDT", "139")):
        desk.paper.set_price(symbol, price)
    stop = Trade.objects.get(symbol="XRPUSDT").stop_price
    desk.paper.set_price("XRPUSDT", format((stop * Decimal("1.01")).quantize(Decimal("0.0001")), "f"))


def everybody(desk: Desk) -> None:
    """Let protector and monitor hear of the same exits, as they do beside the stream, and the books be looked over."""
    ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(seconds=15))
    desk.cycle()
    desk.clock.let_pass(61)
    desk.cycle()


@pytest.mark.parametrize("way", [flattened, stopped_out])
def test_what_the_stream_has_told_is_not_read_again(desk: Desk, listener: Listener, way: Way) -> None:
    desk.cycle()
    listener.connect()
    opened(desk)
    listener.until(lambda: StreamedFill.objects.count() >= len(POSITIONS), what="the entries are told")
    desk.paper.clear_ledger()

    way(desk)
    listener.until(lambda: states() == {"CLOSED"}, what="all trades are closed")
    closed = calls(desk)
    everybody(desk)

    # It should have read no list of fills, and the account's income once for all of them.
    assert closed["GET", USER_TRADES] == 0
    assert closed["GET", INCOME] <= 2
    # The books are looked over a minute later, together: one more reading of income serves them all.
    assert calls(desk)["GET", USER_TRADES] == 0
    assert calls(desk)["GET", INCOME] - closed["GET", INCOME] == 1
    # It should have the books of the exchange, to the last digit, and nothing left.
    assert sum(Trade.objects.values_list("net_pnl", flat=True)) == desk.ledger.net_pnl
    assert desk.ledger.live() == []
    desk.check()


@pytest.mark.parametrize("way", [flattened, stopped_out])
def test_without_a_stream_each_list_of_fills_is_read_once_and_the_income_once(desk: Desk, way: Way) -> None:
    desk.cycle()
    opened(desk)
    # However slow the machine: what ends together is one moment here.
    desk.clock.stop()
    desk.clock.let_pass(5)
    desk.paper.clear_ledger()

    way(desk)
    ensure_cover(desk.tools(), patience=PATIENCE, monitor_silent_after=timedelta(seconds=15))
    assert states() == {"CLOSED"}
    everybody(desk)

    # One list of fills a trade, and one list of income for all, then one when the books are looked over.
    assert calls(desk)["GET", USER_TRADES] == len(POSITIONS)
    assert calls(desk)["GET", INCOME] == 2
    assert sum(Trade.objects.values_list("net_pnl", flat=True)) == desk.ledger.net_pnl
    assert desk.ledger.live() == []
    desk.check()


def test_two_processes_do_not_read_the_same_fills_at_once(desk: Desk) -> None:
    request_id = desk.trade_opened("BTCUSDT", "buy", stop_loss=49000, take_profit=52000)
    desk.person.new_order(symbol="BTCUSDT", side="SELL", type="MARKET", quantity="0.009", reduceOnly="true")
    desk.paper.clear_ledger()
    desk.paper.add_fault(path=USER_TRADES, method="GET", action="delay", ms=1500, count=1)

    outcomes = at_once([lambda: settle(desk.another(), request_id)] * 3)

    # It should have been left to the one that reads; a foreign order's fills are held against the position.
    assert sorted(str(each) for each in outcomes) == sorted(map(str, [Settled.CLOSED, *[Settled.ELSEWHERE] * 2]))
    assert calls(desk)["GET", USER_TRADES] == 2
    desk.check()


def test_a_reading_of_income_is_shared_by_all_that_wait_for_it(desk: Desk) -> None:
    requests = opened(desk)
    for symbol, *_ in POSITIONS:
        desk.paper.control("POST", "funding", {"symbol": symbol})
    flattened(desk)
    desk.paper.clear_ledger()
    desk.paper.add_fault(path=INCOME, method="GET", action="delay", ms=1500, count=1)

    def book(request_id: UUID) -> Callable[[], bool]:
        return lambda: book_reported_exits(request_id, desk.another().tools())

    assert at_once([book(pk) for pk in requests.values()]) == [True] * len(POSITIONS)

    # It should have been read for the whole account by one of them, with each trade's own part in its books.
    assert calls(desk)["GET", INCOME] == 1
    assert AccountIncome.objects.count() == len(POSITIONS)
    assert all(trade.funding for trade in Trade.objects.all())
    assert sum(Trade.objects.values_list("net_pnl", flat=True)) == desk.ledger.net_pnl


def settle(desk: Desk, request_id: UUID) -> Settled | None:
    return settle_exits(request_id, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)


@contextmanager
def frozen(number: int) -> Iterator[None]:
    """Hold a lock in a session of its own, as a process does that was stopped in the middle."""
    with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [number])
        yield


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_who_is_frozen_with_a_trade_s_exits_keeps_others_away_for_seconds_only(desk: Desk, side: str) -> None:
    request_id = desk.trade_opened("BTCUSDT", side)
    flattened(desk)
    desk.clock.stop()

    with frozen(_turn(request_id, desk.clock())):
        assert settle(desk, request_id) is Settled.ELSEWHERE
        assert desk.trade(request_id).state == "OPEN"
        desk.clock.let_pass(LONGEST_TURN.total_seconds())
        assert settle(desk, request_id) is Settled.CLOSED

    desk.check()


def test_who_is_frozen_with_the_income_is_waited_for_with_a_bound(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_income, "PATIENCE_SECONDS", 0.1)
    request_id = desk.trade_opened("BTCUSDT", "buy")
    flattened(desk)

    with frozen(account_income.LOCKS[IncomeKind.FUNDING]):
        assert settle(desk, request_id) is Settled.CLOSED

    # It should have read beside the other one.
    assert calls(desk)["GET", INCOME] == 1


def test_what_the_stream_is_about_to_tell_is_left_to_it_for_a_moment(desk: Desk, listener: Listener) -> None:
    desk.cycle()
    listener.connect()
    request_id = desk.trade_opened("BTCUSDT", "buy", stop_loss=49000, take_profit=52000)
    listener.until(StreamedFill.objects.exists, what="the entry is told")
    desk.paper.control("POST", "streams/faults", {"action": "silent", "count": None})
    flattened(desk)
    desk.paper.clear_ledger()

    # The answer is there, and its event is not: the legs go at once, the fills are not read.
    assert settle(desk, request_id) is Settled.ELSEWHERE
    assert desk.ledger.live() == []
    assert calls(desk)["GET", USER_TRADES] == 0

    # It should ask when the event does not come.
    desk.clock.let_pass(STREAMED_WITHIN.total_seconds())
    assert settle(desk, request_id) is Settled.CLOSED
    assert calls(desk)["GET", USER_TRADES] == 1
    desk.check()


def test_income_of_a_position_older_than_any_reading_is_read_by_symbol(desk: Desk) -> None:
    """One close must not cost the whole account's past; what was read of it since is shared."""
    wanted = account_income.WantedIncome(
        kind=IncomeKind.FUNDING,
        since=desk.exchange.now() - timedelta(days=40),
        learned_at=desk.clock(),
        symbol="BTCUSDT",
    )
    desk.trade_opened("BTCUSDT", "buy")
    desk.paper.control("POST", "funding", {"symbol": "BTCUSDT"})
    desk.paper.clear_ledger()

    lines = account_income.income_of(wanted, exchange=desk.exchange, clock=desk.clock)

    assert [line.symbol for line in lines] == ["BTCUSDT"]
    assert {row["params"].get("symbol") for row in desk.ledger.requests if row["path"] == INCOME} == {"BTCUSDT"}
    assert IncomeReading.objects.count() == 0


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_fill_that_the_stream_has_lost_is_read(desk: Desk, listener: Listener, side: str) -> None:
    desk.cycle()
    listener.connect()
    request_id = desk.trade_opened("BTCUSDT", side)
    listener.until(StreamedFill.objects.exists, what="the entry is told")
    desk.paper.control("POST", "portions", {"fraction": "1", "parts": 2})
    # The birth of the close, and its first fill.
    desk.paper.control("POST", "streams/faults", {"action": "silent", "event": "ORDER_TRADE_UPDATE", "count": 2})

    flattened(desk)
    listener.until(lambda: Fill.objects.filter(trade=request_id, entry=False).exists(), what="what was told is booked")
    booked = Fill.objects.filter(trade=request_id, entry=False).count()
    desk.clock.let_pass(3)
    desk.cycle()

    # It should have booked the told part, and then asked the exchange for the other.
    assert (booked, Fill.objects.filter(trade=request_id, entry=False).count()) == (1, 2)
    assert desk.trade(request_id).state == "CLOSED"
    assert desk.trade(request_id).net_pnl == desk.ledger.net_pnl
    desk.check()


@pytest.mark.parametrize(("asset", "whole"), [("USDT", True), ("BNB", True), ("BNFCR", False)])
def test_a_fill_is_believed_where_its_result_is_known_to_be_in_the_quote_asset(
    desk: Desk, listener: Listener, asset: str, *, whole: bool
) -> None:
    """The stream names no margin asset: an account in credits mode books its results in another one."""
    desk.cycle()
    listener.connect()
    request_id = desk.trade_opened("BTCUSDT", "buy")
    listener.until(StreamedFill.objects.exists, what="the entry is told")
    flattened(desk)
    close = desk.order(request_id, "CLOSE")
    listener.until(lambda: StreamedFill.objects.filter(order=close).exists(), what="the close is told")
    Fill.objects.filter(trade=request_id, entry=False).delete()
    StreamedFill.objects.filter(order=close).update(commission_asset=asset)

    fills, names = streamed_exits(desk.trade(request_id), desk.exchange)

    assert [fill.quantity for fill in fills] == ([close.quantity] if whole else [])
    assert list(names.values()) == ([close.client_order_id] if whole else [])
