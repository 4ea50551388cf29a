"""Ambiguous answers of the exchange: lost, late, refused with words that prove nothing, or hidden."""

from tests.chaos.cell import Bounds, Cell
from tests.chaos.matrix import row
from tests.support.ledger import ORDER

# Absence is believed only after everything that was sent must have arrived: 3 s call, 10 s wait, receive window.
ABSENCE = Bounds(settle_seconds=60)
TIMEOUT_SECONDS = 3
TIMESTAMP_REFUSED = -1021
BLIND_SECONDS = 20
HANG_SECONDS = 12
# How long the worker that sent the order to a symbol waited for an answer.
GIVEN_UP_AFTER = """
    SELECT extract(epoch FROM min(t.at) - o.created_at)::float8 FROM execution_order o
    JOIN execution_auditevent t ON t.entity = 'order' AND t.entity_id = o.client_order_id AND t.to_state = 'UNKNOWN'
    WHERE o.symbol = %s GROUP BY o.created_at
"""


@row(5, "answer lost after execution", short=True)
def answer_lost_after_execution(cell: Cell) -> None:
    fault = cell.fault(ORDER, "drop_after", method="POST", count=6)
    cell.decide(8)
    cell.settle()
    cell.struck("answers lost", cell.hits(fault), exactly=6)
    assert cell.outcomes() == {"RECORDED": 8}, cell.outcomes()
    failed = cell.rows("SELECT count(*) FROM execution_outboxevent WHERE event_type = 'order.failed'")
    assert failed == [(0,)], "an executed order was told as failed"


@row(6, "request lost before execution", bounds=ABSENCE)
def request_lost_before_execution(cell: Cell) -> None:
    fault = cell.fault(ORDER, "drop_before", method="POST", count=3)
    cell.decide(6)
    cell.settle()
    cell.struck("requests lost", cell.hits(fault), exactly=3)
    assert cell.outcomes() == {"RECORDED": 3, "NOT_ACCEPTED": 3}, cell.outcomes()


@row(7, "503 of unknown meaning, executed")
def unknown_503_executed(cell: Cell) -> None:
    fault = cell.fault(ORDER, "reply", method="POST", preset="unknown_503", execute=True, count=6)
    cell.decide(8)
    cell.settle()
    cell.struck("answers of 503", cell.hits(fault), exactly=6)
    assert cell.outcomes() == {"RECORDED": 8}, cell.outcomes()


@row(8, "-1007 and -1006, executed and not", bounds=ABSENCE)
def status_unknown(cell: Cell) -> None:
    faults = {}
    for code, execute in ((-1007, True), (-1006, False)):
        body = {"code": code, "msg": "the status is unknown"}
        faults[code] = cell.fault(ORDER, "reply", method="POST", status=400, body=body, execute=execute, count=2)
    cell.decide(6)
    cell.settle()
    for code, fault in faults.items():
        cell.struck(f"answers of {code}", cell.hits(fault), exactly=2)
    assert cell.outcomes() == {"RECORDED": 4, "NOT_ACCEPTED": 2}, cell.outcomes()


@row(9, "exchange hangs", bounds=ABSENCE)
def exchange_hangs(cell: Cell) -> None:
    hung, *others = cell.symbols[:5]
    fault = cell.fault(ORDER, "hang", method="POST", match={"symbol": hung}, ms=1000 * HANG_SECONDS)
    cell.decide(5)
    # It should not hold up any other symbol until the exchange lets go.
    cell.wait(lambda: cell.entries().keys() >= set(others), "the other symbols flow", within=HANG_SECONDS - 1)
    cell.struck("call hung", cell.hits(fault), exactly=1)
    [waited] = cell.wait(lambda: cell.rows(GIVEN_UP_AFTER, hung), "the worker has given up", within=HANG_SECONDS - 1)
    assert waited[0] <= TIMEOUT_SECONDS + 1, f"the worker was held for {waited[0]:.1f} s"
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4, "NOT_ACCEPTED": 1}, cell.outcomes()


@row(10, "slow exchange")
def slow_exchange(cell: Cell) -> None:
    # A receive window and a time-out that a slow answer fits into.
    with cell.world.with_settings(BINANCE_RECV_WINDOW_MS="5000", BINANCE_TIMEOUT_SECONDS="5"):
        fault = cell.fault(ORDER, "delay", method="POST", ms=cell.random.randrange(2000, 4000), count=None)
        symbols = cell.decide(4)
        cell.settle()
        cell.struck("slow answers", cell.hits(fault), exactly=4)
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    # It should not send a second one while the first is under way.
    assert cell.entries_sent() == 4
    assert cell.entries() == dict.fromkeys(symbols, 1)


@row(11, "late arrival after the client gave up", bounds=ABSENCE)
def late_arrival(cell: Cell) -> None:
    in_time, too_late = cell.symbols[:2], cell.symbols[2:4]
    faults = [
        # The receive window is 2 s: what comes later is refused by the exchange itself.
        cell.fault(ORDER, "late", method="POST", match={"symbol": symbol}, ms=1200 if symbol in in_time else 3500)
        for symbol in (*in_time, *too_late)
    ]
    cell.decide(4)
    cell.settle()
    cell.struck("late arrivals", sum(map(cell.hits, faults)), exactly=4)
    handled = [row for row in cell.ledger.requests if (row["method"], row["path"]) == ("POST", ORDER)]
    cell.struck("of them too late", sum(row["done_code"] == TIMESTAMP_REFUSED for row in handled), exactly=2)
    assert cell.entries() == dict.fromkeys(in_time, 1)
    assert cell.outcomes() == {"RECORDED": 2, "NOT_ACCEPTED": 2}, cell.outcomes()


# As long as every look-up is blind, nobody knows of the position.
@row(12, "look-ups forget the order for 20 s", bounds=ABSENCE)
def look_ups_forget(cell: Cell) -> None:
    lost = cell.fault(ORDER, "drop_after", method="POST", count=2)
    paths = (ORDER, "/fapi/v1/allOrders", "/fapi/v1/userTrades", "/fapi/v1/openOrders")
    blind = [cell.fault(path, "hide", method="GET", for_ms=1000 * BLIND_SECONDS) for path in paths]
    symbols = cell.decide(4)
    cell.settle()
    cell.struck("answers lost", cell.hits(lost), exactly=2)
    # Each lost order is looked up at least once, and there is no storm of them.
    cell.struck("blind look-ups", sum(map(cell.hits, blind)), between=(2, 10 * BLIND_SECONDS))
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    assert cell.entries() == dict.fromkeys(symbols, 1)
