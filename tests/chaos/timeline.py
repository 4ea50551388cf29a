"""What happened at the exchange, second by second, told from its ledger: positions, cover, bursts of orders."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.support.ledger import ALGO_ORDER, ORDER, Ledger

Row = dict[str, Any]
ZERO = Decimal(0)
PLACEMENTS = frozenset({("POST", ORDER), ("POST", ALGO_ORDER)})


@dataclass(frozen=True, kw_only=True)
class Held:
    """A position between two fills; `end` is None when it is held still."""

    symbol: str
    amount: Decimal
    start: int
    end: int | None


def positions(ledger: Ledger) -> Iterator[Held]:
    """Yield every position held, each amount for itself, in milliseconds of the exchange."""
    fills: dict[str, list[Row]] = defaultdict(list)
    for fill in sorted(ledger.fills, key=lambda row: int(row["id"])):
        fills[fill["symbol"]].append(fill)
    for symbol, rows in fills.items():
        amount = ZERO
        for fill, following in zip(rows, [*rows[1:], None], strict=True):
            amount += signed(fill)
            if amount:
                end = int(following["time"]) if following else None
                yield Held(symbol=symbol, amount=amount, start=int(fill["time"]), end=end)


def signed(fill: Row) -> Decimal:
    quantity = Decimal(fill["qty"])
    return quantity if fill["buyer"] else -quantity


def longest_naked_seconds(ledger: Ledger, *, now_ms: int, ignored: frozenset[str] = frozenset()) -> float:
    """Return the longest time that any position was without a stop over its full size."""
    stops: dict[str, list[Row]] = defaultdict(list)
    for algo in ledger.algo_orders:
        if algo["orderType"] in {"STOP_MARKET", "TRAILING_STOP_MARKET"}:
            stops[algo["symbol"]].append(algo)
    naked: dict[str, int] = defaultdict(int)
    worst = 0
    for held in positions(ledger):
        if held.symbol in ignored:
            continue
        for start, end in gaps(held, stops[held.symbol], now_ms):
            # A gap that goes on over a fill is one gap.
            joined = naked[held.symbol] + (end - start) if start == held.start else end - start
            worst = max(worst, joined)
            naked[held.symbol] = joined if end == held.end else 0
    return worst / 1000


def gaps(held: Held, stops: Sequence[Row], now_ms: int) -> list[tuple[int, int]]:
    """Return the stretches of a held position in which no stop covered all of it."""
    end_of_hold = now_ms if held.end is None else held.end
    found, at = [], held.start
    for begin, end in sorted((_cover(stop) for stop in stops if _covers(stop, held)), key=lambda cover: cover[0]):
        if begin > at:
            found.append((at, min(begin, end_of_hold)))
        at = max(at, end_of_hold if end is None else end)
        if at >= end_of_hold:
            break
    if at < end_of_hold:
        found.append((at, end_of_hold))
    return [(start, end) for start, end in found if end > start]


def _covers(stop: Row, held: Held) -> bool:
    side = "SELL" if held.amount > 0 else "BUY"
    whole = stop["closePosition"] or Decimal(stop["quantity"]) >= abs(held.amount)
    return bool(stop["side"] == side and whole and (held.end is None or int(stop["createTime"]) < held.end))


def _cover(stop: Row) -> tuple[int, int | None]:
    # A stop that has triggered is an order on its way: it covers until the fill that it makes.
    ended = None if stop["algoStatus"] == "NEW" else int(stop["updateTime"])
    return int(stop["createTime"]), ended


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
