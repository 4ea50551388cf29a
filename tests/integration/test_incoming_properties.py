"""Whatever is accepted is stored, read back equal, swept and shown; whatever is not is refused in words.

Every incoming model, over the bus in all its wire forms and over REST: 5,000 examples and no unhandled error.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from execution.adapters.stream_names import stream_of
from execution.domain.ports import StreamEntry
from execution.domain.trading import Source
from execution.models import DeadLetter, ExecutionRequest, InboxEvent, ModelPromotion
from execution.signals.accept import EVENT_TYPES, accept_entry
from execution.signals.envelope import decode
from execution.signals.schemas import AiDecision, Incoming, ManualOrder
from tests.support.desk import INTAKE, Desk

# 2,500 entries and 2,500 requests; a sweep and the pages after each batch of them.
EXAMPLES, BATCH = 2500, 250
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    # An example is shown as it failed: what came before it in its batch may have its part.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
_numbers = count(1)
# Numbers as they stand in a JSON text: also those that no float holds.
TOKEN = "@number:{}@"
TOKENS = re.compile(r'"@number:([^"@]*)@"')
raw_numbers = st.sampled_from(
    [
        *("1e400", "-1e400", "1e-400", "1e308", "1e999999999", "0.1", "1E+2", "-0.0", "1.0000000000000000000000001"),
        *("9" * 30, "9" * 400, "9" * 4301, "0." + "3" * 80, "1e18", "1e15", "50000", "0.002", "123456789012.123456789"),
    ]
).map(TOKEN.format)
times = st.sampled_from(
    [
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00"),
        *("1999-12-31T23:59:59Z", "2000-01-01T00:00:00Z", "2026-11-30T12:00:00.123456789Z", "2026-W48-1", "0", "-1"),
        *("2026-11-30T12:00:00+23:59", "2026-11-30T12:00:00-23:59:59.999999", "1765855800", "1765855800000"),
        *("\u0662\u0660\u0662\u0665-01-01", "20261130T120000Z", "infinity", "epoch", "now"),
    ]
)
words = st.sampled_from(
    [
        "",
        " ",
        "1_000",
        "\u0661",
        "\uff15",
        "NaN",
        "Infinity",
        "0x1",
        "buy",
        "SELL",
        "hold",
        "BTCUSDT",
        "btcu\u017fdt",
        "5",
    ]
)
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=120)
    | raw_numbers
    | times
    | words
    | st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=0, max_value=1000000).map(str)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
names = st.text(max_size=20) | st.just("ensemble")
moments = st.none() | times | st.datetimes().map(lambda moment: moment.isoformat()) | anything
amounts = st.sampled_from([100, 0.1, "0.002", 50000.5, "1e-12", "1e12", 1, "0.33333333333333333333"])
VALID: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "ai.decision.made": {
        "symbol": st.sampled_from(["BTCUSDT", " ethusdt ", "1000PEPEUSDT"]),
        "side": st.sampled_from(["buy", "SELL", "hold", "long"]),
        "position_size_usd": amounts,
        "leverage": st.integers(0, 125) | st.just("5.0"),
        "confidence": st.sampled_from([0, 1, "0.123456789123", 0.85]),
        "entry_price": amounts,
        "stop_loss": amounts | st.just(0),
        "model": names,
        "timestamp": moments,
    },
    "signal.execute": {
        "symbol": st.sampled_from(["BTCUSDT", "ethusdt"]),
        "side": st.sampled_from(["buy", "sell", "LONG"]),
        "quantity": amounts,
        "price": amounts | st.none(),
        "leverage": st.integers(1, 125),
        "take_profits": st.lists(
            st.fixed_dictionaries({"price": amounts, "share": st.sampled_from([0.5, "0.25"])}), max_size=2
        ),
        "trailing": st.none() | st.fixed_dictionaries({"callback_percent": st.sampled_from([1, "0.5"])}),
        "metadata": st.dictionaries(st.text(max_size=8), anything, max_size=4),
        "requested_by": names,
        "timestamp": moments,
    },
    "ess.tripped": {"reason": anything, "timestamp": moments},
    "ess.state.changed": {
        "new_state": st.sampled_from(["ARMED", "CRITICAL"]) | names,
        "reason": anything,
        "timestamp": moments,
    },
    "policy.updated": {"key": st.sampled_from(["risk.max_leverage", ""]) | names, "new_value": anything},
    "model.promoted": {"model_name": names, "old_version": names, "new_version": names, "promoted_at": moments},
}


def payloads(event_type: str) -> st.SearchStrategy[dict[str, Any]]:
    """Return payloads that are mostly right: up to two fields hold anything, some are missing, one is unknown."""
    fields = VALID[event_type]

    def with_noise(drawn: tuple[dict[str, Any], dict[str, Any], set[str]]) -> dict[str, Any]:
        right, noise, missing = drawn
        return {name: value for name, value in (right | noise).items() if name not in missing}

    noise = st.dictionaries(st.sampled_from([*fields, "unknown", "trace_id"]), anything, max_size=2)
    missing = st.sets(st.sampled_from(sorted(set(fields) - {"symbol", "side", "quantity"}) or ["x"]), max_size=2)
    return st.tuples(st.fixed_dictionaries(dict(fields)), noise, missing).map(with_noise)


def json_of(payload: Mapping[str, Any]) -> str:
    return TOKENS.sub(r"\1", json.dumps(payload))


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, dict[bytes, bytes]]:
    """Draw an entry of any type in any wire form, as bytes."""
    event_type = draw(st.sampled_from(EVENT_TYPES))
    payload = draw(payloads(event_type))
    form = draw(st.sampled_from(["payload", "payload", "data", "flat"]))
    fields = {name: text_of(value) for name, value in payload.items()} if form == "flat" else {form: json_of(payload)}
    ids = {"event_id": f"id-{next(_numbers)}", "event_type": event_type}
    return event_type, {as_bytes(name): as_bytes(value) for name, value in (fields | ids).items()}


def text_of(value: object) -> str:
    return value if isinstance(value, str) else json_of({"x": value})[6:-1]


def as_bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


@pytest.fixture
def admin_client(db: None) -> Client:  # noqa: ARG001 -- the database first
    client = Client()
    client.force_login(User.objects.create_superuser("admin", password=None))
    return client


@pytest.fixture
def _no_waiting(settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ENV = settings.ENV.model_copy(update={"order_answer_seconds": 0.0})
    monkeypatch.setattr("execution.api.orders.start_chain", lambda _: None)


@pytest.fixture
def sweeps(desk: Desk, client: Client, admin_client: Client) -> Iterator["Sweeps"]:
    sweeps = Sweeps(desk=desk, client=client, admin_client=admin_client)
    yield sweeps
    # It should have seen them all, and swept after each batch.
    assert (sweeps.examples, sweeps.done) == (EXAMPLES, EXAMPLES // BATCH)


@BOUNDED
@given(drawn=entries())
def test_what_the_bus_brings(desk: Desk, sweeps: "Sweeps", drawn: tuple[str, dict[bytes, bytes]]) -> None:
    take_in(desk, *drawn)
    sweeps.after_a_batch()


@BOUNDED
@given(payload=payloads("signal.execute"))
@pytest.mark.usefixtures("_no_waiting")
def test_what_rest_brings(client: Client, sweeps: "Sweeps", payload: dict[str, Any]) -> None:
    post(client, json_of(payload))
    sweeps.after_a_batch()


@settings(BOUNDED, max_examples=300)
@given(
    query=st.dictionaries(
        st.sampled_from(["from", "to", "limit", "offset", "symbol", "status", "after", "event_type", "trade_id"]),
        st.text(max_size=30) | times | words,
        max_size=4,
    )
)
def test_what_queries_ask(db: None, client: Client, query: dict[str, str]) -> None:  # noqa: ARG001
    for path in ("/api/execution/trades", "/api/execution/events"):
        answer = client.get(f"{path}?{urlencode(query, errors='surrogatepass')}")
        assert answer.status_code in {200, 400}
        assert json.loads(answer.content)


@dataclass(kw_only=True)
class Sweeps:
    """Sweeps and shows everything after each batch of examples: nothing of it should be what they stumble over."""

    desk: Desk
    client: Client
    admin_client: Client
    examples: int = 0
    done: int = 0

    def after_a_batch(self) -> None:
        self.examples += 1
        if self.examples % BATCH == 0:
            swept_and_shown(self.desk, self.client, self.admin_client)
            self.done += 1


def kept() -> tuple[int, int]:
    """Count dead letters and inbox entries, with one question."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM execution_deadletter), (SELECT count(*) FROM execution_inboxevent)"
        )
        letters, inbox = cursor.fetchone()
        return letters, inbox


