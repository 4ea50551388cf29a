"""The bridge on the real bus: five event types, every wire form, repeats, and messages that mean nothing."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection

from execution.adapters.redis_bus import RedisEventBus
from execution.adapters.stream_names import group_of, stream_of
from execution.models import (
    DeadLetter,
    EssStatus,
    ExecutionRequest,
    InboxEvent,
    ModelPromotion,
    OutboxEvent,
    PolicyValue,
)
from execution.signals import accept
from execution.signals.accept import EVENT_TYPES
from execution.signals.policy_updates import apply_policy
from execution.store.inbox import pending_events
from tests.support.desk import Desk, decision

AI, SIGNAL = "ai.decision.made", "signal.execute"
KEY = "execution.max_slippage_pct"


def add(desk: Desk, event_type: str, fields: Mapping[str, str | bytes], entry_id: str = "*") -> str:
    """Put a raw entry on a stream, in whatever form."""
    added: Any = desk.redis.xadd(stream_of(event_type), dict[Any, Any](fields), id=entry_id)
    return str(added.decode())


def pending(desk: Desk, event_type: str) -> int:
    summary: Any = desk.redis.xpending(stream_of(event_type), group_of(event_type))
    return int(summary["pending"])


def test_decision_is_stored_started_and_acknowledged(desk: Desk) -> None:
    entry_id = desk.publish(AI, decision("ETHUSDT", "sell", confidence=0.91), trace_id="trace-7")

    started = desk.read_bus()

    request = ExecutionRequest.objects.get()
    assert started.chains == [request.pk]
    assert (request.symbol, request.direction, request.order_type) == ("ETHUSDT", "SHORT", "MARKET")
    assert (request.notional_usd, request.confidence, request.leverage) == (500, Decimal("0.91"), 5)
    # The bare `quantity` of a decision has no agreed unit and is not read.
    assert request.base_quantity_asked is None
    assert (request.trace_id, request.inbox.entry_id) == ("trace-7", entry_id)
    assert pending(desk, AI) == 0


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda body: {"event_type": AI, "payload": json.dumps(body), "source": "ai"}, id="wrapped"),
        pytest.param(lambda body: {"payload": json.dumps(body)}, id="payload-alone"),
        pytest.param(lambda body: {"data": json.dumps(body)}, id="data"),
        pytest.param(lambda body: {name: str(value) for name, value in body.items() if value is not None}, id="flat"),
    ],
)
def test_every_wire_form_is_the_same_decision(desk: Desk, form: Any) -> None:
    add(desk, AI, form(decision("BTCUSDT", "LONG", stop_loss=49000.5)))

    started = desk.read_bus()

    request = ExecutionRequest.objects.get()
    assert started.chains == [request.pk]
    asked = (request.symbol, request.direction, request.notional_usd, request.stop_price_asked)
    assert asked == ("BTCUSDT", "LONG", Decimal(500), Decimal("49000.5"))


def test_manual_signal_is_sized_in_the_base_asset(desk: Desk) -> None:
    desk.publish(SIGNAL, {"symbol": "BTCUSDT", "side": "buy", "quantity": 0.01, "price": 49000.5, "leverage": 3})

    desk.read_bus()

    request = ExecutionRequest.objects.get()
    assert (request.source, request.order_type, request.leverage) == (SIGNAL, "LIMIT", 3)
    assert (request.base_quantity_asked, request.limit_price_asked) == (Decimal("0.01"), Decimal("49000.5"))
    assert request.notional_usd is None


def test_metadata_of_a_signal_is_kept_as_it_was_sent(desk: Desk) -> None:
    metadata = {"score": 0.25, "tags": ["a", 1, None], "deep": {"rate": 1e-05}}
    desk.publish(SIGNAL, {"symbol": "BTCUSDT", "side": "buy", "quantity": 0.01, "metadata": metadata})

    desk.read_bus()

    assert ExecutionRequest.objects.get().metadata == metadata


def test_hold_is_recorded_and_ends(desk: Desk) -> None:
    desk.publish(AI, decision(side="hold", position_size_usd=0.0))

    started = desk.read_bus()

    assert InboxEvent.objects.get().outcome == "IGNORED"
    assert (started.chains, ExecutionRequest.objects.count(), OutboxEvent.objects.count()) == ([], 0, 0)


def test_second_word_under_the_identity_of_a_hold_is_a_repeat(desk: Desk) -> None:
    for side in ("hold", "buy"):
        add(desk, AI, {"payload": json.dumps(decision("BTCUSDT", side, event_id="")), "trace_id": "trace-9"})

    started = desk.read_bus()

    # It should have been counted and not executed, and not have stopped the reader.
    assert started.chains == []
    assert InboxEvent.objects.get().duplicates == 1
    assert pending(desk, AI) == 0


def test_promoted_model_is_stored(desk: Desk) -> None:
    told = {"model_type": "xgboost", "old_version": "v3", "new_version": "v4", "improvement_pct": 12.0}
    desk.publish("model.promoted", told | {"promoted_at": "2026-03-01T12:00:00+00:00"})
    desk.publish("model.promoted", {"model_name": "nhits", "new_version": "v9", "promoted_at": 1765855800.0})

    desk.read_bus()

    rows = ModelPromotion.objects.order_by("model")
    assert [(row.model, row.old_version, row.new_version, row.promoted_at.year) for row in rows] == [
        ("nhits", "", "v9", 2025),
        ("xgboost", "v3", "v4", 2026),
    ]


def apply_announced(desk: Desk, payload: Mapping[str, Any]) -> None:
    desk.publish("policy.updated", payload)
    [inbox_id] = desk.read_bus().policies
    apply_policy(inbox_id, risk_safety=desk.risk_safety, now=desk.clock())


def test_announced_policy_is_fetched_and_put_in_force(desk: Desk) -> None:
    desk.risk.answer({"key": KEY, "value": 0.0001})

    apply_announced(desk, {"key": KEY, "old_value": 0.005, "new_value": 0.003})

    # The service's own answer counts, not the event's.
    value = PolicyValue.objects.get()
    assert (value.key, value.value, value.source, value.version) == (KEY, Decimal("0.0001"), "http", 1)
    request_id = desk.decide(entry_price=49990.0)
    desk.risk.answer_normally()
    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason_code == "SLIPPAGE_EXCEEDS_LIMIT"
    assert desk.request(request_id).reason.startswith("SLIPPAGE_EXCEEDS_LIMIT: expected<=1.00bps actual=2.02bps")


def test_announced_policy_is_taken_from_the_event_when_the_service_is_silent(desk: Desk) -> None:
    desk.risk.answer("down", status=503)

    apply_announced(desk, {"key": KEY, "new_value": 0.003})

    assert [(row.value, row.source) for row in PolicyValue.objects.all()] == [(Decimal("0.003"), "event")]


@pytest.mark.parametrize("value", [0.5, -1, "nonsense", None, True, {"a": 1}, "NaN"])
def test_policy_out_of_bounds_is_never_applied(desk: Desk, value: object) -> None:
    desk.risk.answer({"key": KEY, "value": value})

    apply_announced(desk, {"key": KEY, "new_value": value})

    assert not PolicyValue.objects.exists()


def test_unknown_policy_key_changes_nothing(desk: Desk) -> None:
    apply_announced(desk, {"key": "rl.learning_rate", "new_value": 0.1})

    assert not PolicyValue.objects.exists()


def test_what_forbids_is_read_before_what_it_forbids(desk: Desk) -> None:
    for _ in range(3):
        desk.publish(AI, decision())
    desk.publish("ess.tripped", {"reason": "drawdown", "timestamp": desk.clock().isoformat()})
    blocked: list[bool] = []

    desk.read_bus(start=lambda _: blocked.append(EssStatus.objects.filter(permitted=False).exists()))

    assert blocked == [True] * 3


def test_same_event_twenty_times_is_one_request(desk: Desk) -> None:
    same = decision()
    for _ in range(20):
        desk.publish(AI, same, trace_id="trace-1")

    # A slice reads at least one batch.
    chains = [pk for _ in range(20) for pk in desk.read_bus().chains]

    assert chains == [ExecutionRequest.objects.get().pk]
    assert InboxEvent.objects.get().duplicates == 19
    assert pending(desk, AI) == 0
    assert desk.run(chains[0]) == "RECORDED"
    assert len(desk.ledger.entries_sent) == 1


def test_one_trace_may_decide_about_several_symbols(desk: Desk) -> None:
    for symbol in ("BTCUSDT", "ETHUSDT"):
        desk.publish(AI, decision(symbol) | {"event_id": ""}, trace_id="trace-1")

    assert len(desk.read_bus().chains) == 2


WITHOUT_SYMBOL = {name: value for name, value in decision().items() if name != "symbol"}
ZOO: list[Any] = [
    pytest.param({"payload": "not json at all"}, "MALFORMED_PAYLOAD", id="not-json"),
    pytest.param({"payload": '{"symbol": "BTCUSDT"'}, "MALFORMED_PAYLOAD", id="half-json"),
    pytest.param({"payload": "[1, 2]"}, "MALFORMED_PAYLOAD", id="list"),
    pytest.param({"payload": ""}, "MALFORMED_PAYLOAD", id="empty"),
    pytest.param({"payload": json.dumps(WITHOUT_SYMBOL)}, "INVALID_FIELD", id="missing-symbol"),
    pytest.param({"payload": json.dumps(decision(position_size_usd=-5))}, "INVALID_FIELD", id="negative-size"),
    pytest.param({"payload": json.dumps(decision(position_size_usd=None))}, "INVALID_FIELD", id="no-size"),
    pytest.param({"payload": json.dumps(decision(position_size_usd=float("nan")))}, "MALFORMED_PAYLOAD", id="nan"),
    pytest.param({"payload": json.dumps(decision(confidence=float("inf")))}, "MALFORMED_PAYLOAD", id="infinity"),
    pytest.param({"payload": json.dumps(decision(position_size_usd="NaN"))}, "INVALID_FIELD", id="nan-as-text"),
    pytest.param({"payload": json.dumps(decision(position_size_usd=True))}, "INVALID_FIELD", id="boolean-size"),
    pytest.param({"payload": json.dumps(decision(side="sideways"))}, "INVALID_FIELD", id="unknown-side"),
    pytest.param({"payload": json.dumps(decision() | {"side": ["buy"]})}, "INVALID_FIELD", id="side-is-a-list"),
    pytest.param({"payload": json.dumps(decision(leverage=5.5))}, "INVALID_FIELD", id="half-a-leverage"),
    pytest.param({"payload": json.dumps(decision(leverage=500))}, "INVALID_FIELD", id="absurd-leverage"),
    pytest.param({"payload": json.dumps(decision(confidence=1.5))}, "INVALID_FIELD", id="confidence-above-1"),
    pytest.param({"payload": json.dumps(decision(timestamp="yesterday"))}, "INVALID_FIELD", id="no-time"),
    pytest.param({"payload": json.dumps(decision(timestamp=10**400))}, "MALFORMED_PAYLOAD", id="time-beyond-floats"),
    pytest.param({"payload": json.dumps(decision(timestamp=10**30))}, "INVALID_FIELD", id="time-beyond-calendars"),
    pytest.param({"payload": json.dumps(decision(timestamp="9" * 400))}, "INVALID_FIELD", id="time-text-beyond-floats"),
    pytest.param({"payload": json.dumps(decision("BTC" * 40))}, "INVALID_FIELD", id="long-symbol"),
    pytest.param({"payload": json.dumps(decision(model="m" * 101))}, "INVALID_FIELD", id="long-model"),
    pytest.param({"payload": json.dumps(decision(model="a\x00b"))}, "MALFORMED_PAYLOAD", id="nul"),
    pytest.param({"payload": json.dumps(decision(model="\ud800"))}, "MALFORMED_PAYLOAD", id="half-a-surrogate"),
    pytest.param({"payload": b"\xff\xfe"}, "MALFORMED_ENVELOPE", id="not-utf-8"),
    pytest.param({"payload": '{"symbol":"BTCUSDT","metadata":{"x":1e400}}'}, "MALFORMED_PAYLOAD", id="infinite-note"),
    pytest.param(
        {"payload": json.dumps(decision(timestamp="0001-01-01T00:00:00+14:00"))}, "INVALID_FIELD", id="before-year-one"
    ),
    pytest.param(
        {"payload": json.dumps(decision(timestamp="9999-12-31T23:59:59-14:00"))}, "INVALID_FIELD", id="beyond-years"
    ),
    pytest.param({"payload": json.dumps(decision(stop_loss="1_000"))}, "INVALID_FIELD", id="underscore"),
    pytest.param({"payload": json.dumps(decision(leverage="\u0665"))}, "INVALID_FIELD", id="arabic-digit"),
    pytest.param({"payload": json.dumps(decision("btcu\u017fdt"))}, "INVALID_FIELD", id="long-s"),
    pytest.param({"payload": json.dumps(decision(model="a\x1b[2J"))}, "INVALID_FIELD", id="terminal-escape"),
    pytest.param({"payload": "x" * 1_000_000}, "PAYLOAD_TOO_LARGE", id="one-megabyte"),
    pytest.param({"payload": '{"a":' * 900 + "1" + "}" * 900}, None, id="deep"),
    pytest.param({"payload": '{"a":' * 9000 + "1" + "}" * 9000}, "MALFORMED_PAYLOAD", id="very-deep"),
    pytest.param(
        {"event_type": "trade.closed", "payload": json.dumps(decision())}, "MALFORMED_ENVELOPE", id="wrong-wrapper"
    ),
    pytest.param({"trace_id": b"a\x00b", "payload": json.dumps(decision(event_id=""))}, None, id="nul-in-trace"),
    pytest.param({"event_id": b"a\x00b", "payload": json.dumps(decision())}, None, id="nul-in-id"),
    pytest.param({"whatever": "1"}, "INVALID_FIELD", id="flat-nothing"),
]


@pytest.mark.parametrize(("fields", "code"), ZOO)
def test_malformed_order_is_kept_with_its_reason_and_the_next_one_is_handled(
    desk: Desk, fields: dict[str, str | bytes], code: str | None
) -> None:
    entry_id = add(desk, AI, fields)
    desk.publish(AI, decision("ETHUSDT"))

    started = desk.read_bus()

    letter = DeadLetter.objects.get()
    assert (letter.stream, letter.entry_id, letter.event_type) == (stream_of(AI), entry_id, AI)
    assert letter.reason_code == code or code is None
    assert letter.reason
    assert len(letter.raw) <= 16 * 1024 < letter.size_bytes or letter.size_bytes <= 64 * 1024
    # It should say that an order failed, without inventing anything about it.
    failed = desk.event(f"entry:{entry_id}", "order.failed")
    assert (failed["order_id"], failed["reason_code"], failed["attempts"]) == (None, letter.reason_code, 0)
    # It should not hold up the good one behind it.
    good = ExecutionRequest.objects.get()
    assert (good.symbol, started.chains, pending(desk, AI)) == ("ETHUSDT", [good.pk], 0)


def test_malformed_news_is_kept_without_an_order_failed(desk: Desk) -> None:
    add(desk, "model.promoted", {"payload": "not json"})

    desk.read_bus()

    assert DeadLetter.objects.get().reason_code == "MALFORMED_PAYLOAD"
    assert not OutboxEvent.objects.exists()


def test_entry_whose_id_is_no_time_does_not_stop_the_bridge(desk: Desk) -> None:
    """A producer may choose an entry's id, and Redis counts on from the highest."""
    add(desk, AI, {"payload": json.dumps(decision("ETHUSDT"))}, f"{2**63}-0")
    add(desk, AI, {"payload": json.dumps(decision("BTCUSDT") | {"timestamp": None})})

    started = desk.read_bus()

    assert (len(started.chains), pending(desk, AI)) == (2, 0)
    # It should not have become younger than its arrival: it expires like any other.
    ages = [row.expires_at - row.received_at for row in ExecutionRequest.objects.all()]
    assert max(ages) <= timedelta(seconds=60)


