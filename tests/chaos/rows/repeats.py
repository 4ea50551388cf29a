"""The same decision again, and decisions that look alike."""

from concurrent.futures import ThreadPoolExecutor

from tests.chaos.cell import Cell
from tests.chaos.matrix import row
from tests.support.decisions import decision

REPEATS = 100
RACERS = 20


@row(13, "same decision 100 times at once, on the bus and over REST", short=True)
def same_decision_a_hundred_times(cell: Cell) -> None:
    same = cell.decision(cell.symbols[0])
    order = {"symbol": cell.symbols[1], "side": cell.side, "quantity": cell.base_quantity(cell.symbols[1])}
    headers = {"Idempotency-Key": f"chaos-{cell.random.randrange(10**9)}"}
    cell.publish([same])
    with ThreadPoolExecutor(8) as pool:
        posts = [
            pool.submit(cell.world.call, "POST", "/api/execution/order", json=order, headers=headers, timeout=30)
            for _ in range(REPEATS)
        ]
        cell.stack.publish([same] * (REPEATS - 1))
        answers = [post.result() for post in posts]
    cell.settle()
    assert {answer.status_code for answer in answers} <= {200, 202}
    assert len({answer.json()["request_id"] for answer in answers}) == 1
    cell.wait(lambda: repeats_counted(cell) >= 2 * (REPEATS - 1), "the repeats are counted")
    cell.struck("repeats", repeats_counted(cell), exactly=2 * (REPEATS - 1))
    assert cell.outcomes() == {"RECORDED": 2}, cell.outcomes()
    assert cell.entries() == dict.fromkeys(cell.symbols[:2], 1)


def repeats_counted(cell: Cell) -> int:
    """Return how many repeats the service has counted."""
    [(repeats,)] = cell.rows("SELECT sum(duplicates) FROM execution_inboxevent")
    return int(repeats)


@row(14, "same trade decided twice within a second, under two ids")
def same_trade_under_two_ids(cell: Cell) -> None:
    symbols = cell.symbols[:4]
    for _ in range(2):
        cell.decide(4)
    cell.settle()
    # One open trade a symbol: the second is refused, and its event says so.
    assert cell.entries() == dict.fromkeys(symbols, 1)
    assert cell.outcomes() == {"RECORDED": 4, "DENIED": 4}, cell.outcomes()
    cell.struck("trades decided twice", cell.reasons()["OPEN_TRADE_EXISTS"], exactly=4)
    assert cell.reasons() == {"OPEN_TRADE_EXISTS": 4}, cell.reasons()
    told = cell.rows(
        "SELECT count(*) FROM execution_outboxevent WHERE event_type = 'order.failed'"
        " AND payload->>'reason_code' = 'OPEN_TRADE_EXISTS'"
    )
    assert told == [(4,)], told


@row(29, "twenty decisions race for one symbol, both sides", short=True)
def race_for_one_symbol(cell: Cell) -> None:
    symbol = cell.symbols[0]
    sides = ["buy", "sell"] * (RACERS // 2)
    cell.random.shuffle(sides)
    cell.publish([decision(symbol, side, position_size_usd=100.0) for side in sides])
    cell.settle()
    assert cell.entries() == {symbol: 1}
    assert cell.outcomes() == {"RECORDED": 1, "DENIED": RACERS - 1}, cell.outcomes()
    cell.struck("decisions came second", cell.reasons()["OPEN_TRADE_EXISTS"], exactly=RACERS - 1)