def take_in(desk: Desk, event_type: str, fields: Mapping[bytes, bytes]) -> None:
    """Accept an entry, or find it refused; a second delivery must find the first one equal."""
    letters, inbox = kept()
    first = accept_entry(entry(event_type, fields), rules=INTAKE, now=desk.clock())
    letters_now, inbox_now = kept()
    refused, stored = letters_now - letters, inbox_now - inbox
    # It should end as one of the two
    assert refused + stored == 1
    if refused:
        assert DeadLetter.objects.latest("pk").reason
        return
    again = accept_entry(entry(event_type, fields), rules=INTAKE, now=desk.clock())
    assert (again.repeated, again.differs, again.request_id) == (True, False, None)
    if first.request_id:
        schema = AiDecision if event_type == Source.AI else ManualOrder
        read_back(schema, decode(entry(event_type, fields)).payload, first.request_id)


def post(client: Client, body: str) -> None:
    key = f"key-{next(_numbers)}"

    def sent() -> Any:
        return client.post(
            "/api/execution/order",
            body.encode(errors="surrogatepass"),
            "application/json",
            headers={"Idempotency-Key": key},
        )

    answer = sent()
    assert answer.status_code in {202, 400}, answer.content
    if answer.status_code == 400:
        assert answer.json()["detail"]
        return
    request_id = answer.json()["request_id"]
    read_back(ManualOrder, json.loads(body, parse_float=Decimal), request_id)
    # It should know its repeat
    assert (sent().status_code, ExecutionRequest.objects.filter(pk=request_id).count()) == (202, 1)
    assert client.get(f"/api/execution/requests/{request_id}").status_code == 200


