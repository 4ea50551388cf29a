"""POST /api/execution/order: what is asked, what is stored, and what the caller is told about it."""

import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from itertools import count
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connections, transaction
from django.test import Client
from kombu.exceptions import OperationalError as BrokerError

from execution.domain.states import OrderState, RequestState
from execution.domain.trading import OrderType, Source
from execution.models import ExecutionRequest, InboxEvent, Order
from tests.support import builders
from tests.support.threads import at_once

pytestmark = pytest.mark.django_db

URL = "/api/execution/order"
# The second command of the specification's "Testing", and the same without a price: at market.
LIMIT_ORDER = {
    "symbol": "BTCUSDT",
    "side": "long",
    "quantity": 0.001,
    "price": 50000,
    "leverage": 10,
    "stop_loss": 49000,
    "take_profit": 52000,
}
MARKET_ORDER = {name: value for name, value in LIMIT_ORDER.items() if name != "price"}

Play = Callable[[UUID], object]


class Pipeline:
    """Stands where the workers are: keeps what was started, and plays what they would write."""

    def __init__(self) -> None:
        self.started: list[UUID] = []
        self.play: Play = lambda _: None

    def start(self, request_id: UUID) -> None:
        self.started.append(request_id)
        self.play(request_id)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    played = Pipeline()
    monkeypatch.setattr("execution.api.orders.start_chain", played.start)
    return played


@pytest.fixture
def _answers_at_once(settings: LazySettings) -> None:
    settings.ENV = settings.ENV.model_copy(update={"order_answer_seconds": 0.0})


def post(client: Client, body: object, **headers: str) -> tuple[int, dict[str, Any]]:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = client.post(URL, text, content_type="application/json", headers=headers)
    return answer.status_code, answer.json()


def move(request_id: UUID, **columns: Any) -> ExecutionRequest:
    ExecutionRequest.objects.filter(pk=request_id).update(**columns)
    return ExecutionRequest.objects.get(pk=request_id)


def approve(request_id: UUID, state: RequestState, **columns: Any) -> ExecutionRequest:
    numbers = {"quantity": Decimal("0.001"), "stop_price": Decimal(49000), "target_price": Decimal(52000)}
    return move(request_id, state=state, **(numbers | columns))


def rest(request_id: UUID) -> None:
    """Play a limit order that the exchange keeps in its book."""
    request = approve(request_id, RequestState.ACCEPTED, limit_price=Decimal(50000))
    builders.order(request, state=OrderState.ACCEPTED, exchange_order_id="8389765")


def fill(request_id: UUID) -> None:
    """Play a market order that was filled at 50012.3, protected and booked."""
    # In one transaction, as the service books it.
    with transaction.atomic():
        request = approve(request_id, RequestState.RECORDED, reference_price=Decimal(50010))
        builders.order(request, exchange_order_id="8389765")
        builders.trade(request, entry_price=Decimal("50012.3"))


def test_the_specifications_order_is_placed_as_a_limit_order(client: Client, pipeline: Pipeline) -> None:
    pipeline.play = rest

    code, answer = post(client, LIMIT_ORDER)

    request = ExecutionRequest.objects.get()
    # It should answer in the system's shape, with our ids beside it.
    assert code == 200
    assert answer == {
        "success": True,
        "order_id": "8389765",
        "trade_id": str(request.pk),
        "symbol": "BTCUSDT",
        "side": "long",
        "quantity": 0.001,
        "price": 50000.0,
        "status": "placed",
        "message": None,
        "timestamp": request.moved_at.isoformat(),
        "request_id": str(request.pk),
        "reason_code": None,
        "client_order_id": Order.objects.get().client_order_id,
    }

    # It should have stored the order as asked, and started one chain.
    assert (request.source, request.order_type, request.leverage) == (Source.REST, OrderType.LIMIT, 10)
    assert (request.base_quantity_asked, request.limit_price_asked) == (Decimal("0.001"), Decimal(50000))
    assert (request.stop_price_asked, request.target_price_asked) == (Decimal(49000), Decimal(52000))
    assert pipeline.started == [request.pk]
    assert InboxEvent.objects.get().payload == LIMIT_ORDER


def test_a_filled_order_answers_with_the_price_of_its_fills(client: Client, pipeline: Pipeline) -> None:
    pipeline.play = fill

    code, answer = post(client, MARKET_ORDER)

    assert (code, answer["success"], answer["status"]) == (200, True, "filled")
    assert (answer["price"], answer["quantity"], answer["order_id"]) == (50012.3, 0.001, "8389765")
    assert ExecutionRequest.objects.get().order_type == OrderType.MARKET


