"""PostgreSQL restarts, stays away, fills its disk, or comes back older than the exchange."""

import signal
import time

import psycopg

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.evidence import ended
from tests.chaos.matrix import ONCE, row
from tests.support.ledger import ORDER

# Stops under our prefix that the books do not know: entries are held until a person has looked.
FOREIGN_ORDERS = "entries: ACCOUNT held: FOREIGN_ORDERS"
LOST = Bounds(settle_seconds=60)
# A little longer than a decision may be old.
AWAY_SECONDS = 62.0
# A sequence counts what it refuses: a transaction that is rolled back does not take its number back.
DISK_FULL = """
CREATE SEQUENCE IF NOT EXISTS chaos_disk_full_strikes;
CREATE OR REPLACE FUNCTION chaos_disk_full() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN PERFORM nextval('chaos_disk_full_strikes');
RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER chaos_disk_full BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION chaos_disk_full();
"""
READ_AGAIN = (
    "SELECT r.state FROM execution_inboxevent i"
    " JOIN execution_executionrequest r ON r.inbox_id = i.id WHERE i.identity = ANY(%s) ORDER BY r.received_at"
)
WRITTEN = ("execution_order", "execution_auditevent", "execution_inboxevent", "execution_outboxevent")


@row(27, "PostgreSQL restarts at once, in the middle of it", bounds=LOST, short=True)
def postgres_restarts(cell: Cell) -> None:
    fault = cell.fault("/fapi/v1/depth", "delay", method="GET", ms=150, count=None)
    cell.decide(16)
    cell.wait(lambda: sum(cell.entries().values()) >= 2, "the burst is on its way")
    pause(cell.random.uniform(0, 0.3))
    sessions, unfinished = sessions_of(cell), cell.unfinished()
    server = cell.world.postgres.pid
    cell.world.postgres.kill(signal.SIGQUIT)
    cell.world.postgres.start_again()
    cell.struck("PostgreSQL ended", ended([server]), exactly=1)
    # A worker of each kind has one at least.
    cell.struck("sessions lost", ended(sessions), between=(4, 200))
    cell.struck("requests under way", unfinished, between=(1, 16))
    cell.settle()
    cell.struck("slow calls", cell.hits(fault), between=(1, 2 * 16))
    # A process that loses its session between row and call sends nothing.
    cell.came_to(16, but_for={"NOT_ACCEPTED": cell.world.workers})


def sessions_of(cell: Cell) -> list[int]:
    """Return the processes of PostgreSQL that serve ours."""
    query = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        " AND pid <> pg_backend_pid()"
    )
    return [row[0] for row in cell.rows(query)]


@row(28, "PostgreSQL away for a minute", bounds=LOST)
def postgres_away(cell: Cell) -> None:
    held = cell.opened(2)
    sessions, server = sessions_of(cell), cell.world.postgres.pid
    cell.world.postgres.kill(signal.SIGQUIT)
    cell.struck("PostgreSQL ended", ended([server]), exactly=1)
    cell.struck("sessions lost", ended(sessions), between=(4, 200))
    back_at = time.monotonic() + AWAY_SECONDS
    before = cell.sent("POST", ORDER)
    cell.decide(4, first=4)
    cell.wait(lambda: cell.world.health()["status"] == "DOWN", "health tells", within=5)
    # It should send nothing that has no row, and what rests at the exchange goes on protecting.
    cell.move_price(held[0], fraction=-0.05)
    cell.wait(lambda: held[0] not in cell.ledger.positions, "the stop has closed the position")
    pause(back_at - time.monotonic())
    assert cell.sent("POST", ORDER) == before
    cell.world.postgres.start_again()
    # It should let expire what has grown too old meanwhile, and trade what comes now.
    cell.decide(2, first=8)
    cell.settle()
    cell.struck("decisions grown too old", cell.outcomes()["EXPIRED"], exactly=4)
    assert cell.outcomes() == {"RECORDED": 4, "EXPIRED": 4}, cell.outcomes()
    assert cell.entries() == dict.fromkeys([*held, *cell.symbols[8:10]], 1), cell.entries()


