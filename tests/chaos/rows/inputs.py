"""What comes in: floats, poison, stale decisions, odd clocks and time zones."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.chaos.cell import Cell
from tests.chaos.evidence import ended
from tests.chaos.matrix import ONCE, row
from tests.chaos.world import SIZES
from tests.support.decisions import decision
from tests.support.ledger import ALGO_ORDER, ORDER

STREAM = "quantum:stream:ai.decision.made"
AMOUNTS = ("quantity", "price", "triggerPrice")


@row(52, "floats in events: 0.1 + 0.2, 1e-05", workers=ONCE)
def floats_in_events(cell: Cell) -> None:
    odd: dict[str, Any] = {"position_size_usd": 1000 * (0.1 + 0.2), "confidence": 0.1 + 0.7}
    stop = float(cell.price(cell.symbols[1])) * (1 - cell.sign * 0.1 / 3)
    cell.publish(
        [
            cell.decision(cell.symbols[0], **odd),
            cell.decision(cell.symbols[1], position_size_usd=33.333333333333336, stop_loss=stop),
            cell.decision(cell.symbols[2], position_size_usd=1e-05),
            cell.decision(cell.symbols[3], stop_loss=1e-05),
        ]
    )
    cell.struck("odd floats on the bus", floats_on_the_bus(cell), exactly=4)
    cell.settle()
    # It should put plain decimals on the wire, and refuse what makes no order.
    sent = [*cell.ledger.sent("POST", ORDER), *cell.ledger.sent("POST", ALGO_ORDER)]
    amounts = [params[name] for params in sent for name in AMOUNTS if name in params]
    assert amounts
    assert all("e" not in amount.lower() and len(amount) <= 20 for amount in amounts), amounts
    assert cell.outcomes() == {"RECORDED": 2, "DENIED": 2}, cell.outcomes()
    # A stop far below the price is out of reach for a long, and on the wrong side for a short.
    misplaced = "STOP_TOO_FAR" if cell.sign > 0 else "STOP_ON_WRONG_SIDE"
    assert cell.reasons() == {"QUANTITY_BELOW_MINIMUM": 1, misplaced: 1}, cell.reasons()
    quantities = {Decimal(order["origQty"]) % step_of(cell, order["symbol"]) for order in cell.ledger.entries}
    assert quantities == {Decimal(0)}, quantities


@row(58, "poison: bad JSON, huge, wrong types, unknown fields")
def poison(cell: Cell) -> None:
    entries = [poisoned(cell, number) for number in range(60)]
    for fields in entries:
        cell.stack.redis.xadd(STREAM, fields)
    cell.decide(4)
    cell.settle()
    cell.wait(lambda: cell.world.health()["consumer_lag"] == 0, "nothing is left unread")
    assert cell.outcomes() == {"RECORDED": 4}, cell.outcomes()
    [(buried,)] = cell.rows("SELECT count(*) FROM execution_deadletter")
    [(known,)] = cell.rows("SELECT count(*) FROM execution_inboxevent")
    cell.struck("dead letters", buried, exactly=len(entries))
    assert known == 4, f"{known} known of 4"


def floats_on_the_bus(cell: Cell) -> int:
    """Return how many numbers of the last four decisions are written as no decimal of a few digits."""
    entries: Any = cell.stack.redis.xrevrange(STREAM, count=4)
    texts = [fields[b"payload"].decode() for _, fields in entries]
    numbers = ("300.00000000000006", "33.333333333333336", "1e-05")
    return sum(text.count(number) for text in texts for number in numbers)


def step_of(cell: Cell, symbol: str) -> Decimal:
    return Decimal(cell.world.terms[symbol]["MARKET_LOT_SIZE"]["stepSize"])


def poisoned(cell: Cell, number: int) -> Any:
    """Return a stream entry that is no decision, of one of many kinds."""
    values: list[Any] = [None, "", [], {}, -1, "NaN", 1e308, "x" * 300, True, "\x00", {"a": {"b": {}}}]
    good = decision("BTCUSDT", position_size_usd=100.0)
    field = cell.random.choice(["symbol", "side", "position_size_usd", "leverage"])
    payloads = [
        "{",
        "[]",
        '"text"',
        "NaN",
        json.dumps({**good, field: cell.random.choice([[], {}, -1, "NaN", "x" * 300])}),
        json.dumps({"symbol": cell.random.choice(values)}),
        json.dumps({**good, "padding": "x" * 200_000}),
        "[" * 3000,
    ]
    return {
        "event_type": "ai.decision.made",
        "payload": payloads[number % len(payloads)],
        "trace_id": f"poison-{number}",
        "timestamp": "not a time" if number % 3 == 0 else datetime.now(UTC).isoformat(),
        "source": "chaos",
    }


@row(59, "stale decisions after ten minutes without a consumer")
def stale_decisions(cell: Cell) -> None:
    bridges = [name for name in cell.stack.workers if "bridge" in name]
    held = cell.opened(1, first=10)
    killed = cell.stack.kill(*bridges)
    cell.struck("bridges killed", ended(killed), exactly=SIZES[cell.world.workers].others)
    old = (datetime.now(UTC) - timedelta(minutes=10)).isoformat()
    cell.publish([cell.decision(symbol, timestamp=old) for symbol in cell.symbols[:8]])
    cell.decide(2, first=8)
    cell.move_price(held[0], fraction=0.08)
    cell.stack.start_workers()
    cell.settle()
    cell.struck("stale decisions", cell.outcomes()["EXPIRED"], exactly=8)
    assert cell.outcomes() == {"RECORDED": 3, "EXPIRED": 8}, cell.outcomes()
    # Exits never expire.
    cell.wait(lambda: cell.closed() == {held[0]: "TP"}, "the exit is booked")


@row(64, "time zones, year's end, times that a zone skips", workers=ONCE)
def times_and_zones(cell: Cell) -> None:
    now = datetime.now(UTC)
    with cell.world.with_settings(TZ="Pacific/Apia", PGTZ="America/St_Johns"):
        cell.stack.rows("SELECT set_config('timezone', 'America/New_York', false)")
        offsets = (timedelta(hours=14), timedelta(hours=-12), timedelta(hours=5, minutes=45))
        stamps = [(now + offset).replace(tzinfo=None).isoformat() + sign(offset) for offset in offsets]
        stamps += ["2026-12-31T23:59:60+00:00", "2026-03-29T02:30:00+01:00"]
        chosen = zip(cell.symbols, stamps, strict=False)
        cell.publish([cell.decision(symbol, timestamp=stamp) for symbol, stamp in chosen])
        cell.decisions.pop(3)
        cell.struck("processes in another zone", len(zoned(cell, "Pacific/Apia")), exactly=len(cell.stack.processes))
        cell.settle()
    # It should trade the three of now, bury the second that our calendar does not know, and let the old one expire.
    assert cell.outcomes() == {"RECORDED": 3, "EXPIRED": 1}, cell.outcomes()
    decided = cell.rows("SELECT decided_at FROM execution_executionrequest WHERE state = 'RECORDED'")
    assert all(abs((moment - now).total_seconds()) < 60 for (moment,) in decided), decided
    [(buried,)] = cell.rows("SELECT count(*) FROM execution_deadletter")
    cell.struck("leap second buried", buried, exactly=1)
    moments = cell.rows("SELECT min(entry_at), max(entry_at) FROM execution_trade")[0]
    assert all(abs((moment - now).total_seconds()) < 60 for moment in moments), moments
    cell.saw(f"fees {sum(Decimal(fill['commission']) for fill in cell.ledger.fills)}")


def zoned(cell: Cell, zone: str) -> list[str]:
    """Return the names of our processes that run in a time zone."""
    wanted = f"TZ={zone}".encode()
    environments = {
        name: Path(f"/proc/{process.pid}/environ").read_bytes() for name, process in cell.stack.processes.items()
    }
    return [name for name, found in environments.items() if wanted in found.split(b"\0")]


def sign(offset: timedelta) -> str:
    minutes = int(offset.total_seconds() // 60)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
