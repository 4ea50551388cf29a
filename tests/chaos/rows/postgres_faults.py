"""PostgreSQL restarts, stays away, fills its disk, or comes back older than the exchange."""

import signal
import time

import psycopg

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import ONCE, row
from tests.support.ledger import ORDER

# Stops under our prefix that the books do not know: entries are held until a person has looked.
FOREIGN_ORDERS = "entries: ACCOUNT held: FOREIGN_ORDERS"
LOST = Bounds(settle_seconds=60)
AWAY_SECONDS = 60.0
DISK_FULL = """
CREATE OR REPLACE FUNCTION chaos_disk_full() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER chaos_disk_full BEFORE INSERT ON {table} FOR EACH STATEMENT EXECUTE FUNCTION chaos_disk_full();
"""
WRITTEN = ("execution_order", "execution_transition", "execution_inboxevent", "execution_outboxevent")


@row(27, "PostgreSQL restarts at once, in the middle of it", bounds=LOST, short=True)
def postgres_restarts(cell: Cell) -> None:
    cell.decide(16)
    cell.wait(lambda: sum(cell.entries().values()) >= 2, "the burst is on its way")
    pause(cell.random.uniform(0, 0.3))
    cell.world.postgres.kill(signal.SIGQUIT)
    cell.world.postgres.start_again()
    cell.settle()
    assert cell.outcomes().keys() <= {"RECORDED", "ABANDONED"}, cell.outcomes()


@row(28, "PostgreSQL away for a minute", bounds=LOST)
def postgres_away(cell: Cell) -> None:
    held = cell.opened(2)
    cell.world.postgres.kill(signal.SIGQUIT)
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
    assert cell.outcomes().keys() <= {"RECORDED", "EXPIRED"}, cell.outcomes()
    assert cell.entries().keys() >= {*held, *cell.symbols[8:10]}, cell.entries()


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
    cell.settle()
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()


@row(60, "start with empty books and positions at the exchange", workers=ONCE)
def start_with_empty_books(cell: Cell) -> None:
    held = cell.opened(2)
    cell.stack.kill(*cell.stack.processes)
    cell.world.forget_books()
    cell.world.reader.forget()
    cell.decisions.clear()
    cell.foreign |= set(held)
    cell.told_by_health.append(FOREIGN_ORDERS)
    cell.world.use(1)
    before = cell.ledger.positions
    # It should not trade a symbol that holds what it does not know, and not touch what is there.
    cell.decide(2)
    pause(6)
    cell.settle()
    assert cell.ledger.positions == before
    assert len(cell.ledger.live_stops) == 2
    assert cell.outcomes()["RECORDED"] == 0, cell.outcomes()


@row(61, "books restored from an old backup, stream read again", workers=ONCE, bounds=LOST)
def old_backup_restored(cell: Cell) -> None:
    known = cell.opened(2)
    cell.stack.kill(*cell.stack.processes)
    with cell.world.backup() as restore:
        cell.world.use(1)
        unknown = cell.opened(2, first=2)
        cell.stack.kill(*cell.stack.processes)
        restore()
        # What the restored books have sent is history to the reader.
        cell.world.reader.forget()
        cell.lost_events |= {row[0] for row in cell.rows("SELECT event_id::text FROM execution_outboxevent")}
    # What was read once is read again: the bus remembers more than the books.
    cell.stack.redis.xgroup_setid("quantum:stream:ai.decision.made", "quantum:group:execution:ai.decision.made", "0")
    cell.world.use(1)
    cell.foreign |= set(unknown)
    cell.told_by_health.append(FOREIGN_ORDERS)
    cell.settle()
    pause(5)
    # It should not open what is open already.
    assert cell.entries() == dict.fromkeys([*known, *unknown], 1)
