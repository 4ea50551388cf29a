"""Clocks and limits of the exchange: drift, 429, 418, bursts."""

from collections import Counter

from tests.chaos.cell import Bounds, Cell, pause
from tests.chaos.matrix import ONCE, row

PATIENT = Bounds(settle_seconds=60)
EVERYTHING = "/fapi/*"
TIMESTAMP_REFUSED = -1021
BURST, BURST_SYMBOLS = 1000, 20


@row(41, "clocks apart: 10 s, 1 h, both ways", workers=ONCE, bounds=PATIENT)
def clocks_apart(cell: Cell) -> None:
    for place, skew_ms in enumerate((10_000, -10_000, 3_600_000, -3_600_000)):
        before = refused_for_time(cell)
        cell.paper.control("POST", "clock", {"skew_ms": skew_ms})
        cell.decide(2, first=2 * place)
        cell.settle()
        # Each process has a clock of its own to correct, and corrects it once.
        corrected = refused_for_time(cell) - before
        cell.struck(f"refused {TIMESTAMP_REFUSED} at {skew_ms / 1000:+.0f} s", corrected, between=(1, 12))
    cell.paper.control("POST", "clock", {"skew_ms": 0})
    windows = {int(params["recvWindow"]) for params in cell.ledger.entries_sent}
    assert cell.outcomes() == {"RECORDED": 8}, cell.outcomes()
    assert max(windows) <= 5000, windows


def refused_for_time(cell: Cell) -> int:
    """Return how many requests the exchange has refused for their timestamp."""
    return sum(row["code"] == TIMESTAMP_REFUSED for row in cell.ledger.requests)


@row(42, "429 with Retry-After", bounds=PATIENT, short=True)
def too_many_requests(cell: Cell) -> None:
    silence(cell, preset="too_many_429", status=429)
    assert cell.outcomes() == {"RECORDED": 8}, (cell.outcomes(), cell.reasons())


@row(43, "418 ban", bounds=PATIENT)
def banned(cell: Cell) -> None:
    silence(cell, preset="banned_418", status=418)
    assert cell.outcomes() == {"RECORDED": 8}, (cell.outcomes(), cell.reasons())


def silence(cell: Cell, *, preset: str, status: int) -> None:
    """Answer everything with a refusal for a while: nobody may ask again before it is over."""
    cell.decide(4)
    cell.wait(lambda: sum(cell.entries().values()) >= 1, "the burst is on its way")
    fault = cell.fault(EVERYTHING, "reply", preset=preset, for_ms=4000)
    cell.decide(4, first=4)
    pause(5)
    refused = [row for row in cell.ledger.requests if row["status"] == status]
    assert len(refused) == cell.hits(fault), "not all that met it were answered so"
    # Only those that were under way at its beginning.
    cell.struck(f"requests refused {status}", len(refused), between=(1, concurrent_callers(cell)))
    cell.settle()


def concurrent_callers(cell: Cell) -> int:
    """Return how many calls may have been under way when the first refusal came: pool processes and monitors."""
    return {1: 3, 2: 4, 8: 11}[cell.world.workers]


@row(44, "burst of 1,000 decisions at an exchange with limits", bounds=Bounds(settle_seconds=120))
def burst_of_a_thousand(cell: Cell) -> None:
    settings = {"BINANCE_RATE_LIMIT_RPM": "1200", "SIGNAL_MAX_AGE_SEC": "20", "POSITION_MONITOR_INTERVAL_SEC": "10"}
    with cell.world.exchange_with_limits(), cell.world.with_settings(**settings):
        for _ in range(BURST // BURST_SYMBOLS):
            cell.decide(BURST_SYMBOLS)
        cell.settle()
        statuses = Counter(row["status"] for row in cell.ledger.requests)
    assert not statuses.keys() & {418, 429}, statuses
    outcomes, reasons = cell.outcomes(), cell.reasons()
    assert sum(outcomes.values()) == BURST, outcomes
    # One open trade a symbol, and of each trade the entry and two legs at least were answered well.
    assert 1 <= outcomes["RECORDED"] <= BURST_SYMBOLS, outcomes
    assert statuses[200] >= 3 * outcomes["RECORDED"], statuses
    expected = {"SIGNAL_TOO_OLD": outcomes["EXPIRED"], "OPEN_TRADE_EXISTS": outcomes["DENIED"]}
    assert reasons == expected, reasons
    assert set(cell.entries().values()) == {1}, cell.entries()
    assert len(cell.entries()) == outcomes["RECORDED"], cell.entries()
    cell.struck("decisions too old before their turn", outcomes["EXPIRED"], between=(1, BURST - BURST_SYMBOLS))
    cell.struck("decisions for a symbol that is taken", outcomes["DENIED"], between=(1, BURST - BURST_SYMBOLS))
