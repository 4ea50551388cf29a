"""What a scenario is: a name, figures that were computed by hand, and a story whose figures must be the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection

from execution.domain.money import plain
from tests.support.oracle import broken_invariant

if TYPE_CHECKING:
    from tests.support.desk import Desk

Figures = Mapping[str, object]
Play = Callable[["Desk"], Figures]
D = Decimal
NOTHING, HOLD = "nothing", "hold"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One story; each figure of `expected` is held against what the story tells under the same name.

    `foreign`: symbols on which somebody else keeps a position, which is not ours to account for.
    """

    name: str
    expected: Mapping[str, str]
    play: Play
    foreign: tuple[str, ...] = ()


SCENARIOS: list[Scenario] = []


def scenario(name: str, *, foreign: tuple[str, ...] = (), **expected: str) -> Callable[[Play], Play]:
    """Add a story to the suite; at its end all invariants of the oracle have to hold too."""

    def add(play: Play) -> Play:
        SCENARIOS.append(Scenario(name=name, expected={**expected, "invariants": HOLD}, play=play, foreign=foreign))
        return play

    return add


def played(story: Scenario, desk: "Desk") -> dict[str, str]:
    """Play a story and return what came of it."""
    got = {figure: text_of(value) for figure, value in story.play(desk).items()}
    return {**got, "invariants": invariants(desk, story.foreign)}


def invariants(desk: "Desk", foreign: tuple[str, ...]) -> str:
    """Say whether every invariant holds, else which one does not."""
    with connection.cursor() as cursor:
        return broken_invariant(cursor, desk.ledger, foreign=foreign) or HOLD


def text_of(value: object) -> str:
    """Write a figure as the expected ones are written: decimals plain, several of them side by side."""
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value)) or NOTHING
    return str(value)


# Arranging and moving


def opened(desk: "Desk", **fields: Any) -> UUID:
    """Carry a person's order of 0.010 BTC, stop 49000, to its open and protected trade."""
    request_id = desk.signal(**({"stop_loss": "49000"} | fields))
    state = desk.run(request_id)
    if state != "RECORDED":
        raise AssertionError(f"not RECORDED but {state}: {desk.request(request_id).reason}")
    return request_id


def move(desk: "Desk", *prices: str) -> None:
    """Let the price visit each of these, and the monitor look after each."""
    for price in prices:
        desk.paper.set_price("BTCUSDT", price)
        watch(desk)


def watch(desk: "Desk", cycles: int = 1, *, seconds: float = 3) -> None:
    """Let time pass and run the monitor."""
    for _ in range(cycles):
        desk.clock.let_pass(seconds)
        desk.cycle()


# Telling


def books(desk: "Desk", request_id: UUID) -> dict[str, object]:
    """Return the books of a trade, and what the exchange says about the same."""
    trade = desk.trade(request_id)
    return {
        "ended": trade.close_reason or trade.state,
        "quantity": trade.quantity,
        "entry": trade.entry_price,
        "exit": trade.exit_price,
        "gross": trade.gross_pnl,
        "fees": trade.entry_fees + trade.exit_fees,
        "funding": trade.funding,
        "net": trade.net_pnl,
        "trade_closed_events": desk.events(request_id).count("trade.closed"),
        **account(desk),
    }


def account(desk: "Desk") -> dict[str, object]:
    """Return the exchange's wallet, and what is left there: positions and open orders."""
    ledger = desk.ledger
    positions = [f"{symbol} {plain(amount)}" for symbol, amount in sorted(ledger.positions.items())]
    waiting = [f"{row['orderType']} {plain(D(row['quantity']))}" for row in ledger.live()]
    return {"wallet": D(ledger.summary["wallet"]), "left": [*positions, *waiting]}


def legs(desk: "Desk", kind: str) -> list[str]:
    """Return what waits at the exchange of one type, as quantity@price, lowest price first."""
    rows = sorted((D(row["triggerPrice"] or 0), D(row["quantity"])) for row in desk.ledger.live(kind))
    return [f"{plain(quantity)}@{plain(price)}" for price, quantity in rows]


def stops(desk: "Desk") -> list[str]:
    return legs(desk, "STOP_MARKET")


def targets(desk: "Desk") -> list[str]:
    return legs(desk, "TAKE_PROFIT_MARKET")