@row(30, "disk full", bounds=LOST)
def disk_full(cell: Cell) -> None:
    with psycopg.connect(cell.world.postgres.url, autocommit=True) as connection:
        for table in WRITTEN:
            connection.execute(DISK_FULL.format(table=table).encode())
        cell.decide(4)
        pause(5)
        assert cell.entries_sent() == 0, "an entry was sent without its row"
        for table in WRITTEN:
            connection.execute(f"DROP TRIGGER chaos_disk_full ON {table}".encode())
        [(refused,)] = cell.rows("SELECT last_value FROM chaos_disk_full_strikes WHERE is_called")
        connection.execute("DROP SEQUENCE chaos_disk_full_strikes CASCADE")
        connection.execute("DROP FUNCTION IF EXISTS chaos_disk_full")
    # Each worker that reads decisions tries again all the time, after a pause.
    cell.struck("inserts refused", refused, between=(1, 500))
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()


@row(60, "start with empty books and positions at the exchange", workers=ONCE)
def start_with_empty_books(cell: Cell) -> None:
    held = cell.opened(2)
    trades = trades_in_the_books(cell)
    cell.stack.kill(*cell.stack.processes)
    # What was sent a moment ago is not to be read after the books are gone: nobody would know it then.
    sent = {row[0] for row in cell.rows("SELECT event_id::text FROM execution_outboxevent WHERE sent_at IS NOT NULL")}
    cell.wait(lambda: cell.world.reader.has(sent), "what was sent is read")
    cell.world.forget_books()
    cell.struck("trades forgotten", trades - trades_in_the_books(cell), exactly=2)
    cell.world.reader.forget()
    cell.decisions.clear()
    cell.foreign |= set(held)
    # Their orders rest without our rows until a person has looked: the oracle may name them.
    cell.expected_violations.add("order_without_intent")
    cell.world.use(1)
    before = cell.ledger.positions
    # It should not trade a symbol that holds what it does not know, and not touch what is there.
    cell.decide(2)
    pause(6)
    cell.settle()
    assert cell.ledger.positions == before
    assert len(cell.ledger.live_stops) == 2
    assert cell.outcomes() == {"DENIED": 2}, cell.outcomes()
    assert cell.reasons() == {"FOREIGN_ORDERS": 2}, cell.reasons()
    # It should trade again when a person has closed and cancelled what the books do not know.
    clear_away(cell, held)
    cell.wait(lambda: not cell.rows("SELECT FROM execution_entryhold"), "entries are let go")
    cell.opened(1, first=2)


def trades_in_the_books(cell: Cell) -> int:
    [(trades,)] = cell.rows("SELECT count(*) FROM execution_trade")
    return int(trades)


def clear_away(cell: Cell, symbols: list[str]) -> None:
    """Let a person close these positions and cancel what rests beside them."""
    for symbol in symbols:
        cell.paper.control("POST", "position", {"symbol": symbol, "amount": "0"})
        for leg in cell.ledger.live(symbol=symbol):
            cell.paper.control("POST", "orders/end", {"order": leg["clientAlgoId"]})


@row(61, "books restored from an old backup, stream read again", workers=ONCE, bounds=LOST)
def old_backup_restored(cell: Cell) -> None:
    known = cell.opened(2)
    cell.stack.kill(*cell.stack.processes)
    with cell.world.backup() as restore:
        cell.world.use(1)
        unknown = cell.opened(2, first=2)
        trades = trades_in_the_books(cell)
        cell.stack.kill(*cell.stack.processes)
        restore()
        # What the restored books have sent is history to the reader.
        cell.world.reader.forget()
        cell.lost_events |= {row[0] for row in cell.rows("SELECT event_id::text FROM execution_outboxevent")}
    cell.struck("trades forgotten", trades - trades_in_the_books(cell), exactly=2)
    # What was read once is read again: the bus remembers more than the books.
    cell.stack.redis.xgroup_setid("quantum:stream:ai.decision.made", "quantum:group:execution:ai.decision.made", "0")
    cell.world.use(1)
    cell.foreign |= set(unknown)
    # Their orders rest without our rows until a person has looked: after two cycles the oracle names them, too.
    cell.told_by_health += [FOREIGN_ORDERS, "oracle: "]
    cell.expected_violations.add("order_without_intent")
    cell.settle()
    pause(5)
    # It should not open what is open already.
    states = [row[0] for row in cell.rows(READ_AGAIN, [f"event:{event_id}" for event_id in cell.decisions])]
    # The books have the first two; what they read anew is held back, or has grown too old under load.
    assert states[:2] == ["RECORDED"] * 2, states
    assert len(states) == 4, states
    cell.struck("decisions read again", sum(state in {"DENIED", "EXPIRED"} for state in states[2:]), exactly=2)
    assert cell.entries() == dict.fromkeys([*known, *unknown], 1)
