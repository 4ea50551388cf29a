"""docs/webhooks.md: every alert in its table is read as the table shows, and every verb's words mean what they name."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from execution.domain.alerts import WORDS, AlertVerb
from execution.models import Webhook
from execution.signals.envelope import MalformedEventError
from execution.webhooks.grammars import GRAMMARS
from execution.webhooks.intake import Signal, signal_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"
ROW = re.compile(r"^\| (?P<grammar>[\w-]+) \| `(?P<alert>.+)` \| `(?P<signal>\{.*\})` \|$", re.MULTILINE)
ROWS = [match.groupdict() for match in ROW.finditer(PAGE.read_text())]
NOW = datetime(2026, 3, 2, 11, 0, 3, tzinfo=UTC)


def webhook(**values: Any) -> Webhook:
    return Webhook(**({"name": "test", "verbs": [*AlertVerb]} | values))


def read(alert: object, content_type: str = "", **values: Any) -> Signal:
    raw = alert if isinstance(alert, str) else json.dumps(alert)
    return signal_of(webhook(**values), raw.encode(), content_type, token="hook_x", now=NOW)


def order_of(signal: Signal) -> dict[str, object]:
    """Return the signal's payload without what the webhook notes."""
    plain: dict[str, object] = json.loads(json.dumps(dict(signal.payload), default=str))
    return {name: value for name, value in plain.items() if name != "metadata"}


def refusal(alert: object, **values: Any) -> tuple[tuple[str, str], ...]:
    with pytest.raises(MalformedEventError) as caught:
        read(alert, **values)
    return caught.value.broken


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['grammar']}: {row['alert'][:60]}")
def test_each_alert_of_the_page_is_read_as_it_shows(row: dict[str, str]) -> None:
    form = "application/x-www-form-urlencoded" if "&" in row["alert"] else "text/plain; charset=utf-8"

    signal = read(row["alert"], form)

    assert (signal.grammar, order_of(signal)) == (row["grammar"], json.loads(row["signal"]))


def test_the_page_has_every_grammar() -> None:
    assert {row["grammar"] for row in ROWS} == {grammar.name for grammar in GRAMMARS}
    assert len(ROWS) == 22


@pytest.mark.parametrize("word", sorted(WORDS))
def test_a_word_that_closes_or_reduces_is_never_an_entry(word: str) -> None:
    verb, side = WORDS[word]

    signals = [read({"symbol": "BTCUSDT", "action": spelling, "quantity": 1}) for spelling in (word, word.upper())]

    for signal in signals:
        opens = signal.payload.get("action") is None
        assert (signal.verb, opens) == (verb, verb in {AlertVerb.LONG, AlertVerb.SHORT})
        assert signal.payload.get("side") == (side and side.lower())


POSITIONS = {
    # action, before, after: what it is
    ("buy", "flat", "long"): ("long", "long"),
    ("sell", "flat", "short"): ("short", "short"),
    ("sell", "long", "flat"): ("close", "long"),
    ("buy", "short", "flat"): ("close", "short"),
    ("sell", "long", "short"): ("reverse", "short"),
    ("buy", "short", "long"): ("reverse", "long"),
    ("buy", "long", "long"): ("increase", "long"),
    ("sell", "short", "short"): ("increase", "short"),
    ("sell", "long", "long"): ("reduce", "long"),
    ("buy", "short", "short"): ("reduce", "short"),
    ("sell", "", "flat"): ("close", "long"),
    ("buy", "", "flat"): ("close", "short"),
    ("buy", "", "long"): ("long", "long"),
    ("sell", "", "short"): ("short", "short"),
    ("sell", "", "long"): ("reduce", "long"),
    ("buy", "", "short"): ("reduce", "short"),
}
CONTRADICTIONS = [
    ("sell", "flat", "long"),
    ("buy", "flat", "short"),
    ("buy", "long", "flat"),
    ("sell", "short", "flat"),
    ("buy", "long", "short"),
    ("sell", "short", "long"),
]


@pytest.mark.parametrize(("action", "before", "after"), POSITIONS)
def test_positions_of_a_strategy_decide_the_verb(action: str, before: str, after: str) -> None:
    alert = {"symbol": "BTCUSDT", "action": action, "position": after, "previous_position": before, "quantity": "3"}

    signal = read(alert | {"position_size": "1"})

    verb, side = POSITIONS[(action, before, after)]
    assert (signal.verb, signal.payload["side"]) == (verb, side)
    # The quantity of an order that reverses has the close in it.
    expected = {"reverse": "1", "close": None}.get(verb, "3")
    assert signal.payload.get("quantity") == expected


