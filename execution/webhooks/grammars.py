"""The grammars of alerts, each read into the words of our own signals.

`GRAMMARS` is the table: how a grammar is recognised, and what reads it. The first that fits reads the alert. What a
grammar does not know it leaves among the fields, so that the intake refuses what would change the order's meaning.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from execution.domain import bounds
from execution.domain.alerts import (
    AlertDraft,
    AlertVerb,
    AlertWordError,
    Intent,
    intent_of,
    intent_of_strategy,
    interval_of,
    position_of,
    spelt,
)
from execution.domain.money import plain
from execution.domain.trading import Direction
from execution.webhooks.alert_body import field_error
from execution.webhooks.symbols import base_last

Fields = dict[str, object]
HUNDRED = Decimal(100)
# Names of an id of the alert's own.
IDS = ("id", "alert_id", "signal_id", "event_id", "request_id")
# Of a strategy: its position after the order, before it, and its size after it.
POSITION_NAMES = ("position", "previous_position", "position_size")
SENTIMENT_NAMES = ("sentiment", "previous_sentiment", "position_size")
STRATEGY_NAMES = ("market_position", "prev_market_position", "market_position_size")
LONGEST_LAG_SECONDS = 7 * 24 * 3600


class Grammar(NamedTuple):
    """One grammar: its name, how it is recognised, and what reads it."""

    name: str
    fits: Callable[[Mapping[str, object]], bool]
    read: Callable[[Fields], AlertDraft]


def read_alert(fields: Mapping[str, object]) -> AlertDraft:
    """Read an alert by the first grammar that fits.

    Raises:
        MalformedEventError: none fits, or a field breaks a rule.

    """
    left = dict(fields)
    grammar = next((each for each in GRAMMARS if each.fits(left)), None)
    if grammar is None:
        raise field_error("symbol", "or ticker is missing: this is no alert that can be read")
    try:
        draft = grammar.read(left)
    except AlertWordError as error:
        raise field_error(error.field, str(error).partition(": ")[2]) from None
    draft.grammar = grammar.name
    return draft


def _read_own(fields: Fields) -> AlertDraft:
    """Read our own alerts: fields of `signal.execute`, with what charts can fill in beside them."""
    draft = _begin(fields, symbol=fields.pop("symbol"))
    exchange = fields.pop("exchange", None)
    if isinstance(exchange, str) and isinstance(draft.symbol, str) and ":" not in draft.symbol:
        draft.symbol = f"{exchange}:{draft.symbol}"
    side, action = fields.pop("side", None), fields.pop("action", None)
    name, word = ("action", action) if action not in (None, "") else ("side", side)
    draft.intent = _by_strategy(fields, fields, intent_of(name, word), POSITION_NAMES)
    if action not in (None, "") and side not in (None, ""):
        draft.intent = _with_side(draft.intent, side)
    return draft


def _read_strategy_line(fields: Fields) -> AlertDraft:
    """Read the message that TradingView proposes.

    It has the strategy's new position and the order, so the position before is known.
    """
    del fields["line"]
    draft = _begin(fields, symbol=fields.pop("symbol"))
    ordered, after = _number("quantity", fields["quantity"]), _number("position_size", fields.pop("position_size"))
    action = intent_of("action", fields.pop("action"))
    before = after - (ordered if action.verb is AlertVerb.LONG else -ordered)
    draft.intent = intent_of_strategy(action, _side_of(after), _side_of(before), before_known=True)
    if draft.intent.verb is AlertVerb.REVERSE:
        fields["quantity"] = plain(abs(after))
    return draft


def _read_traderspost(fields: Fields) -> AlertDraft:
    draft = _begin(fields, symbol=fields.pop("ticker"), time_of_alert=True)
    action = intent_of("action", fields.pop("action", fields.pop("side", None)))
    draft.intent = _by_strategy(fields, fields, action, SENTIMENT_NAMES)
    reference = _price(fields, "signalPrice") or _price(fields, "price")
    kind = spelt(fields.pop("quantityType", "fixed_quantity") or "fixed_quantity")
    if kind == "percent_of_position" and draft.intent.verb is AlertVerb.REDUCE:
        fields["share"] = _percent("quantity", fields.pop("quantity", None))
    elif kind != "fixed_quantity":
        raise field_error(
            "quantityType", "must be fixed_quantity, in the base asset, or left to the webhook's size rule"
        )
    limit = _price(fields, "limitPrice")
    order_type = spelt(fields.pop("orderType", "")) or ("limit" if limit else "market")
    if order_type not in {"market", "limit"}:
        raise field_error("orderType", "must be market or limit")
    if order_type == "limit":
        fields["price"] = _required("limitPrice", limit)
    sign = 1 if draft.intent.side is Direction.LONG else -1
    stop, target = fields.pop("stopLoss", None), fields.pop("takeProfit", None)
    if stop not in (None, ""):
        fields["stop_loss"] = _level("stopLoss", stop, "stopPrice", reference, -sign)
    if target not in (None, ""):
        fields["take_profit"] = _level("takeProfit", target, "limitPrice", reference, sign)
    if extras := fields.pop("extras", None):
        draft.notes["extras"] = extras
    return draft


def _read_3commas_signal(fields: Fields) -> AlertDraft:
    """Read alerts of a signal bot."""
    exchange, symbol = fields.pop("tv_exchange", ""), fields.pop("tv_instrument", "")
    draft = _begin(fields, symbol=f"{exchange}:{symbol}" if exchange else symbol)
    fields.pop("bot_uuid", None)
    _note(draft, fields, "trigger_price", "price")
    action = intent_of("action", fields.pop("action", None))
    strategy = fields.pop("strategy_info", None)
    order = fields.pop("order", None)
    if isinstance(order, dict):
        _take_3commas_size(fields, action.verb, dict(order))
    elif order not in (None, ""):
        raise field_error("order", "must be an object")
    draft.intent = action
    if isinstance(strategy, dict):
        draft.intent = _by_strategy(fields, dict(strategy), action, STRATEGY_NAMES)
    return draft


def _take_3commas_size(fields: Fields, verb: AlertVerb, order: Fields) -> None:
    amount, kind = order.pop("amount", None), spelt(order.pop("currency_type", "base"))
    if spelt(order.get("order_type")) == "market":
        del order["order_type"]
    # What is left may change the order, so the intake sees it.
    fields.update({f"order.{name}": value for name, value in order.items()})
    if amount in (None, ""):
        return
    if kind == "base":
        fields["quantity"] = amount
    elif kind == "position_percent" and verb in {AlertVerb.REDUCE, AlertVerb.CLOSE}:
        fields["share"] = _percent("order.amount", amount)
    else:
        raise field_error("order.currency_type", "must be base, or left to the webhook's size rule")


def _read_3commas_bot(fields: Fields) -> AlertDraft:
    """Read alerts of a DCA bot. Without an action they start a deal, which is a long."""
    draft = _begin(fields, symbol=base_last(str(fields.pop("pair", ""))))
    fields.pop("bot_id", None)
    fields.pop("message_type", None)
    if _number("delay_seconds", fields.pop("delay_seconds", 0) or 0) != 0:
        raise field_error("delay_seconds", "must be 0: an alert is acted on when it comes")
    draft.intent = intent_of("action", fields.pop("action", "buy"))
    return draft


# In this order: the narrower grammar before the wider.
GRAMMARS: tuple[Grammar, ...] = (
    Grammar("3commas-signal", lambda fields: "bot_uuid" in fields or "tv_instrument" in fields, _read_3commas_signal),
    Grammar("3commas-bot", lambda fields: "bot_id" in fields and "pair" in fields, _read_3commas_bot),
    Grammar("tradingview-strategy", lambda fields: fields.get("line") == "strategy", _read_strategy_line),
    Grammar("traderspost", lambda fields: "ticker" in fields and "symbol" not in fields, _read_traderspost),
    Grammar("own", lambda fields: "symbol" in fields, _read_own),
)


def _begin(fields: Fields, *, symbol: object, time_of_alert: bool = False) -> AlertDraft:
    """Take ids, times and notes out of the fields, which all grammars may have."""
    draft = AlertDraft(grammar="", intent=Intent(verb=AlertVerb.CANCEL, side=None), symbol=symbol, fields=fields)
    ids = [str(value) for name in IDS if (value := fields.pop(name, None)) not in (None, "")]
    draft.alert_id = ids[0] if ids else ""
    draft.alert_time = _moment(fields, "timestamp") or _moment(fields, "timenow")
    draft.bar_time = _moment(fields, "bar_time")
    # What TradingView calls `time` is the beginning of the bar; TradersPost sends the time of the alert by that name.
    if time_of_alert:
        draft.alert_time = draft.alert_time or _moment(fields, "time")
    else:
        draft.bar_time = draft.bar_time or _moment(fields, "time")
    if (interval := fields.pop("interval", None)) not in (None, ""):
        draft.interval = interval_of(str(interval))
        if draft.interval is None:
            raise field_error("interval", "must be minutes as a number, or a number with S, H, D, W or M")
    if (lag := fields.pop("max_lag", None)) not in (None, ""):
        seconds = _number("max_lag", lag)
        if not 1 <= seconds <= LONGEST_LAG_SECONDS:
            raise field_error("max_lag", f"must be from 1 to {LONGEST_LAG_SECONDS} seconds")
        draft.max_lag_seconds = int(seconds)
    _note(draft, fields, "close", "comment", "order_comment")
    return draft


def _note(draft: AlertDraft, fields: Fields, *names: str) -> None:
    """Keep facts about the market or the strategy as notes: they are no part of the order."""
    draft.notes |= {name: fields.pop(name) for name in names if name in fields}


def _by_strategy(fields: Fields, strategy: Fields, action: Intent, names: tuple[str, str, str]) -> Intent:
    """Read an action by the strategy's position after it and before it, and the size after it.

    An alert may have none of them. The quantity of an order that reverses has the close in it, so that the new position
    is sized by what it is after.
    """
    now, before, size = (strategy.pop(name, None) for name in names)
    if now in (None, ""):
        return action
    before_known = before not in (None, "")
    intent = intent_of_strategy(
        action,
        position_of(names[0], now),
        position_of(names[1], before) if before_known else None,
        before_known=before_known,
    )
    if intent.verb is AlertVerb.REVERSE:
        if size in (None, ""):
            raise field_error(names[2], "is required to reverse: the quantity of such an order has the close in it")
        fields["quantity"] = plain(abs(_number(names[2], size)))
    return intent


def _with_side(intent: Intent, side: object) -> Intent:
    """Add the side that an alert names beside its action."""
    named = intent_of("side", side)
    if not named.verb.opens or (intent.side is not None and intent.side is not named.side):
        raise field_error("side", "contradicts action")
    # Beside an action that reduces, one sender means the position by buy and sell, another the order that closes it.
    if not intent.verb.opens and spelt(side) in {"buy", "sell"}:
        raise field_error("side", "must be long or short, the side of the position, beside such an action")
    return Intent(verb=intent.verb, side=named.side)


def _level(name: str, asked: object, price_name: str, reference: Decimal | None, sign: int) -> str:
    """Return a stop or target as a price: given so, or as a distance from the alert's own price."""
    if not isinstance(asked, dict):
        return plain(_number(name, asked))
    order = dict(asked)
    kind = spelt(order.pop("type", "stop") or "stop")
    if kind not in {"stop", "limit"}:
        raise field_error(f"{name}.type", "must be stop")
    price, percent, amount = (order.pop(each, None) for each in (price_name, "percent", "amount"))
    if order:
        raise field_error(f"{name}.{next(iter(order))}"[:60], "is not known")
    given = [each for each in (price, percent, amount) if each not in (None, "")]
    if len(given) != 1:
        raise field_error(name, f"must have one of {price_name}, percent, amount")
    if price not in (None, ""):
        return plain(_number(f"{name}.{price_name}", price))
    if reference is None:
        raise field_error("signalPrice", f"is required beside {name} as a distance")
    if percent not in (None, ""):
        return plain(reference * (1 + sign * _number(f"{name}.percent", percent) / HUNDRED))
    return plain(reference + sign * _number(f"{name}.amount", amount))


def _percent(name: str, value: object) -> str:
    return plain(_number(name, value) / HUNDRED)


def _price(fields: Fields, name: str) -> Decimal | None:
    value = fields.pop(name, None)
    return None if value in (None, "") else _number(name, value)


def _required(name: str, value: Decimal | None) -> str:
    if value is None:
        raise field_error(name, "is required for a limit order")
    return plain(value)


def _number(name: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise field_error(name, "must be a number")
    try:
        return bounds.number_of(repr(value) if isinstance(value, float) else str(value))
    except ValueError as error:
        raise field_error(name, str(error)) from None


def _moment(fields: Fields, name: str) -> datetime | None:
    value = fields.pop(name, None)
    if value in (None, ""):
        return None
    try:
        return bounds.moment_of(value)
    except ValueError as error:
        raise field_error(name, str(error)) from None


def _side_of(size: Decimal) -> Direction | None:
    return None if size == 0 else Direction.LONG if size > 0 else Direction.SHORT