@pytest.mark.usefixtures("_answers_at_once")
def test_a_fill_that_is_not_booked_yet_has_no_invented_price(client: Client, pipeline: Pipeline) -> None:
    def fill_only(request_id: UUID) -> None:
        builders.order(approve(request_id, RequestState.FILLED), exchange_order_id="8389765")

    pipeline.play = fill_only

    code, answer = post(client, MARKET_ORDER)

    assert (code, answer["success"], answer["status"], answer["price"]) == (200, True, "filled", None)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RequestState.DENIED, "failed"),
        (RequestState.REJECTED, "failed"),
        (RequestState.EXPIRED, "failed"),
        (RequestState.NOT_ACCEPTED, "failed"),
        (RequestState.WRITTEN_OFF, "failed"),
        (RequestState.CANCELED, "canceled"),
    ],
)
def test_an_order_that_came_to_nothing_says_why(
    client: Client, pipeline: Pipeline, state: RequestState, status: str
) -> None:
    reason = "SLIPPAGE_EXCEEDS_LIMIT: expected<=50bps actual=79bps"
    pipeline.play = lambda request_id: move(
        request_id, state=state, reason_code="SLIPPAGE_EXCEEDS_LIMIT", reason=reason
    )

    code, answer = post(client, MARKET_ORDER)

    assert code == 200
    assert (answer["success"], answer["status"]) == (False, status)
    assert (answer["reason_code"], answer["message"]) == ("SLIPPAGE_EXCEEDS_LIMIT", reason)
    assert (answer["order_id"], answer["trade_id"], answer["price"]) == (None, None, None)
    assert answer["quantity"] == 0.001


@pytest.mark.usefixtures("_answers_at_once")
def test_an_order_on_its_way_is_pending_and_says_where_to_look(client: Client, pipeline: Pipeline) -> None:
    code, answer = post(client, MARKET_ORDER)

    (request_id,) = pipeline.started
    assert (code, answer["success"], answer["status"]) == (202, False, "pending")
    assert answer["message"] == f"Not decided yet; see GET /api/execution/requests/{request_id}"
    assert answer["trade_id"] is None


def test_an_unknown_outcome_is_told_at_once_and_is_not_a_success(
    client: Client, pipeline: Pipeline, settings: LazySettings
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"order_answer_seconds": 120.0})
    pipeline.play = lambda request_id: move(
        request_id, state=RequestState.UNKNOWN, reason_code="OUTCOME_UNKNOWN", reason="OUTCOME_UNKNOWN: timeout"
    )
    began = time.monotonic()

    code, answer = post(client, MARKET_ORDER)

    (request_id,) = pipeline.started
    assert (code, answer["success"], answer["status"]) == (202, False, "pending")
    assert answer["reason_code"] == "OUTCOME_UNKNOWN"
    assert answer["message"] == f"OUTCOME_UNKNOWN: timeout; see GET /api/execution/requests/{request_id}"
    # It should not have used up its two minutes: evidence may take longer than anybody waits.
    assert time.monotonic() - began < 60


