"""Rate limits in calendar windows: weight per address, orders per account, bans for repeated breaches."""

from dataclasses import dataclass, field
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.errors import ExchangeError, refuse

MINUTE_MS: Final = 60_000
TEN_SECONDS_MS: Final = 10_000
WEIGHT_LIMIT: Final = 2400
ORDERS_10S: Final = 300
# Calls of fundingRate and fundingInfo together, which cost no weight.
FUNDING_LIMIT: Final = 500
FIVE_MINUTES_MS: Final = 300_000
ORDERS_1M: Final = 1200
# How many refused calls in one minute lead to a ban, and how long the first one lasts.
ABUSE_LIMIT: Final = 100
FIRST_BAN_MS: Final = 120_000


class LimitError(ExchangeError):
    """A refusal by a rate limit, with the seconds to wait."""

    def __init__(self, cause: ExchangeError, retry_after_s: int, status: int) -> None:
        super().__init__(cause.code, cause.msg, status)
        self.retry_after_s = retry_after_s


@dataclass(slots=True)
class Window:
    """A counter that starts again with each calendar slot of its length."""

    length_ms: int
    slot: int = -1
    count: int = 0

    def add(self, amount: int, now: int) -> int:
        slot = now // self.length_ms
        if slot != self.slot:
            self.slot, self.count = slot, 0
        self.count += amount
        return self.count

    def seconds_left(self, now: int) -> int:
        return (self.length_ms - now % self.length_ms + 999) // 1000


@dataclass(slots=True)
class Caller:
    """What one address has used."""

    weight: Window = field(default_factory=lambda: Window(MINUTE_MS))
    funding: Window = field(default_factory=lambda: Window(FIVE_MINUTES_MS))
    refused: Window = field(default_factory=lambda: Window(MINUTE_MS))
    banned_until: int = 0
    bans: int = 0


@dataclass(slots=True)
class OrderCounters:
    """What one account has sent."""

    ten_seconds: Window = field(default_factory=lambda: Window(TEN_SECONDS_MS))
    minute: Window = field(default_factory=lambda: Window(MINUTE_MS))


class Limits:
    """Counts always, refuses only when enforced."""

    def __init__(self, *, enforced: bool) -> None:
        self.enforced = enforced
        self._callers: dict[str, Caller] = {}
        self._orders: dict[str, OrderCounters] = {}

    def reset(self) -> None:
        """Forget what everybody has used, and all bans."""
        self._callers.clear()
        self._orders.clear()

    def use_weight(self, address: str, weight: int, now: int) -> int:
        """Count a call and return the weight used in this minute. Raise when it is too much."""
        caller = self._callers.setdefault(address, Caller())
        if self.enforced and now < caller.banned_until:
            raise self._ban_error(caller, now)
        used = caller.weight.add(weight, now)
        if self.enforced and used > WEIGHT_LIMIT:
            raise self._weight_error(caller, now)
        return used

    def use_funding(self, address: str, now: int) -> None:
        """Count a call for funding rates in its own pool. Raise when there were too many."""
        window = self._callers.setdefault(address, Caller()).funding
        if window.add(1, now) > FUNDING_LIMIT and self.enforced:
            text = refuse(-1003, limit=FUNDING_LIMIT).msg.replace("per minute", "per 5 minutes")
            raise LimitError(ExchangeError(-1003, text), window.seconds_left(now), 429)

    def use_orders(self, account: Account, ten_seconds: int, minute: int, now: int) -> tuple[int, int]:
        """Count orders and return both counters. Raise when one is above its limit."""
        counters = self._orders.setdefault(account.key, OrderCounters())
        short, long = counters.ten_seconds.add(ten_seconds, now), counters.minute.add(minute, now)
        if self.enforced and short > ORDERS_10S:
            wait = counters.ten_seconds.seconds_left(now)
            raise LimitError(refuse(-1015, limit=ORDERS_10S, interval="10 SECOND"), wait, 429)
        if self.enforced and long > ORDERS_1M:
            wait = counters.minute.seconds_left(now)
            raise LimitError(refuse(-1015, limit=ORDERS_1M, interval="1 MINUTE"), wait, 429)
        return short, long

    def _weight_error(self, caller: Caller, now: int) -> LimitError:
        if caller.refused.add(1, now) > ABUSE_LIMIT:
            caller.banned_until = now + FIRST_BAN_MS * 2**caller.bans
            caller.bans += 1
            return self._ban_error(caller, now)
        return LimitError(refuse(-1003, limit=WEIGHT_LIMIT), caller.weight.seconds_left(now), 429)

    @staticmethod
    def _ban_error(caller: Caller, now: int) -> LimitError:
        text = (
            f"Way too many requests; IP banned until {caller.banned_until}. "
            "Please use the websocket for live updates to avoid bans."
        )
        return LimitError(ExchangeError(-1003, text), (caller.banned_until - now + 999) // 1000, 418)
