"""Every rule of the guard with the last value that passes and the first that refuses: a test runs it, a page shows it.

`python -m tests.support.risk_rules > docs/risk-rules.md`
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from execution.domain import policy as keys
from execution.domain.candles import Candle
from execution.domain.distances import Distance, Measure
from execution.domain.exit_orders import judge_room
from execution.domain.limits import LimitUsage, OrderImpact, judge_limits
from execution.domain.liquidation import MarginBracket
from execution.domain.policy import Policy
from execution.domain.quote_index import quote_index
from execution.domain.risk_review import AtrTerms, Proposal, RuleVerdict
from execution.domain.safety import judge
from execution.domain.trading import Direction, OrderType, SymbolLists, TimeInForce
from execution.domain.true_range import judge_candles
from tests.unit.examples import BTCUSDT, levels, quote

D = Decimal
Run = Callable[[str], tuple[RuleVerdict, ...]]
LONG_AT_50000 = Proposal(
    symbol="BTCUSDT",
    direction=Direction.LONG,
    order_type=OrderType.MARKET,
    notional_usd=None,
    base_quantity=D("0.002"),
    limit_price=None,
    expected_price=D(50000),
    leverage=5,
    stop_price=D(48750),
    target_price=D(53000),
    confidence=D("0.85"),
)
IDLE = LimitUsage(
    positions=0,
    exposure=D(0),
    symbol_exposure=D(0),
    open_risk=D(0),
    entries_last_minute=0,
    day_result=D(0),
    day_peak=D(0),
    open_loss=D(0),
)
# What is counted is not an amount.
KINDS: Mapping[str, Callable[[str], Any]] = {
    "positions": int,
    "entries_last_minute": int,
    "held_by": str,
    "unsettled": str,
    "unpriced": str,
}
# 100 USD of notional, 2.50 USD to the stop.
STAKE = OrderImpact.of("BTCUSDT", quantity=D("0.002"), price=D(50000), stop_price=D(48750))


@dataclass(frozen=True, kw_only=True)
class Boundary:
    """One rule at its edge; `varies` is what the two values are of, and under which settings."""

    rule: str
    varies: str
    passes: str
    refuses: str
    run: Run

    def verdict(self, value: str) -> RuleVerdict:
        """Return the rule's verdict on a value; fails when the rule has not spoken once."""
        [found] = [each for each in self.run(value) if each.rule == self.rule]
        return found


def policy(values: Mapping[str, str] | None = None) -> Policy:
    return Policy(values={key: D(value) for key, value in (values or {}).items()}, version=1)


def _asked(name: str, values: Mapping[str, str] | None = None, **fixed: Any) -> Run:
    """Vary one field of the proposal."""

    def run(value: str) -> tuple[RuleVerdict, ...]:
        varied: Any = int(value) if name == "leverage" else None if value == "none" else D(value)
        proposal = replace(LONG_AT_50000, **(fixed | {name: varied}))
        return judge(proposal, quote=quote(), rules=BTCUSDT, policy=policy(values)).rules

    return run


def _book(leverage: int = 5, *, mark: bool = False) -> Run:
    """Vary the best ask, or the mark price."""

    def run(value: str) -> tuple[RuleVerdict, ...]:
        book = quote(mark=value) if mark else quote(ask=value)
        return judge(replace(LONG_AT_50000, leverage=leverage), quote=book, rules=BTCUSDT, policy=policy()).rules

    return run


def _deep(*asks: str, planned: Decimal | None = LONG_AT_50000.expected_price) -> Run:
    """Vary the quantity that takes from a book of several levels."""

    def run(value: str) -> tuple[RuleVerdict, ...]:
        proposal = replace(LONG_AT_50000, base_quantity=D(value), expected_price=planned)
        return judge(proposal, quote=replace(quote(), asks=levels(*asks)), rules=BTCUSDT, policy=policy()).rules

    return run


def _limit(**fixed: Any) -> Run:
    return _asked("limit_price", order_type=OrderType.LIMIT, **fixed)


def _status(value: str) -> tuple[RuleVerdict, ...]:
    rules = replace(BTCUSDT, trading=value == "TRADING")
    return judge(LONG_AT_50000, quote=quote(), rules=rules, policy=policy()).rules


