"""Whether a live stop still protects: it does not once its price was passed without a fill.

Protector and reconciliation both ask here, so that they cannot disagree. The status of the order is no answer: an
exchange may leave a stop NEW, TRIGGERING or TRIGGERED while its position stays open. Source: NautilusTrader discussion
#5378, a reduce-only STOP_MARKET that hung in TRIGGERING for a day. Pure.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from execution.domain import policy as keys
from execution.domain.clocks import age_of
from execution.domain.money import ONE, plain
from execution.domain.policy import Policy
from execution.domain.trading import Side

PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class OverdueRule:
    """How far and for how long the mark price may be past a stop.

    The distance is in ticks or a fraction of its price, the larger.
    """

    ticks: Decimal
    fraction: Decimal
    patience: timedelta

    @classmethod
    def of(cls, policy: Policy) -> "OverdueRule":
        return cls(
            ticks=policy[keys.STOP_OVERDUE_TICKS],
            fraction=policy[keys.STOP_OVERDUE_FRACTION],
            patience=timedelta(seconds=float(policy[keys.STOP_OVERDUE_SECONDS])),
        )

    def margin(self, level: Decimal, tick: Decimal) -> Decimal:
        """Return how far beyond its price, in the quote asset, the mark price may be."""
        return max(self.ticks * tick, self.fraction * level)


@dataclass(frozen=True, kw_only=True)
class LiveStop:
    """A stop or trailing stop that lives at the exchange.

    `side`: of the order, so SELL protects a long. `level`: where it triggers, or a trailing one begins to follow (None:
    at once). `triggered`: its condition has been met, whatever became of it. `best_mark`: of a trailing one, the best
    mark price seen since it rests. `passed_since`: since when it is seen passed, or triggered.
    """

    side: Side
    level: Decimal | None
    tick: Decimal
    triggered: bool = False
    callback_percent: Decimal | None = None
    best_mark: Decimal | None = None
    passed_since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is to be remembered of a stop after a reading.

    `due_at`: when it becomes overdue unless it executes.
    """

    best_mark: Decimal | None = None
    passed_since: datetime | None = None
    due_at: datetime | None = None
    overdue: bool = False


def watch(stop: LiveStop, mark: Decimal | None, rule: OverdueRule, *, now: datetime) -> Watch:
    """Compare a stop with the mark price, which is None when it was not read."""
    best = _best(stop, mark)
    if not (stop.triggered or _is_passed(stop, mark, best, rule)):
        # Without a reading nothing has come back.
        since = stop.passed_since if mark is None else None
    else:
        since = stop.passed_since or now
    if since is None:
        return Watch(best_mark=best)
    overdue = age_of(since, now) >= rule.patience
    return Watch(best_mark=best, passed_since=since, due_at=since + rule.patience, overdue=overdue)


def soonest(watches: Iterable[Watch], now: datetime) -> timedelta | None:
    """Return in what time the next stop becomes overdue, or None when none is about to."""
    waiting = [each.due_at - now for each in watches if each.due_at and not each.overdue]
    return max(timedelta(0), min(waiting)) if waiting else None


def trigger_level(stop: LiveStop, best: Decimal | None) -> Decimal | None:
    """Return the price at which a stop is to execute, or None for a trailing one that does not follow yet.

    The exchange may have seen a better price than we have, so its own level of a trailing stop is never less tight.
    """
    if stop.callback_percent is None:
        return stop.level
    if best is None:
        return None
    if stop.level is not None and (best < stop.level if stop.side is Side.SELL else best > stop.level):
        return None
    back = stop.callback_percent / PERCENT
    return best * (ONE - back if stop.side is Side.SELL else ONE + back)


def sentence(client_order_id: str, level: Decimal | None, since: datetime | None) -> str:
    """Return the line in health about an overdue stop.

    A trailing stop that followed at once has no level to name.
    """
    at = plain(level) if level is not None else "trailing"
    return f"STOP_OVERDUE order={client_order_id} level={at} since={since.isoformat() if since else 'unknown'}"


def _is_passed(stop: LiveStop, mark: Decimal | None, best: Decimal | None, rule: OverdueRule) -> bool:
    level = trigger_level(stop, best)
    if mark is None or level is None:
        return False
    beyond = level - mark if stop.side is Side.SELL else mark - level
    margin = rule.margin(level, stop.tick)
    # A stop without a margin executes at its price, not only beyond it.
    return beyond > margin or (margin == beyond == 0)


def _best(stop: LiveStop, mark: Decimal | None) -> Decimal | None:
    """Return the best mark price that a trailing stop is known to have seen."""
    if stop.callback_percent is None:
        return None
    if mark is None or stop.best_mark is None:
        return mark if stop.best_mark is None else stop.best_mark
    return max(stop.best_mark, mark) if stop.side is Side.SELL else min(stop.best_mark, mark)
