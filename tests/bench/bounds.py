"""What the benchmark demands, as data: each figure's bound and why it is there."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Bound:
    """The limit of one figure: of its measured value, or of its ratio to the floor of the same run."""

    of: Literal["value", "ratio"]
    most: float | None = None
    least: float | None = None
    reason: str

    def holds(self, number: float) -> bool:
        return (self.most is None or number <= self.most) and (self.least is None or number >= self.least)

    def __str__(self) -> str:
        sign, limit = ("<=", self.most) if self.most is not None else (">=", self.least)
        return f"{sign} {limit:g}{'x' if self.of == 'ratio' else ''}"


P50 = Bound(
    of="ratio", most=12, reason="four Celery hops, each row committed before its call: the median of a quiet machine"
)
P99 = Bound(of="ratio", most=25, reason="the tail stays within twice the median: no polling, no reconnecting")
SUSTAINED = Bound(of="value", least=80, reason="on 2 cores with durable commits a burst must not outlive its signals")
NONE_LOST = Bound(of="value", most=0, reason="every decision of the load is valid, so every one must become a trade")
ORDER_RATE = Bound(of="value", least=1_000, reason="tests and backtests of many accounts share one process on one core")
ORDER_P99 = Bound(of="value", most=5, reason="paper trading must not feel slower than the network to the real exchange")
FLAT_COST = Bound(of="ratio", most=1.2, reason="an exchange that runs for weeks must not slow down with its own past")
NOTHING_MISSING = Bound(of="value", most=0, reason="every answered order is recorded, every symbol subscribed is heard")
ALL_USED = Bound(of="value", least=95, reason="a limiter that wastes the limit is a slower exchange")
NO_BAN = Bound(of="value", most=0, reason="who goes on after a 429 is banned, and then cannot close either")
NO_DELAY = Bound(of="value", most=250, reason="a position waits naked for its stop meanwhile")
CHEAP = Bound(of="value", most=0.5, reason="every request pays for it twice")
NEAR_IDEAL = Bound(of="ratio", most=1.05, reason="300 at 0, 10 and 20 s and 100 at 30 s is what the exchange allows")
STREAM_COVER = Bound(of="value", most=100, reason="event, task and row are all that stands between fill and stop")
POLLED_COVER = Bound(of="value", most=12_000, reason="one cycle of 10 s, and 2 s for the repair")
KILLED_COVER = Bound(of="value", most=15_000, reason="a restart and the first cycle; the exchange protects nobody else")
SOON = Bound(of="value", most=250, reason="what leaves later was sent by somebody who had been told not to")
FLAT = Bound(of="value", most=10, reason="a price moves for as long as a position is open that somebody wants closed")
FLAT_RATIO = Bound(of="ratio", most=4, reason="a close costs us rows and looks beside its order, several at a time")
BOOKS = Bound(of="value", most=20, reason="nobody knows the result of a flatten, or has its symbols back, until then")
FEW_CALLS = Bound(of="value", most=5, reason="a fact of a closed trade is read once, and most are told by the stream")
LEGS_TOLD = Bound(
    of="value", most=1_000, reason="a leg beside a flat symbol keeps it, and would reduce what comes next"
)
LEGS_POLLED = Bound(
    of="value", most=12_000, reason="what a person closes reaches no level of ours: the next cycle finds it"
)
AT_ONCE = Bound(of="value", most=50, reason="an entry asks for it right before it leaves: the wire alone is late")
NONE_AFTER = Bound(of="value", most=0, reason="a no that lets one pass now and then is none")
IN_FLIGHT = Bound(of="value", least=100, reason="with nothing on its way every stop is quick")
WORDS = ("a trip", "a change of policy", "the kill switch")
LATENCIES = ("at 50 ms", "at 5 ms")
UNNOTICED = Bound(of="ratio", most=1.1, reason="a page that only shows must not slow what trades")
BULK = Bound(
    of="ratio", most=1, reason="both sides are read in bulk: what grows with the positions is out of room one day"
)
ALERT = Bound(of="value", most=100, reason="who sends alerts gives up after seconds, whatever the exchange does")
CYCLE = Bound(of="value", most=2_000, reason="a fifth of the period, so that cover waits for no other position")
POSITIONS = ("50 open", "500 open")
LIMITER_RUNS = ("1 process", "2 processes", "4 processes", "8 processes")

BOUNDS = {
    "decision to entry, p50 at 1/s": P50,
    "decision to entry, p99 at 1/s": P99,
    "decision to entry, p50 at 20/s": P50,
    "decision to entry, p99 at 20/s": P99,
    "decisions without a trade at 1/s": NONE_LOST,
    "decisions without a trade at 20/s": NONE_LOST,
    "decisions at the exchange per second": SUSTAINED,
    "decisions without a trade in a burst": NONE_LOST,
    "decision to entry, p50 with 20 viewers": UNNOTICED,
    "viewers without a board": NOTHING_MISSING,
    "decisions without a trade": NONE_LOST,
    "signed orders per second": ORDER_RATE,
    "placement, p99 at 300/s, best of 3 rounds": ORDER_P99,
    "an order after 100000 others": FLAT_COST,
    "symbols without a message": NOTHING_MISSING,
    "orders answered but not recorded": NOTHING_MISSING,
    "a turn asked for, p50": CHEAP,
    "an answer told, p50": CHEAP,
    "a burst of 1,000 orders": NEAR_IDEAL,
    **{f"beyond a round trip, stream up, p99 {where}, best of 3": STREAM_COVER for where in LATENCIES},
    **{f"fill to stop, stream silent, p99 {where}": POLLED_COVER for where in LATENCIES},
    **{f"fill to stop, 48 at once, stream silent, p99 {where}": POLLED_COVER for where in LATENCIES},
    **{f"fill to stop, all workers killed, p99 {where}": KILLED_COVER for where in LATENCIES},
    **{f"exchange calls a cycle, {size}": BULK for size in POSITIONS},
    **{f"queries a cycle, {size}": BULK for size in POSITIONS},
    **{f"cycle, p50, {size}": CYCLE for size in POSITIONS},
    **{f"positions without a stop, {size}": NOTHING_MISSING for size in POSITIONS},
    **{f"last entry after {word}, worst": SOON for word in WORDS},
    **{f"entries later than that, {word}": NONE_AFTER for word in WORDS},
    "last entry after the kill switch was engaged, worst": AT_ONCE,
    "alert to answer, exchange hangs, p99": ALERT,
    "alerts answered and not stored": NOTHING_MISSING,
    "flatten to the last close, 100 positions": FLAT,
    "flatten to the last close against bare orders": FLAT_RATIO,
    "flatten to the last book and leg": BOOKS,
    "weight of a flatten's books, each trade": FEW_CALLS,
    "legs outlive their position, stream up, p99": LEGS_TOLD,
    "legs outlive their position, stream silent, p99": LEGS_POLLED,
    "closes of a flatten beyond one a position": NONE_AFTER,
    "closes of a flatten refused": NONE_AFTER,
    **{f"decisions in flight, {word}, fewest": IN_FLIGHT for word in WORDS},
    **{f"decisions without their reason, {word}": NOTHING_MISSING for word in WORDS},
    **{f"order limit used, {run}": ALL_USED for run in LIMITER_RUNS},
    **{f"weight limit used, {run}": ALL_USED for run in LIMITER_RUNS},
    **{f"answers 429 or 418, {run}": NO_BAN for run in (*LIMITER_RUNS, "burst")},
    **{f"longest wait of protection, {run}": NO_DELAY for run in (*LIMITER_RUNS, "burst")},
}