def _allowed(value: str) -> tuple[RuleVerdict, ...]:
    lists = SymbolLists(allowed=frozenset({value}))
    return judge(LONG_AT_50000, quote=quote(), rules=BTCUSDT, policy=policy(), lists=lists).rules


def _index(value: str) -> tuple[RuleVerdict, ...]:
    """Vary the index price of a quote asset that must not be taken for a dollar."""
    rules = replace(BTCUSDT, quote_asset="USDC", margin_asset="USDC")
    index = quote_index("USDC", {"USDC": D(value)})
    return judge(LONG_AT_50000, quote=quote(), rules=rules, policy=policy(), index=index).rules


def _banded(value: str) -> tuple[RuleVerdict, ...]:
    rules = replace(BTCUSDT, percent_price_up=D("1.05"), percent_price_down=D("0.95"))
    proposal = replace(LONG_AT_50000, order_type=OrderType.LIMIT, limit_price=D(value))
    return judge(proposal, quote=quote(), rules=rules, policy=policy()).rules


def _least_notional(value: str) -> tuple[RuleVerdict, ...]:
    rules, proposal = replace(BTCUSDT, min_notional=D(100)), replace(LONG_AT_50000, base_quantity=D(value))
    return judge(proposal, quote=quote(), rules=rules, policy=policy()).rules


def _split(value: str) -> tuple[RuleVerdict, ...]:
    rules = replace(BTCUSDT, market_max_quantity=D("0.01"))
    asked = replace(LONG_AT_50000, base_quantity=D(value), order_type=OrderType.LIMIT, limit_price=D(50000))
    return judge(asked, quote=quote(), rules=rules, policy=policy()).rules


def _resting(value: str) -> tuple[RuleVerdict, ...]:
    return (judge_room(resting=int(value), needed=2, policy=policy()),)


def _equity(value: str) -> tuple[RuleVerdict, ...]:
    worth = None if value == "unknown" else D(value)
    proposal = replace(LONG_AT_50000, notional_usd=D(100), base_quantity=None)
    values = policy({keys.SIZING_MODE: "1", keys.EQUITY_FRACTION: "1"})
    return judge(proposal, quote=quote(), rules=BTCUSDT, policy=values, equity=worth).rules


def _size_by_stop(value: str) -> tuple[RuleVerdict, ...]:
    values = {keys.SIZING_MODE: "2", keys.DEFAULT_STOP: value, keys.ALLOW_NO_STOP: "1"}
    return _asked("notional_usd", values, base_quantity=None, stop_price=None)("100")


def _risked(value: str) -> tuple[RuleVerdict, ...]:
    values = {keys.SIZING_MODE: "2", keys.RISK_PER_TRADE: value}
    return _asked("notional_usd", values, base_quantity=None)("100")


def _bracketed(value: str) -> tuple[RuleVerdict, ...]:
    proposal = replace(LONG_AT_50000, leverage=10, stop_price=D(value))
    brackets = (MarginBracket(notional_cap=D(1000), rate=D("0.02"), deduction=D(0)),)
    return judge(proposal, quote=quote(), rules=BTCUSDT, policy=policy(), brackets=brackets).rules


def _no_stop(value: str) -> tuple[RuleVerdict, ...]:
    values = {keys.DEFAULT_STOP: "0", keys.ALLOW_NO_STOP: value}
    return _asked("stop_price", values)("none")


def _used(name: str, values: Mapping[str, str] | None = None) -> Run:
    """Vary what is used already."""

    def run(value: str) -> tuple[RuleVerdict, ...]:
        varied: Any = "" if value == "none" else KINDS.get(name, D)(value)
        return judge_limits(STAKE, replace(IDLE, **{name: varied}), policy(values))

    return run


def _row(rule: str, varies: str, passes: str, refuses: str, run: Run) -> Boundary:
    return Boundary(rule=rule, varies=varies, passes=passes, refuses=refuses, run=run)


def _target_in_r(value: str) -> tuple[RuleVerdict, ...]:
    """Vary the default stop's distance, from which the target's is counted."""
    values = {keys.DEFAULT_STOP: value, keys.ALLOW_NO_STOP: "1"}
    asked = {"stop_price": None, "target_distance": Distance(measure=Measure.R, amount=D(2))}
    return _asked("target_price", values, **asked)("none")