@pytest.mark.parametrize(("action", "before", "after"), CONTRADICTIONS)
def test_positions_that_an_order_cannot_lead_to_are_refused(action: str, before: str, after: str) -> None:
    alert = {"symbol": "BTCUSDT", "action": action, "position": after, "previous_position": before}

    ((field, rule),) = refusal(alert)

    assert field == "action"
    assert rule.startswith(f"{'long' if action == 'buy' else 'short'} does not ")


def test_the_page_names_all_pairs() -> None:
    words = ("buy", "sell")
    pairs = {
        (action, before, after)
        for action in words
        for before in ("flat", "long", "short")
        for after in ("flat", "long", "short")
    }
    assert pairs - {*POSITIONS, *CONTRADICTIONS} == {("buy", "flat", "flat"), ("sell", "flat", "flat")}


@pytest.mark.parametrize(
    ("symbol", "contract"),
    [
        ("BINANCE:BTCUSDT.P", "BTCUSDT"),
        ("BTCUSDT.P", "BTCUSDT"),
        ("BTCUSDTPERP", "BTCUSDT"),
        ("btc/usdt", "BTCUSDT"),
        ("BTC-USDT", "BTCUSDT"),
        (" 1000pepeusdt.p ", "1000PEPEUSDT"),
        ("BTCUSDT_260626", "BTCUSDT_260626"),
        ("BYBIT:BTCUSDT.P", "BTCUSDC"),
        ("GOLD", "PAXGUSDT"),
        ("BINANCE:GOLD", "PAXGUSDT"),
    ],
)
def test_symbols_of_charts_mean_contracts(symbol: str, contract: str) -> None:
    known = {"BYBIT:BTCUSDT.P": "BTCUSDC", "GOLD": "PAXGUSDT"}

    assert read({"symbol": symbol, "side": "buy"}, symbol_map=known).payload["symbol"] == contract


DEEP: Any = "x"
for _ in range(12):
    DEEP = [DEEP]