def read_back(schema: type[Incoming], payload: Mapping[str, Any], request_id: UUID | str) -> None:
    """Compare the row, read anew, with what the schema has accepted."""
    asked: Any = schema.model_validate(dict(payload))
    row = ExecutionRequest.objects.get(pk=request_id)
    kept = {"symbol": row.symbol, "direction": row.direction, "leverage": row.leverage}
    assert kept == {"symbol": asked.symbol, "direction": asked.side, "leverage": asked.leverage or 1}
    pairs = {"stop_loss": row.stop_price_asked, "take_profit": row.target_price_asked}
    if isinstance(asked, AiDecision):
        pairs |= {
            "position_size_usd": row.notional_usd,
            "entry_price": row.expected_price,
            "confidence": row.confidence,
        }
        assert (row.model, row.strategy, row.regime) == (asked.model, asked.strategy, asked.regime)
    else:
        pairs |= {"quantity": row.base_quantity_asked, "price": row.limit_price_asked}
        assert plain(row.metadata) == plain(asked.metadata)
    assert pairs == {name: getattr(asked, name) for name in pairs}


def plain(value: Any) -> Any:
    """Write numbers of JSON as floats: PostgreSQL keeps 1e300 as an integer of 301 digits."""
    if isinstance(value, Mapping):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def swept_and_shown(desk: Desk, client: Client, admin_client: Client) -> None:
    desk.clock.let_pass(3)
    assert desk.cycle(resume=lambda *_: None).failed == 0
    desk.relay()
    for path in ("/api/execution/trades", "/api/execution/events?limit=1000", "/metrics", "/health"):
        assert client.get(path).status_code in {200, 503}, path
    for model in (ExecutionRequest, InboxEvent, DeadLetter, ModelPromotion):
        name = model._meta.model_name
        assert admin_client.get(reverse(f"admin:execution_{name}_changelist")).status_code == 200
        newest = model._default_manager.order_by("-pk").first()
        if newest:
            assert admin_client.get(reverse(f"admin:execution_{name}_change", args=[newest.pk])).status_code == 200


def entry(event_type: str, fields: Mapping[bytes, bytes]) -> StreamEntry:
    number = next(_numbers)
    return StreamEntry(
        stream=stream_of(event_type), event_type=event_type, entry_id=f"1796000000000-{number}", fields=fields
    )