def _far_target(value: str) -> tuple[RuleVerdict, ...]:
    asked = replace(LONG_AT_50000, direction=Direction.SHORT, expected_price=None, stop_price=None, target_price=None)
    asked = replace(asked, target_distance=Distance(measure=Measure.R, amount=D(value)))
    return judge(asked, quote=quote(), rules=BTCUSDT, policy=policy({keys.DEFAULT_STOP: "0.1"})).rules


def _candles(count: int, seconds: float) -> tuple[RuleVerdict, ...]:
    """Judge so many hourly candles, this long after the newest has closed."""
    opened = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [opened + timedelta(hours=hour) for hour in range(count)]
    candles = [Candle(at=hour, open=D(50000), high=D(50100), low=D(49900), close=D(50000)) for hour in hours]
    now = opened + timedelta(hours=count, seconds=seconds)
    return (judge_candles(candles, AtrTerms(interval="1h", period=2), now=now),)


POST_ONLY: Mapping[str, Any] = {"time_in_force": TimeInForce.GTX}
FALLING_OFF = ("50000x0.1", "50400x1")
BOUNDARIES = (
    _row("quote_index", "index price of the quote asset, where that is USDC", "0.9998", "0", _index),
    _row("book", "best ask", "50000", "0", _book()),
    _row("limit_price", "limit price, where the symbol's least is 556.80", "556.8", "556.7", _limit()),
    _row("post_only", "limit of a post-only entry, best ask 50000", "49999.9", "50000", _limit(**POST_ONLY)),
    _row("symbol_trading", "status at the exchange", "TRADING", "BREAK", _status),
    _row("symbol_allowed", "the only symbol on `SYMBOLS_ALLOWED`", "BTCUSDT", "ETHUSDT", _allowed),
    _row(
        "confidence",
        "confidence, where at least 0.6 is asked for",
        "0.6",
        "0.59999999",
        _asked("confidence", {keys.MIN_CONFIDENCE: "0.6"}),
    ),
    _row("leverage", "leverage", "20", "21", _asked("leverage")),
    _row("book_depth", "quantity, where the book holds 0.5", "0.5", "0.501", _deep("50000x0.4", "50000.1x0.1")),
    _row("slippage", "best ask, where 50000 was planned", "50251.2", "50251.3", _book()),
    _row("slippage", "the same above 10x", "50125.3", "50125.4", _book(11)),
    _row("slippage", "quantity, where 0.1 is at 50000, the rest at 50400", "0.268", "0.269", _deep(*FALLING_OFF)),
    _row("slippage", "the same without a planned price", "0.268", "0.269", _deep(*FALLING_OFF, planned=None)),
    _row("mark", "mark price", "50000", "0", _book(mark=True)),
    _row("mark_collar", "best ask, where the mark price is 50000", "52500", "52500.1", _book()),
    _row("percent_price", "limit price, where the exchange takes up to 1.05 of the mark", "52500", "52500.1", _banded),
    _row("equity", "the account's worth in USD, where it decides the size", "0.01", "0", _equity),
    _row("equity", "the same", "0.01", "unknown", _equity),
    _row("stop_to_size_by", "default stop distance, where the stop decides the size", "0.025", "0", _size_by_stop),
    _row("min_quantity", "quantity asked for", "0.001", "0.0009", _asked("base_quantity")),
    _row("min_quantity", "USD to lose at the stop at 48750, by which it is sized", "1.348101", "1.348100", _risked),
    _row("max_quantity", "quantity asked for at market", "120", "120.001", _asked("base_quantity")),
    _row("exit_orders", "LIMIT quantity, where an exit is 0.01 at most and 40 may be needed", "0.2", "0.201", _split),
    _row("exit_orders_room", "our conditional orders at the account, two more needed", "198", "199", _resting),
    _row("min_notional", "quantity, where at least 100 USD are asked for", "0.002", "0.001", _least_notional),
    _row("max_notional", "quantity at 50000", "0.2", "0.201", _asked("base_quantity")),
    _row("stop_side", "stop of a long at 50000", "50050", "50050.1", _asked("stop_price")),
    _row("stop_required", "`execution.allow_no_stop`, where there is no stop", "1", "0", _no_stop),
    _row("stop_max_distance", "stop of a long at 50000", "45000", "44999.9", _asked("stop_price")),
    _row("stop_before_liquidation", "the same at 10x", "45226.2", "45226.1", _asked("stop_price", leverage=10)),
    _row("stop_before_liquidation", "the same, where the exchange asks for 2 %", "45918.4", "45918.3", _bracketed),
    _row("target_side", "target of a long at 50000", "49950", "49949.9", _asked("target_price")),
    _row("trailing_range", "trailing distance in percent", "20", "20.1", _asked("callback_percent")),
    _row("target_in_r", "default stop distance, where the target is asked for in R", "0.025", "0", _target_in_r),
    _row("target_price", "target of a short in R, with its stop 10 % away", "9.99", "10", _far_target),
    _row("atr", "closed candles, where the ATR's period is 2", "3", "2", lambda value: _candles(int(value), 0)),
    _row(
        "atr",
        "seconds since the newest hourly candle has closed",
        "3630",
        "3631",
        lambda value: _candles(3, float(value)),
    ),
    _row("no_unsettled_entry", "whose entry in the symbol is unknown", "none", "another", _used("unsettled")),
    _row(
        "look_alike",
        "seconds since the same decision, window 30",
        "30",
        "29.999",
        _used("look_alike_age", {keys.LOOK_ALIKE_WINDOW: "30"}),
    ),
    _row("one_open_trade", "who holds symbol and side", "none", "another", _used("held_by")),
    _row(
        "stop_out_pause",
        "seconds since the symbol's stop, pause 300",
        "300",
        "299.999",
        _used("stopped_out_age", {keys.STOP_OUT_PAUSE: "300"}),
    ),
    _row("usage_in_usd", "symbols whose quote asset nothing has priced", "none", "ETHBTC", _used("unpriced")),
    _row("max_positions", "other positions", "29", "30", _used("positions")),
    _row("symbol_exposure", "USD open in the symbol, 100 more asked", "999900", "999900.01", _used("symbol_exposure")),
    _row("total_exposure", "USD open in all, 100 more asked", "9999900", "9999900.01", _used("exposure")),
    _row("entry_rate", "entries of the last minute", "1199", "1200", _used("entries_last_minute")),
    _row(
        "open_risk",
        "the other stops' risk, where all may lose 100 and 2.50 are at stake",
        "97.5",
        "97.51",
        _used("open_risk", {keys.MAX_OPEN_RISK: "100"}),
    ),
    _row(
        "daily_loss",
        "the day's result, where 100 may be lost and 2.50 are at stake",
        "-97.5",
        "-97.51",
        _used("day_result", {keys.MAX_DAILY_LOSS: "100"}),
    ),
    _row(
        "daily_loss",
        "the other stops' risk under the same limit",
        "97.5",
        "97.51",
        _used("open_risk", {keys.MAX_DAILY_LOSS: "100"}),
    ),
    _row(
        "daily_drawdown",
        "the day's result, where it may fall by 100",
        "-100",
        "-100.01",
        _used("day_result", {keys.MAX_DAILY_DRAWDOWN: "100"}),
    ),
)


def page() -> str:
    """Return docs/risk-rules.md."""
    head = """# Risk rules at their edges

Each rule of the guard with the last value that passes, the first that refuses, and the sentence of the refusal. Where
nothing else is named the policy has its defaults ([configuration](configuration.md)); the entry is a market order of
0.002 BTC, long at 50000, at 5x. Written by `python -m tests.support.risk_rules > docs/risk-rules.md` from the table
that a test runs, and that test holds this page equal to it.

| rule | value of | passes | refuses | sentence of the refusal |
| --- | --- | --- | --- | --- |
"""
    lines = []
    for each in BOUNDARIES:
        refused = each.verdict(each.refuses)
        sentence = f"`{refused.refusal}: {refused.numbers}`"
        lines.append(f"| `{each.rule}` | {each.varies} | {each.passes} | {each.refuses} | {sentence} |\n")
    return head + "".join(lines)


if __name__ == "__main__":
    sys.stdout.write(page())