def test_what_a_dead_reader_was_given_is_taken_over(desk: Desk) -> None:
    entry_id = desk.publish(AI, decision())
    dead = RedisEventBus(desk.redis, EVENT_TYPES)
    dead._consumer = "execution_elsewhere_1"
    assert [entry.entry_id for entry in dead.read(block_ms=10, count=10)] == [entry_id]

    # A living reader may still be at it.
    assert desk.read_bus().chains == []
    # Let it have been silent for longer than a reader may be.
    desk.redis.xclaim(stream_of(AI), group_of(AI), "execution_elsewhere_1", 0, [entry_id], idle=11_000, retrycount=1)

    assert desk.read_bus().chains == [ExecutionRequest.objects.get().pk]
    assert pending(desk, AI) == 0


def test_batch_that_fails_is_not_acknowledged_and_comes_again(desk: Desk) -> None:
    entry_id = desk.publish(AI, decision())

    def broker_is_away(_request_id: object) -> None:
        raise ConnectionError("broker")

    with pytest.raises(ConnectionError):
        desk.read_bus(start=broker_is_away)

    assert (ExecutionRequest.objects.count(), pending(desk, AI)) == (1, 1)

    consumer = desk.bus._consumer
    desk.redis.xclaim(stream_of(AI), group_of(AI), consumer, 0, [entry_id], idle=11_000, retrycount=1)
    desk.read_bus()

    # The same delivery again is no second event; the monitor starts the request that was stored.
    assert (ExecutionRequest.objects.count(), pending(desk, AI), InboxEvent.objects.get().duplicates) == (1, 0, 0)
    desk.clock.let_pass(3)
    desk.cycle()
    assert ExecutionRequest.objects.get().state == "RECORDED"