BROKEN: dict[str, tuple[Any, str, str]] = {
    "empty": ("", "body", "must not be empty"),
    "no JSON": ('{"symbol": ', "body", "is not JSON that can be read"),
    "a list": ("[]", "body", "must be one JSON object"),
    "a name twice": ('{"symbol": "BTCUSDT", "side": "buy", "side": "sell"}', "side", "must be given once"),
    "prose": ("hello there, buy some", "body", "must be a JSON object, a form, or a line such as"),
    "too deep": ({"symbol": "BTCUSDT", "side": "buy", "note": DEEP}, "note", "nested deeper than 8 levels"),
    "NUL": ({"symbol": "BTCUSDT", "side": "buy\x00"}, "body", "is not JSON that can be read: contains the character"),
    "NaN": ('{"symbol": "BTCUSDT", "quantity": NaN}', "body", "is not JSON that can be read"),
    "a placeholder": ({"symbol": "{{ticker}}", "side": "buy"}, "symbol", "has a placeholder that was not filled in"),
    "no symbol": ({"side": "buy"}, "symbol", "or ticker is missing"),
    "a number as symbol": ({"symbol": 5, "side": "buy"}, "symbol", "must be the symbol of a contract"),
    "another exchange": ({"symbol": "BYBIT:BTCUSDT.P", "side": "buy"}, "symbol", "is of BYBIT"),
    "no word": ({"symbol": "BTCUSDT", "side": "moon"}, "side", "must be one of"),
    "no side": ({"symbol": "BTCUSDT"}, "side", "must be one of"),
    "a side against the action": (
        {"symbol": "BTCUSDT", "action": "buy", "side": "short"},
        "side",
        "contradicts action",
    ),
    "buy beside close": ({"symbol": "BTCUSDT", "action": "close", "side": "buy"}, "side", "must be long or short"),
    "no position": ({"symbol": "BTCUSDT", "action": "buy", "position": "up"}, "position", "must be one of"),
    "a reverse without a size": (
        {"symbol": "BTCUSDT", "action": "buy", "position": "long", "previous_position": "short"},
        "position_size",
        "is required to reverse",
    ),
    "no time": ({"symbol": "BTCUSDT", "side": "buy", "timestamp": "soon"}, "timestamp", ""),
    "no interval": ({"symbol": "BTCUSDT", "side": "buy", "interval": "x"}, "interval", "must be minutes"),
    "no lag": ({"symbol": "BTCUSDT", "side": "buy", "max_lag": "0"}, "max_lag", "must be from 1 to 604800 seconds"),
    "a lag and no time": ({"symbol": "BTCUSDT", "side": "buy", "max_lag": 60}, "timestamp", "is required"),
    "dollars": ({"ticker": "BTCUSDT", "action": "buy", "quantityType": "dollar_amount"}, "quantityType", "must be"),
    "a stop order": (
        {"ticker": "BTCUSDT", "action": "buy", "orderType": "stop"},
        "orderType",
        "must be market or limit",
    ),
    "a limit without a price": (
        {"ticker": "BTCUSDT", "action": "buy", "orderType": "limit"},
        "limitPrice",
        "is required",
    ),
    "a distance from nothing": (
        {"ticker": "BTCUSDT", "action": "buy", "stopLoss": {"percent": 5}},
        "signalPrice",
        "is required beside stopLoss",
    ),
    "two levels": (
        {"ticker": "BTCUSDT", "action": "buy", "signalPrice": 1, "stopLoss": {"percent": 5, "stopPrice": 1}},
        "stopLoss",
        "must have one of",
    ),
    "a trailing stop by another name": (
        {"ticker": "BTCUSDT", "action": "buy", "stopLoss": {"type": "trailing_stop", "trailPercent": 1}},
        "stopLoss.type",
        "must be stop",
    ),
    "quote currency": (
        {"tv_instrument": "BTCUSDT", "action": "buy", "order": {"amount": "100", "currency_type": "quote"}},
        "order.currency_type",
        "must be base",
    ),
    "a delay": ({"bot_id": 1, "pair": "USDT_BTC", "delay_seconds": 5}, "delay_seconds", "must be 0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_refused_by_field(name: str) -> None:
    alert, field, rule = BROKEN[name]

    broken = refusal(alert)

    assert [each for each, _ in broken] == [field]
    assert broken[0][1].startswith(rule)


def test_a_body_that_is_too_long_or_no_text_is_refused() -> None:
    with pytest.raises(MalformedEventError) as long:
        signal_of(webhook(), b"x" * 16_385, "", token="", now=NOW)
    with pytest.raises(MalformedEventError) as bytes_only:
        signal_of(webhook(), b"\xff\xfe", "", token="", now=NOW)

    assert long.value.broken == (("body", "must be at most 16384 bytes, not 16385"),)
    assert bytes_only.value.broken == (("body", "must be UTF-8"),)


@pytest.mark.parametrize(
    ("fields", "lag", "numbers"),
    [
        ({"timestamp": "2026-03-02T10:59:00Z", "max_lag": 60}, None, "expected<=60s actual=63.0s"),
        ({"timestamp": "2026-03-02T10:59:00Z", "max_lag": 600}, 10, "expected<=10s actual=63.0s"),
        ({"bar_time": "2026-03-02T10:00:00Z", "interval": "15"}, 600, "expected<=600s actual=2703.0s"),
        ({"bar_time": "2026-03-02T10:00:00Z"}, 600, "expected<=600s actual=3603.0s"),
    ],
)
def test_an_alert_that_comes_too_late_is_refused_with_numbers(
    fields: dict[str, Any], lag: int | None, numbers: str
) -> None:
    alert = {"symbol": "BTCUSDT", "side": "buy", **fields}

    assert refusal(alert, max_lag_seconds=lag) == (("max_lag", numbers),)


@pytest.mark.parametrize(
    "fields",
    [
        {"timestamp": "2026-03-02T10:59:00Z", "max_lag": 63},
        {"bar_time": "2026-03-02T10:00:00Z", "interval": "60", "max_lag": 3},
        # A bar that is not over yet.
        {"bar_time": "2026-03-02T11:00:00Z", "interval": "1D", "max_lag": 1},
        {"bar_time": "2026-03-02T10:00:00Z", "timestamp": 1772449202, "max_lag": 1},
    ],
)
def test_an_alert_in_time_passes(fields: dict[str, Any]) -> None:
    assert read({"symbol": "BTCUSDT", "side": "buy", **fields}).payload["symbol"] == "BTCUSDT"


def test_defaults_fill_in_an_entry_and_nothing_else() -> None:
    rules: dict[str, Any] = {"defaults": {"leverage": 3, "stop_loss": "49000"}}

    entry = order_of(read({"symbol": "BTCUSDT", "side": "buy", "leverage": 2}, **rules))
    close = order_of(read({"symbol": "BTCUSDT", "action": "close"}, **rules))

    assert entry == {"symbol": "BTCUSDT", "side": "long", "leverage": 2, "stop_loss": "49000"}
    assert close == {"symbol": "BTCUSDT", "action": "close"}


def test_the_secret_is_in_no_field_whatever_its_name() -> None:
    for name in ("secret", "passphrase", "email_token", "webhook_secret"):
        signal = read({"symbol": "BTCUSDT", "side": "buy", name: "canary-canary"})

        assert "canary" not in json.dumps(dict(signal.payload), default=str) + signal.identity
