"""Our own processes die, freeze, or exist twice."""

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import row
from tests.support.ledger import ORDER
from tests.support.stack import is_running
from tests.support.waiting import eventually

# A dead worker's message comes back after the visibility time-out; until then nobody covers what it has filled.
KILLED = Bounds(settle_seconds=60, naked_seconds=25)


@row(1, "kill -9 between placement and persistence", bounds=KILLED, short=True)
def killed_between_placement_and_persistence(cell: Cell) -> None:
    # Executed at once and answered late: whoever is killed meanwhile has an order that it does not know of.
    cell.fault(ORDER, "reply", method="POST", execute=True, preset="unknown_503", ms=400, count=None)
    cell.decide(10)
    cell.wait(lambda: cell.entries_sent() >= 1, "the first entry is on its way")
    pause(cell.random.uniform(0.1, 0.35))
    killed = cell.stack.kill_workers()
    eventually(lambda: not any(map(is_running, killed)), what="the workers are dead")
    cell.paper.clear_faults()
    caught = sum(cell.entries().values())
    cell.stack.start_workers()
    cell.saw(f"{caught} entries before the kill")
    cell.settle()
    assert set(cell.outcomes()) <= {"RECORDED", "ABANDONED"}, cell.outcomes()


@row(16, "pool child killed", bounds=KILLED)
def pool_child_killed(cell: Cell) -> None:
    cell.fault("/fapi/v1/ticker/bookTicker", "delay", method="GET", ms=150, count=None)
    cell.decide(8)
    cell.wait(lambda: len(cell.stack.states()) > 0, "the burst is on its way")
    killed = cell.stack.kill_pool_process()
    eventually(lambda: not is_running(killed), what="the process has ended")
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 8}, cell.outcomes()