def tried_again(desk: Desk, entry_ids: Sequence[str], deliveries: int) -> None:
    """Let the pause of entries be over, after so many deliveries."""
    stream, group = stream_of(AI), group_of(AI)
    desk.redis.xclaim(stream, group, "execution_gone_1", 0, list[Any](entry_ids), idle=400_000, retrycount=deliveries)


def test_an_entry_that_the_database_does_not_take_fails_alone(desk: Desk) -> None:
    """A data error is an outcome of its entry, whatever the edge has let pass."""
    before, poison, after = (decision(symbol) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE execution_inboxevent ADD CONSTRAINT t CHECK (payload->>'symbol' <> 'ETHUSDT')")
    for payload in (before, poison, after):
        desk.publish(AI, payload)

    started = desk.read_bus()

    assert (len(started.chains), pending(desk, AI)) == (2, 0)
    assert {row.symbol for row in ExecutionRequest.objects.all()} == {"BTCUSDT", "SOLUSDT"}
    letter = DeadLetter.objects.get()
    assert (letter.reason_code, "violates check constraint" in letter.reason) == ("UNSTORABLE", True)
    assert desk.event(f"entry:{letter.entry_id}", "order.failed")["reason_code"] == "UNSTORABLE"


def test_an_entry_that_fails_unforeseen_is_tried_with_pauses_and_then_kept(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = accept.ACCEPTORS[AI]

    def fails_for_ether(event: Any, *further: Any) -> Any:
        if event.payload["symbol"] == "ETHUSDT":
            raise KeyError("a bug")
        return usual(event, *further)

    monkeypatch.setitem(accept.ACCEPTORS, AI, fails_for_ether)
    poison = desk.publish(AI, decision("ETHUSDT"))
    desk.publish(AI, decision("BTCUSDT"))

    # It should execute the other, and leave this one for later
    assert (len(desk.read_bus().chains), pending(desk, AI), DeadLetter.objects.count()) == (1, 1, 0)
    # It should rest longer after each delivery
    for deliveries, rest in ((1, 10_000), (2, 20_000), (3, 40_000), (4, 80_000)):
        desk.redis.xclaim(
            stream_of(AI), group_of(AI), "execution_gone_1", 0, [poison], idle=rest - 3_000, retrycount=deliveries
        )
        desk.read_bus()
        [row] = desk.redis.xpending_range(stream_of(AI), group_of(AI), "-", "+", 10)
        assert row["times_delivered"] == deliveries
        tried_again(desk, [poison], deliveries)
        desk.publish(AI, decision("SOLUSDT"))
        assert len(desk.read_bus().chains) == 1
    # It should have been kept at the limit, with its reason, and told of
    letter = DeadLetter.objects.get()
    assert (letter.entry_id, letter.reason_code) == (poison, "DELIVERY_LIMIT")
    assert letter.reason == "deliveries=5: KeyError: 'a bug'"
    assert (pending(desk, AI), desk.event(f"entry:{poison}", "order.failed")["reason_code"]) == (0, "DELIVERY_LIMIT")


def test_an_entry_whose_readers_die_is_kept_at_last(desk: Desk) -> None:
    poison = desk.publish(AI, decision("ETHUSDT"))
    assert RedisEventBus(desk.redis, EVENT_TYPES).read(block_ms=10, count=10)
    tried_again(desk, [poison], 20)

    assert desk.read_bus().chains == []

    assert (DeadLetter.objects.get().reason_code, pending(desk, AI)) == ("DELIVERY_LIMIT", 0)


def test_entries_that_rest_do_not_hide_those_behind_them(desk: Desk) -> None:
    dead = RedisEventBus(desk.redis, EVENT_TYPES)
    ids = [desk.publish(AI, decision()) for _ in range(120)]
    for _ in range(15):
        dead.read(block_ms=10, count=8)
    tried_again(desk, ids[-1:], 1)

    assert len(desk.read_bus().chains) == 1


@pytest.mark.parametrize(
    ("event_type", "first", "second"),
    [
        (AI, decision("BTCUSDT"), decision("ETHUSDT", "sell")),
        (AI, decision("BTCUSDT"), decision("BTCUSDT", position_size_usd=600.0)),
        (AI, {"symbol": "BTCUSDT", "side": "hold"}, decision("BTCUSDT")),
        (
            "signal.execute",
            {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.01", "request_id": "r-1"},
            {"symbol": "BTCUSDT", "side": "sell", "quantity": "0.01", "request_id": "r-1"},
        ),
        ("policy.updated", {"key": KEY, "new_value": 0.003}, {"key": KEY, "new_value": 0.004}),
        ("ess.tripped", {"reason": "a"}, {"reason": "b"}),
        ("ess.state.changed", {"new_state": "ARMED"}, {"new_state": "CRITICAL"}),
        ("model.promoted", {"model_name": "m", "new_version": "1"}, {"model_name": "m", "new_version": "2"}),
    ],
)
def test_a_repeat_that_says_something_else_is_told(
    desk: Desk, event_type: str, first: dict[str, Any], second: dict[str, Any]
) -> None:
    guessed = {"event_id": "guessed"}
    desk.publish(event_type, first | guessed)
    desk.read_bus()
    entry_id = desk.publish(event_type, second | guessed)

    started = desk.read_bus()

    letter = DeadLetter.objects.get()
    assert (letter.entry_id, letter.reason_code, started.chains) == (entry_id, "IDENTITY_REUSED", [])
    is_order = event_type in {AI, "signal.execute"}
    assert OutboxEvent.objects.filter(aggregate=f"entry:{entry_id}", event_type="order.failed").count() == is_order
    # It should stop entries by what may have been meant to stop them
    assert bool(started.trips) == (event_type.startswith("ess."))


def test_a_repeat_that_only_its_writing_differs_is_counted(desk: Desk) -> None:
    same = decision("BTCUSDT")
    for _ in range(2):
        desk.publish(AI, same | {"timestamp": desk.clock().isoformat()})
    desk.read_bus()

    assert (InboxEvent.objects.get().duplicates, DeadLetter.objects.count()) == (1, 0)


@pytest.mark.parametrize("loss", ["group", "everything"])
def test_lost_group_or_flushed_redis_is_made_anew(desk: Desk, loss: str) -> None:
    desk.publish(AI, decision("ETHUSDT"))
    assert len(desk.read_bus().chains) == 1

    if loss == "group":
        desk.redis.xgroup_destroy(stream_of(AI), group_of(AI))
    else:
        desk.redis.flushdb()
    desk.publish(AI, decision("BTCUSDT"))
    found = desk.read_bus().chains + desk.read_bus().chains

    # The old entry, when it is delivered again, is not a second request.
    assert ExecutionRequest.objects.count() == 2
    assert found == [ExecutionRequest.objects.get(symbol="BTCUSDT").pk]


def test_announced_policy_whose_task_was_lost_is_found_again(desk: Desk) -> None:
    """The broker lost the task; the inbox knows that nobody has applied the value."""
    desk.publish("policy.updated", {"key": KEY, "new_value": 0.003})
    [inbox_id] = desk.read_bus().policies
    desk.risk.answer("down", status=503)
    assert (pending_events(before=desk.clock()), PolicyValue.objects.count()) == ([inbox_id], 0)

    apply_policy(inbox_id, risk_safety=desk.risk_safety, now=desk.clock())

    assert (pending_events(before=desk.clock()), PolicyValue.objects.get().value) == ([], Decimal("0.003"))
    assert InboxEvent.objects.get().outcome == "APPLIED"


@pytest.mark.parametrize("late", [True, False])
def test_announcements_tighten_in_whatever_order_they_are_worked_off(desk: Desk, *, late: bool) -> None:
    for value in (0.003, 0.004):
        desk.publish("policy.updated", {"key": KEY, "new_value": value})
    first, second = desk.read_bus().policies
    desk.risk.answer("down", status=503)

    for inbox_id in (second, first) if late else (first, second):
        apply_policy(inbox_id, risk_safety=desk.risk_safety, now=desk.clock())

    assert PolicyValue.objects.get().value == Decimal("0.003")
    assert pending_events(before=desk.clock()) == []
