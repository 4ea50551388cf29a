"""What happened at the exchange, second by second, read from its ledger: positions, stops, bursts of orders."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Any

from tests.support.ledger import ALGO_ORDER, ORDER, Ledger
from tests.support.stops import STOP, StopPlan, closes, mismatch

Row = dict[str, Any]
ZERO = Decimal(0)
PLACEMENTS = frozenset({("POST", ORDER), ("POST", ALGO_ORDER)})


@dataclass(frozen=True, kw_only=True)
class Held:
    """A position between two fills; `end` is None when it is held still.

    `entry`: client id of the order that opened it, or of the entry of ours that has enlarged it since.
    """

    symbol: str
    position_side: str
    amount: Decimal
    entry: str
    start: int
    end: int | None


@dataclass(frozen=True, kw_only=True)
class Unprotected:
    """The longest time without a right stop over all of a position, and what was wrong with those that stood."""

    seconds: float = 0.0
    why: str = ""


def positions(ledger: Ledger) -> Iterator[Held]:
    """Yield every position held, each amount for itself, in milliseconds of the exchange."""
    fills: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for fill in sorted(ledger.fills, key=lambda row: int(row["id"])):
        fills[fill["symbol"], fill["positionSide"]].append(fill)
    for (symbol, side), rows in fills.items():
        amount, entry = ZERO, ""
        for fill, following in zip(rows, [*rows[1:], None], strict=True):
            before, amount = amount, amount + signed(fill)
            client_id = str(fill["clientOrderId"])
            # What others add to a position of ours leaves it ours.
            if before * amount <= 0 or (abs(amount) > abs(before) and client_id.startswith("es1-e")):
                entry = client_id
            if amount:
                yield Held(
                    symbol=symbol,
                    position_side=side,
                    amount=amount,
                    entry=entry,
                    start=int(fill["time"]),
                    end=int(following["time"]) if following else None,
                )


def signed(fill: Row) -> Decimal:
    quantity = Decimal(fill["qty"])
    return quantity if fill["buyer"] else -quantity


def longest_unprotected(
    ledger: Ledger, plans: Mapping[str, StopPlan], *, now_ms: int, ignored: frozenset[str] = frozenset()
) -> Unprotected:
    """Return the longest time that any position had no right stop over its full size.

    Args:
        ledger: the venue's.
        plans: where the stop of each position belongs, by the client id of the order that opened it; a position
            without a plan counts as unprotected.
        now_ms: the venue's time.
        ignored: symbols whose positions are not ours to protect.

    """
    stops: dict[str, list[Row]] = defaultdict(list)
    for algo in ledger.algo_orders:
        stops[algo["symbol"]].append(algo)
    lasting: dict[tuple[str, str], int] = defaultdict(int)
    worst = Unprotected()
    for held in positions(ledger):
        if held.symbol in ignored:
            continue
        key, wrong = (held.symbol, held.position_side), _wrong(held, stops[held.symbol], plans.get(held.entry))
        right = [stop for stop in stops[held.symbol] if not wrong[stop["algoId"]]]
        unprotected = gaps(held, right, now_ms)
        for start, end in unprotected:
            # A gap that goes on over a fill is one gap.
            lasted = end - start + (lasting[key] if start == held.start else 0)
            if lasted / 1000 > worst.seconds:
                worst = Unprotected(seconds=lasted / 1000, why=_why(held, stops[held.symbol], wrong))
        lasting[key] = _still_lasting(held, unprotected, lasting[key])
    return worst


def _still_lasting(held: Held, unprotected: Sequence[tuple[int, int]], before: int) -> int:
    """Return for how long a position has been unprotected at the end of this stretch."""
    if held.start == held.end:
        return before
    if not unprotected or unprotected[-1][1] != held.end:
        return 0
    start, end = unprotected[-1]
    return end - start + (before if start == held.start else 0)


def _wrong(held: Held, stops: Sequence[Row], plan: StopPlan | None) -> dict[Any, str]:
    """Return what is wrong with each conditional order as a stop of this position; empty where nothing is."""
    return {
        stop["algoId"]: mismatch(stop, amount=held.amount, position_side=held.position_side, plan=plan)
        for stop in stops
    }


def _why(held: Held, stops: Sequence[Row], wrong: Mapping[Any, str]) -> str:
    """Describe the position and the stops of which something was wrong, for the table's last column."""
    faults = [(stop["clientAlgoId"], wrong[stop["algoId"]]) for stop in stops if stop["orderType"] == STOP]
    named = "; ".join(f"{client_id}: {fault}" for client_id, fault in faults if fault)
    return f"{held.symbol} {held.position_side} {held.amount}" + (f" ({named})" if named else "")


def gaps(held: Held, stops: Sequence[Row], now_ms: int) -> list[tuple[int, int]]:
    """Return the stretches of a held position in which these stops together did not close all of it."""
    end_of_hold = now_ms if held.end is None else held.end
    lives = [(int(stop["createTime"]), _ended(stop), closes(stop)) for stop in stops]
    ends = [end for _, end, _ in lives if end is not None]
    inside = {moment for moment in (*(begin for begin, _, _ in lives), *ends) if held.start < moment < end_of_hold}
    found: list[tuple[int, int]] = []
    for start, end in pairwise(sorted({held.start, end_of_hold, *inside})):
        closed = sum((each for begin, over, each in lives if begin <= start and (over is None or over > start)), ZERO)
        if closed >= abs(held.amount):
            continue
        joins = bool(found) and found[-1][1] == start
        found[-1:] = [(found[-1][0], end)] if joins else [*found[-1:], (start, end)]
    return found


def _ended(stop: Row) -> int | None:
    # A stop that has triggered is an order on its way: it closes until the fill that it makes.
    return None if stop["algoStatus"] == "NEW" else int(stop["updateTime"])


def most_orders_within(ledger: Ledger, seconds: float) -> int:
    """Return the most placements that reached the exchange in any stretch of this length."""
    moments = sorted(
        row["t_ns"] / 1e9 for row in ledger.requests if (row["method"], row["path"]) in PLACEMENTS and row["status"]
    )
    most = start = 0
    for place, moment in enumerate(moments):
        while moment - moments[start] > seconds:
            start += 1
        most = max(most, place - start + 1)
    return most


def flips(ledger: Ledger) -> list[str]:
    """Return fills that turned a position round, and exits of ours that enlarged or opened one."""
    amounts: dict[tuple[str, str], Decimal] = defaultdict(lambda: ZERO)
    broken = []
    for fill in sorted(ledger.fills, key=lambda row: int(row["id"])):
        row = (fill["symbol"], fill["positionSide"])
        before = amounts[row]
        after = amounts[row] = before + signed(fill)
        client_id = str(fill["clientOrderId"])
        enlarged = abs(after) > abs(before)
        is_exit = client_id.startswith("es1-") and not client_id.startswith("es1-e")
        if before * after < 0 or (enlarged and is_exit):
            broken.append(f"{fill['symbol']} {before} -> {after} by {client_id}")
    return broken
