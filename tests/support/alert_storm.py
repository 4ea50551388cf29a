"""Alerts by the hundred from several senders: repeats, wrong order, resends after a 5xx, and bodies that are broken."""

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import requests

SENDERS = 8
# A sender tries again after a 5xx, as chart services do.
MOST_TRIES, PAUSE_SECONDS = 8, 0.5
SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "BNBUSDT", "XRPUSDT", "ADAUSDT", "DOGEUSDT", "LTCUSDT")
# Of eight alerts the last two are broken: each body with the field that it is refused by.
BROKEN = (
    ('{"symbol": "BTCUSDT", ', "body"),
    ('{"symbol": "BTCUSDT", "side": "moon", "quantity": "0.01"}', "side"),
    ('{"symbol": "BYBIT:BTCUSDT", "side": "buy", "quantity": "0.01"}', "symbol"),
    ('{"symbol": "BTCUSDT", "side": "buy", "quantity": "-5"}', "quantity"),
    ('{"symbol": "BTCUSDT", "side": "buy", "quantity": "0.01", "reduceOnly": true}', "reduceOnly"),
    ('{"symbol": "BTCUSDT", "side": "buy", "side": "sell", "quantity": "0.01"}', "side"),
    ("to the moon, now", "body"),
    ('{"symbol": "{{ticker}}", "side": "buy"}', "symbol"),
)


@dataclass(frozen=True, kw_only=True)
class PlannedAlert:
    """One alert: its body, how often it is sent, and the field that it is refused by, empty when it is right."""

    name: str
    body: str
    sent: int
    refused_by: str = ""


@dataclass
class StormRecord:
    """What was answered, by alert: status and body of each answer, and how long it took (s)."""

    answers: dict[str, list[tuple[int, dict[str, object]]]] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, answer: requests.Response, seconds: float) -> None:
        with self._lock:
            self.statuses[answer.status_code] += 1
            self.seconds.append(seconds)
            if answer.status_code < 500:
                self.answers.setdefault(name, []).append((answer.status_code, answer.json()))


def planned(count: int, seed: int) -> list[PlannedAlert]:
    """Return so many alerts in all grammars, every fourth of them broken."""
    chance = random.Random(seed)  # noqa: S311 -- a plan, not a secret
    return [_alert(number, chance) for number in range(count)]


def _alert(number: int, chance: random.Random) -> PlannedAlert:
    name, sent = f"alert-{number}", chance.choice((1, 1, 2, 3))
    if number % 4 == 3:
        body, refused_by = BROKEN[number // 4 % len(BROKEN)]
        return PlannedAlert(name=name, body=body, sent=sent, refused_by=refused_by)
    symbol, buys = SYMBOLS[number % len(SYMBOLS)], number % 2 == 0
    side, chart = "buy" if buys else "sell", f"BINANCE:{symbol}.P"
    bar = f"2026-03-02T{number % 24:02d}:{number // 24 % 60:02d}:00Z"
    forms: Sequence[object] = (
        {"id": name, "symbol": chart, "action": side, "quantity": "0.05", "comment": name},
        {"symbol": chart, "action": side, "quantity": "0.05", "bar_time": bar, "interval": "60", "comment": name},
        {"ticker": f"{symbol}.P", "action": side, "quantity": 0.05, "comment": name},
        {
            "tv_exchange": "BINANCE",
            "tv_instrument": f"{symbol}.P",
            "action": "enter_long" if buys else "enter_short",
            "bot_uuid": "0b0e4b06",
            "secret": "left-aside-here",
            "order": {"amount": "0.05", "currency_type": "base"},
            "comment": name,
        },
        f"{side} {symbol}.P quantity=0.05 comment={name}",
    )
    form = forms[number % len(forms)]
    return PlannedAlert(name=name, body=form if isinstance(form, str) else json.dumps(form), sent=sent)


def send_all(
    alerts: Sequence[PlannedAlert], url: str, record: StormRecord, *, seed: int, senders: int = SENDERS
) -> None:
    """Send every alert as often as planned, in no order, from several threads, each until it has an answer."""
    queue = [alert for alert in alerts for _ in range(alert.sent)]
    random.Random(seed).shuffle(queue)  # noqa: S311 -- as above
    sessions = threading.local()

    def send(alert: PlannedAlert) -> None:
        if not hasattr(sessions, "http"):
            sessions.http = requests.Session()
            sessions.http.trust_env = False
        for _ in range(MOST_TRIES):
            began = time.monotonic()
            answer = sessions.http.post(url, alert.body.encode(), headers={"Content-Type": "text/plain"}, timeout=30)
            record.note(alert.name, answer, time.monotonic() - began)
            if answer.status_code < 500:
                return
            time.sleep(PAUSE_SECONDS)

    with ThreadPoolExecutor(senders) as pool:
        list(pool.map(send, queue))


def assert_answered_once(alerts: Sequence[PlannedAlert], record: StormRecord) -> None:
    """Check the answers: each right alert was new once and then a repeat, each broken one refused by its field."""
    for alert in alerts:
        answers = record.answers.get(alert.name, [])
        assert len(answers) == alert.sent, alert
        if alert.refused_by:
            fields = [(code, list(answer["errors"])) for code, answer in answers]  # type: ignore[call-overload]
            assert fields == [(400, [alert.refused_by])] * alert.sent, alert
        else:
            assert [code for code, _ in answers] == [202] * alert.sent, (alert, answers)
            assert sorted(bool(answer["repeated"]) for _, answer in answers) == [False] + [True] * (alert.sent - 1)
            assert len({answer["request_id"] for _, answer in answers}) == 1
