"""No order is carried out without a word of it that changes what it means: over REST, and in every form on the bus."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from execution.adapters.stream_names import stream_of
from execution.models import DeadLetter, ExecutionRequest, InboxEvent, OutboxEvent
from execution.signals.schemas import AiDecision, ManualOrder
from tests.support.desk import Desk, decision
from tests.unit.test_unread import OPPOSITE, SPELLINGS, STEMS, filled, worded

pytestmark = pytest.mark.django_db

AI, SIGNAL = "ai.decision.made", "signal.execute"
URL = "/api/execution/order"
ORDER: dict[str, Any] = {"symbol": "BTCUSDT", "side": "sell", "quantity": "0.002"}
FORMS: dict[str, Callable[[dict[str, Any]], dict[str, str]]] = {
    "payload": lambda body: {"payload": json.dumps(body)},
    "data": lambda body: {"data": json.dumps(body)},
    "flat": lambda body: {
        name: json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in body.items()
        if value is not None
    },
}


def add(desk: Desk, event_type: str, fields: dict[str, str]) -> None:
    desk.redis.xadd(stream_of(event_type), dict[Any, Any](fields))


def assert_denied(desk: Desk, field: str, rule: str) -> None:
    """One dead letter and one `order.failed` that name the field and the rule; no request."""
    started = desk.read_bus()
    letter, told = DeadLetter.objects.get(), OutboxEvent.objects.get()
    assert (started.chains, ExecutionRequest.objects.count()) == ([], 0)
    assert (letter.reason_code, told.event_type) == ("INVALID_FIELD", "order.failed")
    assert f"{field}: {rule}" in letter.reason
    assert told.payload["reason_code"] == "INVALID_FIELD"
    assert f"{field}: {rule}" in told.payload["reason"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("event_type", [AI, SIGNAL])
@pytest.mark.parametrize(("change", "field", "rule"), OPPOSITE)
def test_an_opposite_order_on_the_bus_is_told(
    desk: Desk, event_type: str, form: str, change: dict[str, Any], field: str, rule: str
) -> None:
    schema = AiDecision if event_type == AI else ManualOrder
    body = (decision("BTCUSDT", "buy") if event_type == AI else ORDER) | filled(change, schema)
    # In the flat form an object is a text: its name alone is told.
    field = field.partition(".")[0] if form == "flat" else field
    add(desk, event_type, FORMS[form](body))

    assert_denied(desk, field, worded(rule, schema))


def test_an_empty_price_on_the_bus_makes_no_market_order(desk: Desk) -> None:
    add(desk, SIGNAL, ORDER | {"price": ""})

    assert_denied(desk, "price", "must be a positive number, or left out for a MARKET order")


def test_a_valid_order_beside_opposite_ones_is_taken(desk: Desk) -> None:
    for change in ({"reduce_only": True}, {}, {"action": "close"}):
        desk.publish(SIGNAL, ORDER | change)

    started = desk.read_bus()

    assert started.chains == [ExecutionRequest.objects.get().pk]
    assert DeadLetter.objects.count() == 2


def test_two_hundred_strange_fields_trade_nothing(client: Client, desk: Desk) -> None:
    dice = random.Random(16)  # noqa: S311 -- a test's dice
    names = []
    for number in range(200):
        name = SPELLINGS[dice.choice(sorted(SPELLINGS))](dice.choice(STEMS).split()) + dice.choice(
            ["_x1", ".now", "-all"]
        )
        value = dice.choice([True, "true", 1, "GTC", 0.5, "yes", {"x": 1}])
        names.append(name)
        desk.publish(dice.choice([AI, SIGNAL]), decision("BTCUSDT") | ORDER | {name: value, "event_id": f"e-{number}"})
        answer = client.post(URL, json.dumps(ORDER | {name: value}), content_type="application/json")
        assert (answer.status_code, list(answer.json()["errors"])) == (400, [name])
        assert answer.json()["errors"][name][0].startswith("is not known")
    started = desk.read_bus()
    while started.chains or InboxEvent.objects.exists() or DeadLetter.objects.count() < len(names):
        assert (started.chains, InboxEvent.objects.count()) == ([], 0)
        started = desk.read_bus()

    reasons = list(DeadLetter.objects.order_by("id").values_list("reason", flat=True))
    assert [name for name in names if not any(f"{name}: is not known" in reason for reason in reasons)] == []
    assert OutboxEvent.objects.filter(event_type="order.failed").count() == len(names)


@pytest.mark.parametrize(
    ("method", "address"),
    [
        ("post", URL),
        ("get", "/api/execution/positions"),
        ("get", "/api/execution/trades"),
        ("get", "/api/execution/trades/00000000-0000-0000-0000-000000000000"),
        ("get", "/api/execution/requests/00000000-0000-0000-0000-000000000000"),
        ("get", "/api/execution/events"),
        ("get", "/api/execution/kill-switch"),
        ("post", "/api/execution/kill-switch"),
        ("get", "/api/execution/metrics"),
        ("get", "/"),
    ],
)
def test_a_parameter_that_is_not_read_is_refused(client: Client, method: str, address: str) -> None:
    body = json.dumps(ORDER) if method == "post" else ""
    answer = client.generic(method.upper(), f"{address}?dry_run=true", body, content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"dry_run": ["is not known"]}
    assert not InboxEvent.objects.exists()


def test_the_nearest_parameter_is_named(client: Client) -> None:
    answer = client.get("/api/execution/trades?symbols=BTCUSDT&stats=open&limit=5")

    assert answer.json()["errors"] == {
        "stats": ["is not known; did you mean status?"],
        "symbols": ["is not known; did you mean symbol?"],
    }


@pytest.mark.parametrize(
    ("address", "code"), [("/health", 503), ("/health/live", 200), ("/health/ready", 503), ("/metrics", 200)]
)
def test_probes_and_scrapers_may_send_parameters(client: Client, address: str, code: int) -> None:
    assert client.get(f"{address}?nocache=1").status_code == code


def test_an_unknown_field_beside_the_kill_switch_is_refused(client: Client) -> None:
    body = {"level": "halt", "reason": "a test", "reasn": "x", "symbol": "BTCUSDT"}
    answer = client.post("/api/execution/kill-switch", json.dumps(body), content_type="application/json")

    assert answer.status_code == 400
    assert answer.json()["errors"] == {"reasn": ["is not known; did you mean reason?"], "symbol": ["is not known"]}
