"""The same decision again, and decisions that look alike."""

from concurrent.futures import ThreadPoolExecutor

from tests.chaos.cell import Cell
from tests.chaos.matrix import row
from tests.support.decisions import decision

REPEATS = 100


@row(13, "same decision 100 times at once, on the bus and over REST", short=True)
def same_decision_a_hundred_times(cell: Cell) -> None:
    same = decision(cell.symbols[0], position_size_usd=100.0)
    order = {"symbol": cell.symbols[1], "side": "long", "quantity": "0.010"}
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
    cell.wait(lambda: cell.rows("SELECT sum(duplicates) FROM execution_inboxevent") == [(198,)], "198 repeats counted")
    assert cell.entries() == dict.fromkeys(cell.symbols[:2], 1)