@pytest.mark.django_db(transaction=True)
def test_the_answer_waits_for_the_workers(
    client: Client, pipeline: Pipeline, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.ENV = settings.ENV.model_copy(update={"order_answer_seconds": 120.0})
    workers: list[threading.Thread] = []
    looks, looked_thrice = count(1), threading.Event()

    def pause(seconds: float) -> None:
        """Stand where the answer pauses between two looks."""
        if next(looks) == 3:
            looked_thrice.set()
        time.sleep(seconds)

    monkeypatch.setattr("execution.api.orders.time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))

    def work(request_id: UUID) -> None:
        assert looked_thrice.wait(60)
        fill(request_id)
        connections.close_all()

    def send_to_worker(request_id: UUID) -> None:
        workers.append(threading.Thread(target=work, args=[request_id]))
        workers[0].start()

    pipeline.play = send_to_worker
    code, answer = post(client, MARKET_ORDER)
    workers[0].join()

    # It should have seen what another connection committed after it had looked in vain.
    assert (code, answer["status"], answer["price"]) == (200, "filled", 50012.3)
    assert next(looks) > 3


@pytest.mark.usefixtures("_answers_at_once")
def test_an_idempotency_key_makes_a_repeat_harmless(client: Client, pipeline: Pipeline) -> None:
    first = post(client, MARKET_ORDER, **{"Idempotency-Key": "desk-7:2026-03-02.1"})
    again = post(client, MARKET_ORDER, **{"Idempotency-Key": "desk-7:2026-03-02.1"})

    # It should give the same answer about the one order.
    assert first == again
    assert ExecutionRequest.objects.count() == 1
    assert len(pipeline.started) == 1

    # It should refuse the key for another order, and store nothing.
    code, answer = post(client, MARKET_ORDER | {"quantity": 0.002}, **{"Idempotency-Key": "desk-7:2026-03-02.1"})
    assert code == 409
    assert answer == {
        "detail": "Idempotency-Key was used for a different order.",
        "reason_code": "IDEMPOTENCY_KEY_REUSED",
    }
    assert ExecutionRequest.objects.count() == 1
    assert len(pipeline.started) == 1


@pytest.mark.usefixtures("_answers_at_once")
def test_without_a_key_every_call_is_an_order_of_its_own(client: Client, pipeline: Pipeline) -> None:
    post(client, MARKET_ORDER)
    post(client, MARKET_ORDER)

    assert len(set(pipeline.started)) == 2


@pytest.mark.usefixtures("_answers_at_once")
def test_without_a_key_an_orders_own_id_makes_a_repeat_harmless(client: Client, pipeline: Pipeline) -> None:
    named = MARKET_ORDER | {"request_id": "r-7"}

    first, again = post(client, named), post(client, named)
    code, answer = post(client, named | {"quantity": 0.002})

    assert (first[0], again[0], code) == (202, 202, 409)
    assert answer["reason_code"] == "IDEMPOTENCY_KEY_REUSED"
    assert answer["detail"] == "request_id was used for a different order."
    assert len(pipeline.started) == 1
    assert InboxEvent.objects.get().identity == "request:r-7"


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_answers_at_once")
def test_the_same_key_sent_eight_times_at_once_is_one_order(pipeline: Pipeline) -> None:
    answers = at_once([lambda: post(Client(), MARKET_ORDER, **{"Idempotency-Key": "once"})] * 8)

    assert {code for code, _ in answers} == {202}
    assert len({answer["request_id"] for _, answer in answers}) == 1
    assert ExecutionRequest.objects.count() == 1
    assert len(pipeline.started) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 101, "ключ".encode().decode("latin-1"), "a/b"])
def test_a_malformed_key_is_refused(client: Client, pipeline: Pipeline, key: str) -> None:
    code, answer = post(client, MARKET_ORDER, **{"Idempotency-Key": key})

    assert code == 400
    assert answer["errors"] == {"Idempotency-Key": ["must have 1 to 100 characters of A-Z a-z 0-9 _ . : -"]}
    assert_nothing_happened(pipeline)


@pytest.mark.parametrize(
    ("change", "field", "rule"),
    [
        ({"symbol": None}, "symbol", "Input should be a valid string"),
        ({"symbol": "BTC/USDT"}, "symbol", "String should match pattern"),
        ({"side": "hold"}, "side", "must be one of buy, long, sell, short"),
        ({"side": 1}, "side", "must be one of buy, long, sell, short"),
        ({"quantity": 0}, "quantity", "greater than"),
        ({"quantity": -1}, "quantity", "greater than"),
        ({"quantity": True}, "quantity", "must be a number, not a boolean"),
        ({"quantity": "many"}, "quantity", "must be a number in at most 64 ASCII characters"),
        ({"quantity": 1e300}, "quantity", "must be a finite number of at most"),
        ({"quantity": [1]}, "quantity", "must be a number"),
        ({"price": -5}, "price", "greater than"),
        ({"price": "NaN"}, "price", "must be a number in at most 64 ASCII characters"),
        ({"leverage": 126}, "leverage", "must be a whole number from 1 to 125"),
        ({"leverage": 1.5}, "leverage", "valid integer"),
        ({"stop_loss": {}}, "stop_loss", "must be a number"),
        ({"price": ""}, "price", "must be a positive number, or left out for a MARKET order"),
        ({"colour": 7}, "colour", "is not known"),
        ({"reduceOnly": True}, "reduceOnly", "is not known"),
        ({"stopLoss": 1}, "stopLoss", "is not known; did you mean stop_loss?"),
        ({"metadata": [1]}, "metadata", "valid dictionary"),
        ({"metadata": {"note": "a\x00b"}}, "metadata", "contains the character U+0000"),
        ({"request_id": "x" * 101}, "request_id", "at most 100"),
        ({"timestamp": "yesterday"}, "timestamp", "Invalid isoformat"),
        ({"timestamp": 1e300}, "timestamp", ""),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp", "must be in the years 2000 to 2099"),
        ({"timestamp": "9999-12-31T23:59:59-14:00"}, "timestamp", "must be in the years 2000 to 2099"),
        ({"quantity": "1_000"}, "quantity", "must be a number in at most 64 ASCII characters"),
        ({"quantity": "\u0661"}, "quantity", "must be a number in at most 64 ASCII characters"),
        ({"symbol": "btcu\u017fdt"}, "symbol", "String should match pattern"),
        ({"request_id": "a\x1b[2J"}, "request_id", "must not contain the character U+001B"),
        ({"timestamp": "9" * 400}, "timestamp", ""),
    ],
)
def test_bad_input_names_the_field_and_the_rule_and_stores_nothing(
    client: Client, pipeline: Pipeline, change: dict[str, object], field: str, rule: str
) -> None:
    code, answer = post(client, LIMIT_ORDER | change)

    assert code == 400
    assert answer["detail"] == "The request is not valid."
    assert list(answer["errors"]) == [field]
    assert rule in answer["errors"][field][0]
    assert_nothing_happened(pipeline)


