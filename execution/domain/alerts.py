"""Reads what an alert asks for: its verb, by its words and by the position of its strategy."""

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from execution.domain.trading import Direction


class AlertVerb(StrEnum):
    """What an alert asks for. LONG and SHORT open a position."""

    LONG = "long"
    SHORT = "short"
    INCREASE = "increase"
    REDUCE = "reduce"
    CLOSE = "close"
    REVERSE = "reverse"
    CANCEL = "cancel"

    @property
    def opens(self) -> bool:
        return self in {AlertVerb.LONG, AlertVerb.SHORT}


FLAT = "flat"
_LONG, _SHORT = Direction.LONG, Direction.SHORT
# The words of alerts, in small letters with underscores, and the side that they name.
WORDS: dict[str, tuple[AlertVerb, Direction | None]] = {
    **dict.fromkeys(("buy", "long", "enter_long", "open_long", "buy_long", "bullish"), (AlertVerb.LONG, _LONG)),
    **dict.fromkeys(("sell", "short", "enter_short", "open_short", "sell_short", "bearish"), (AlertVerb.SHORT, _SHORT)),
    **dict.fromkeys(("close", "exit", "flat", "flatten", "close_all", "close_position"), (AlertVerb.CLOSE, None)),
    **dict.fromkeys(("exit_position", "close_at_market_price", "exit_all"), (AlertVerb.CLOSE, None)),
    **dict.fromkeys(("exit_long", "close_long", "sell_to_close", "sell_to_cover"), (AlertVerb.CLOSE, _LONG)),
    **dict.fromkeys(("exit_short", "close_short", "buy_to_close", "buy_to_cover"), (AlertVerb.CLOSE, _SHORT)),
    **dict.fromkeys(("reduce", "partial_close", "scale_out", "decrease", "trim"), (AlertVerb.REDUCE, None)),
    "reduce_long": (AlertVerb.REDUCE, _LONG),
    "reduce_short": (AlertVerb.REDUCE, _SHORT),
    **dict.fromkeys(("reverse", "flip"), (AlertVerb.REVERSE, None)),
    "reverse_long": (AlertVerb.REVERSE, _LONG),
    "reverse_short": (AlertVerb.REVERSE, _SHORT),
    **dict.fromkeys(("increase", "add", "scale_in"), (AlertVerb.INCREASE, None)),
    **dict.fromkeys(("cancel", "cancel_order", "cancel_orders"), (AlertVerb.CANCEL, None)),
}
# The words for a position, after an order or before it.
POSITIONS = {
    **dict.fromkeys(("long", "bullish"), _LONG),
    **dict.fromkeys(("short", "bearish"), _SHORT),
    **dict.fromkeys((FLAT, "neutral", "none"), None),
}
# In what `{{interval}}` writes: minutes as a number alone, else a number with a unit.
INTERVAL = re.compile(r"(\d{1,4})?([SHDWM]?)", re.IGNORECASE)
UNITS = {
    "": timedelta(minutes=1),
    "S": timedelta(seconds=1),
    "H": timedelta(hours=1),
    "D": timedelta(days=1),
    "W": timedelta(weeks=1),
    "M": timedelta(days=30),
}


class AlertWordError(ValueError):
    """Words of an alert that mean nothing, or contradict each other. `field` names the one at fault."""

    def __init__(self, field_name: str, rule: str) -> None:
        super().__init__(f"{field_name}: {rule}")
        self.field = field_name


@dataclass(frozen=True, kw_only=True)
class Intent:
    """A verb with the side of the position that it is about: that which is opened, or that which is open."""

    verb: AlertVerb
    side: Direction | None


@dataclass(kw_only=True)
class AlertDraft:
    """An alert in our words, before the webhook's own rules.

    `fields` are those of an order; what no grammar reads is among them, so that the intake judges it. `bar_time` is the
    beginning of the bar.
    """

    grammar: str
    intent: Intent
    symbol: object
    fields: dict[str, object]
    alert_id: str = ""
    alert_time: datetime | None = None
    bar_time: datetime | None = None
    interval: timedelta | None = None
    max_lag_seconds: int | None = None
    notes: dict[str, object] = field(default_factory=dict)

    @property
    def moment(self) -> datetime | None:
        """Return when the alert was given: its own time, else the end of its bar, else the bar's beginning."""
        if self.alert_time or self.bar_time is None:
            return self.alert_time
        return self.bar_time + (self.interval or timedelta(0))


def intent_of(name: str, word: object) -> Intent:
    """Return what a word asks for.

    Raises:
        AlertWordError: it is no known word.

    """
    found = WORDS.get(spelt(word))
    if found is None:
        raise AlertWordError(name, f"must be one of {', '.join(sorted(WORDS))}")
    verb, side = found
    return Intent(verb=verb, side=side)


def position_of(name: str, word: object) -> Direction | None:
    """Return the side of a position, None when it is flat.

    Raises:
        AlertWordError: it is no known word.

    """
    key = spelt(word)
    if key not in POSITIONS:
        raise AlertWordError(name, f"must be one of {', '.join(sorted(POSITIONS))}")
    return POSITIONS[key]


def intent_of_strategy(
    action: Intent, now: Direction | None, before: Direction | None, *, before_known: bool
) -> Intent:
    """Return what a strategy's order means, by the positions of the strategy after it and before it.

    A `sell` that ends a long is a close, and never a short. Without a position before, an order against the position
    after it can only have made that smaller.

    Raises:
        AlertWordError: the order cannot have led from one position to the other.

    """
    if not action.verb.opens:
        return action
    if now is None:
        if before_known and before is action.side:
            raise AlertWordError("action", f"{action.verb} does not close a {before}")
        return Intent(verb=AlertVerb.CLOSE, side=before if before_known else _other(action.side))
    if before_known and before is not now:
        if action.side is not now:
            raise AlertWordError("action", f"{action.verb} does not lead to a position that is {now.lower()}")
        return Intent(verb=action.verb if before is None else AlertVerb.REVERSE, side=now)
    if action.side is not now:
        return Intent(verb=AlertVerb.REDUCE, side=now)
    return Intent(verb=AlertVerb.INCREASE if before_known else action.verb, side=now)


def interval_of(text: str) -> timedelta | None:
    """Return the length of a bar as charts write it (`5`, `240`, `30S`, `4H`, `1D`), None for other texts."""
    match = INTERVAL.fullmatch(text.strip())
    if match is None or not (match[1] or match[2]):
        return None
    return int(match[1] or 1) * UNITS[match[2].upper()]


def spelt(word: object) -> str:
    """Return a word in small letters with underscores: `Enter Long` and `enter-long` are `enter_long`."""
    return re.sub(r"[\s_-]+", "_", word.strip().casefold()) if isinstance(word, str) else ""


def _other(side: Direction | None) -> Direction | None:
    return None if side is None else _SHORT if side is _LONG else _LONG