def test_every_wrong_field_is_named_at_once(client: Client, pipeline: Pipeline) -> None:
    code, answer = post(client, {"side": "up", "quantity": "1e-40"})

    assert code == 400
    assert sorted(answer["errors"]) == ["quantity", "side", "symbol"]
    assert_nothing_happened(pipeline)


@pytest.mark.parametrize("body", ["[]", '"text"', "null", "17"])
def test_a_body_that_is_no_object_is_refused(client: Client, pipeline: Pipeline, body: str) -> None:
    code, answer = post(client, body)

    assert (code, answer["errors"]) == (400, {"request": ["must be a JSON object"]})
    assert_nothing_happened(pipeline)


@pytest.mark.usefixtures("_answers_at_once")
@pytest.mark.parametrize("absent", [None, ""])
def test_null_and_empty_mean_absent_and_only_null_a_price(
    client: Client, pipeline: Pipeline, absent: str | None
) -> None:
    code, _ = post(client, LIMIT_ORDER | {"price": None, "leverage": absent, "trail_percent": absent})

    assert code == 202
    request = ExecutionRequest.objects.get()
    assert (request.order_type, request.limit_price_asked, request.leverage) == (OrderType.MARKET, None, 1)
    assert pipeline.started == [request.pk]


@pytest.mark.parametrize(
    ("content_type", "code"),
    [
        ("text/html", 415),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
def test_only_json_is_read(client: Client, pipeline: Pipeline, content_type: str, code: int) -> None:
    answer = client.post(URL, json.dumps(LIMIT_ORDER), content_type=content_type)

    assert answer.status_code == code
    assert list(answer.json()) == ["detail"]
    assert_nothing_happened(pipeline)


def test_a_body_that_is_too_large_is_refused(client: Client, pipeline: Pipeline) -> None:
    code, answer = post(client, LIMIT_ORDER | {"metadata": {"note": "x" * 70_000}})

    assert (code, answer) == (413, {"detail": "The body is larger than 65536 bytes."})
    assert_nothing_happened(pipeline)


def test_a_body_that_is_not_json_is_refused(client: Client, pipeline: Pipeline) -> None:
    code, answer = post(client, '{"symbol": "BTCUSDT",')

    assert code == 400
    assert answer["detail"].startswith("The body is not JSON that can be read: ")
    assert_nothing_happened(pipeline)


@pytest.mark.usefixtures("_answers_at_once")
def test_a_broker_that_is_away_does_not_lose_the_order(
    client: Client, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: UUID) -> None:
        raise BrokerError("connection refused")

    pipeline.play = refuse

    code, answer = post(client, MARKET_ORDER)

    # It should be stored and pending: the monitor starts what stands still.
    assert (code, answer["status"]) == (202, "pending")
    assert ExecutionRequest.objects.get().state == RequestState.RECEIVED
    assert sum("chain not started" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize(
    ("surprise", "code"), [(RuntimeError("password=hunter2"), 500), (OperationalError("password=hunter2"), 503)]
)
def test_a_surprise_tells_its_id_only(
    client: Client,
    pipeline: Pipeline,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    surprise: Exception,
    code: int,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise surprise

    monkeypatch.setattr("execution.api.orders.accept_order", fail)

    answered, answer = post(client, MARKET_ORDER)

    assert answered == code
    assert list(answer) == ["detail", "error_id"]
    assert "hunter2" not in json.dumps(answer)
    # It should be logged once with its traceback, under that id.
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert answer["error_id"] in record.getMessage()
    assert "password=hunter2" in record.getMessage()
    assert_nothing_happened(pipeline)


def test_a_request_tells_its_whole_story(client: Client) -> None:
    request = builders.approved(state=RequestState.DENIED, reason_code="ESS_BLOCKED", reason="ESS blocked: TRIPPED")
    entry = builders.order(request, state=OrderState.REJECTED)
    builders.transition("request", request.pk, at=builders.NOW)
    builders.transition("order", entry.client_order_id, from_state="SUBMITTING", to_state="REJECTED", trigger="refused")
    builders.transition(
        "request", request.pk, from_state="RECEIVED", to_state="DENIED", trigger="ess_blocked", details={"a": 1}
    )
    builders.transition("request", uuid4())

    answer = client.get(f"/api/execution/requests/{request.pk}")

    assert answer.status_code == 200
    story = answer.json()
    assert (story["state"], story["reason_code"], story["reason"]) == ("DENIED", "ESS_BLOCKED", "ESS blocked: TRIPPED")
    assert (story["symbol"], story["side"], story["trade_id"]) == ("BTCUSDT", "LONG", None)
    # It should tell its own steps and those of its orders, as they happened, and nobody else's.
    assert [(step["entity"], step["to_state"]) for step in story["transitions"]] == [
        ("request", "RECEIVED"),
        ("order", "REJECTED"),
        ("request", "DENIED"),
    ]
    assert story["transitions"][2]["details"] == {"a": 1}
    assert [order["client_order_id"] for order in story["orders"]] == [entry.client_order_id]


@pytest.mark.parametrize("unknown", ["7", "not.an.id", "0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11"])
def test_an_unknown_request_is_not_found(client: Client, unknown: str) -> None:
    answer = client.get(f"/api/execution/requests/{unknown}")

    assert (answer.status_code, answer.json()) == (404, {"detail": f"Request {unknown} not found"})


def assert_nothing_happened(pipeline: Pipeline) -> None:
    """Nothing was stored and nothing was started."""
    assert not InboxEvent.objects.exists()
    assert not ExecutionRequest.objects.exists()
    assert pipeline.started == []


def test_a_limit_order_keeps_its_time_in_force_and_end(client: Client, pipeline: Pipeline) -> None:
    pipeline.play = rest

    code, answer = post(client, LIMIT_ORDER | {"time_in_force": "post_only", "expires_at": "2099-01-01T00:00:00Z"})

    request = ExecutionRequest.objects.get()
    assert (code, answer["status"]) == (200, "placed")
    assert (request.time_in_force, request.entry_expires_at) == ("GTX", datetime(2099, 1, 1, tzinfo=UTC))


def test_a_time_in_force_that_contradicts_itself_is_named_with_its_rule(client: Client, pipeline: Pipeline) -> None:
    code, answer = post(client, LIMIT_ORDER | {"time_in_force": "IOC", "expires_in_seconds": 60})

    assert (code, answer["errors"]) == (
        400,
        {"expires_in_seconds": ["must not be sent with time_in_force IOC; use GTD or GTX"]},
    )
    # It should have stored and started nothing.
    assert (pipeline.started, InboxEvent.objects.count()) == ([], 0)


@pytest.mark.parametrize(
    ("word", "state", "code"),
    [
        ("IOC", RequestState.CANCELED, "ENTRY_ENDED_WITHOUT_FILL"),
        ("FOK", RequestState.REJECTED, "FOK_NOT_FILLABLE"),
        ("GTX", RequestState.REJECTED, "POST_ONLY_WOULD_TAKE"),
    ],
)
def test_an_entry_that_ends_at_once_is_answered_with_its_reason(
    client: Client, pipeline: Pipeline, word: str, state: RequestState, code: str
) -> None:
    pipeline.play = lambda request_id: move(request_id, state=state, reason_code=code, reason=f"{code}: limit=50000")

    status, answer = post(client, LIMIT_ORDER | {"time_in_force": word})

    assert (status, answer["success"], answer["reason_code"], answer["message"]) == (
        200,
        False,
        code,
        f"{code}: limit=50000",
    )
    assert answer["status"] == ("canceled" if state is RequestState.CANCELED else "failed")
