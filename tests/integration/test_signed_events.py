"""Signed events on the real bus: what is not proven is never executed, and an identity is its producer's alone."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from pydantic import SecretStr

from execution import wiring
from execution.adapters.redis_bus import RedisEventBus, signing_as
from execution.adapters.stream_names import group_of, stream_of
from execution.domain.signatures import NONCES_KEPT, SIGNATURE_FIELDS, SigningKey, SigningRules, read_signature, sign
from execution.models import DeadLetter, EssStatus, ExecutionRequest, InboxEvent, OutboxEvent, PolicyValue, SeenNonce
from execution.operations.retention import RetentionRules, apply_retention
from execution.reconciliation.enforce_ess_trip import TripAction, work_off_trip
from execution.risk.ess import EssRules, decide
from execution.signals import accept
from execution.signals.accept import EVENT_TYPES
from execution.signals.replay_dead_letters import Replay, replay_letter
from execution_project.env import environment
from local_stack.bus import wrapped
from tests.support.desk import INTAKE, Desk, decision

AI, SIGNAL, TRIP, STATE = "ai.decision.made", "signal.execute", "ess.tripped", "ess.state.changed"
SECRETS = {name: f"the-secret-of-{name}-in-these-tests-0123456789" for name in ("ai-1", "ai-2", "desk-1", "risk-1")}
KEYS = {
    "ai-1": SigningKey(key_id="ai-1", producer="ai-engine", secret=SECRETS["ai-1"].encode(), streams=frozenset({AI})),
    "ai-2": SigningKey(key_id="ai-2", producer="ai-engine", secret=SECRETS["ai-2"].encode(), streams=frozenset({AI})),
    "desk-1": SigningKey(
        key_id="desk-1", producer="desk", secret=SECRETS["desk-1"].encode(), streams=frozenset({AI, SIGNAL})
    ),
    "risk-1": SigningKey(
        key_id="risk-1",
        producer="risk-safety",
        secret=SECRETS["risk-1"].encode(),
        streams=frozenset(EVENT_TYPES) - {AI, SIGNAL},
    ),
}
RULES = SigningRules(keys=KEYS, max_age=timedelta(seconds=300))
# What each stream carries, signed by whom.
EVENTS: dict[str, tuple[str, dict[str, Any]]] = {
    AI: ("ai-1", decision("BTCUSDT")),
    SIGNAL: ("desk-1", {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.01", "request_id": "r-1"}),
    TRIP: ("risk-1", {"reason": "drawdown"}),
    STATE: ("risk-1", {"new_state": "CRITICAL"}),
    "policy.updated": ("risk-1", {"key": "risk.max_leverage", "new_value": 1}),
    "model.promoted": ("risk-1", {"model_name": "m", "new_version": "1"}),
}


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A service that demands signatures."""
    desk.intake = replace(INTAKE, signing=RULES)
    return desk


def entry_of(event_type: str, payload: Mapping[str, Any], key_id: str, *, at: datetime, **how: Any) -> dict[str, str]:
    """Return an event as its producer signs it."""
    fields = {str(name): str(value) for name, value in wrapped(event_type, payload, source="producer").items()}
    signed_as: dict[str, Any] = {
        "stream": stream_of(event_type),
        "key_id": key_id,
        "secret": SECRETS[key_id].encode(),
        "at": at,
    }
    return sign(fields, **signed_as | {"nonce": uuid4().hex} | how)


def add(desk: Desk, event_type: str, fields: Mapping[Any, Any], entry_id: str = "*") -> str:
    added: Any = desk.redis.xadd(stream_of(event_type), dict[Any, Any](fields), id=entry_id)
    return str(added.decode())


def send(desk: Desk, event_type: str, payload: Mapping[str, Any], key_id: str, **how: Any) -> str:
    """Put a signed event on the bus as its producer does; return its entry's id."""
    return add(desk, event_type, entry_of(event_type, payload, key_id, **{"at": desk.clock()} | how))


def letters() -> list[str]:
    return list(DeadLetter.objects.order_by("pk").values_list("reason_code", flat=True))


def nothing_happened() -> bool:
    return not (InboxEvent.objects.exists() or ExecutionRequest.objects.exists() or PolicyValue.objects.exists())


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_what_its_producer_has_signed_is_taken(desk: Desk, event_type: str) -> None:
    key_id, payload = EVENTS[event_type]
    send(desk, event_type, payload, key_id)

    started = desk.read_bus()

    assert letters() == []
    assert InboxEvent.objects.get().producer == KEYS[key_id].producer
    assert len(started.chains) == (event_type in {AI, SIGNAL})
    assert bool(started.trips) == (event_type in {TRIP, STATE})


ATTACKS: dict[str, tuple[str, Callable[[dict[str, str]], dict[str, str]]]] = {
    "unsigned": ("SIGNATURE_MISSING", lambda entry: {n: v for n, v in entry.items() if n not in SIGNATURE_FIELDS}),
    "altered": ("SIGNATURE_INVALID", lambda entry: entry | {"payload": entry["payload"].replace("}", ',"x":1}')}),
    "other identity": ("SIGNATURE_INVALID", lambda entry: entry | {"event_id": "guessed"}),
    "unknown key": ("SIGNATURE_KEY_UNKNOWN", lambda entry: entry | {"signature_key": "stranger"}),
    "another's key": ("SIGNATURE_INVALID", lambda entry: entry | {"signature_key": "ai-2"}),
    "too large": ("PAYLOAD_TOO_LARGE", lambda entry: entry | {"x": "x" * 70_000}),
}


@pytest.mark.parametrize("event_type", EVENT_TYPES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_proven_is_never_executed(desk: Desk, event_type: str, attack: str) -> None:
    key_id, payload = EVENTS[event_type]
    code, forge = ATTACKS[attack]
    entry_id = add(desk, event_type, forge(entry_of(event_type, payload, key_id, at=desk.clock())))

    started = desk.read_bus()

    assert letters() == [code]
    assert nothing_happened()
    assert (started.chains, started.policies, started.trips) == ([], [], [])
    # An order's sender should learn it.
    failed = OutboxEvent.objects.filter(aggregate=f"entry:{entry_id}", event_type="order.failed")
    assert [each.payload["reason_code"] for each in failed] == ([code] if event_type in {AI, SIGNAL} else [])
    # It should leave nothing behind that comes again.
    pending: Any = desk.redis.xpending(stream_of(event_type), group_of(event_type))
    assert pending["pending"] == 0
    assert SeenNonce.objects.count() == 0


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_producer_speaks_on_its_own_streams_only(desk: Desk, event_type: str) -> None:
    """With a key that is true, and with an entry that was signed for another stream."""
    stranger = "ai-1" if event_type != AI else "risk-1"
    payload = EVENTS[event_type][1]
    send(desk, event_type, payload, stranger)
    own = EVENTS[event_type][0]
    send(desk, event_type, payload, own, stream=stream_of("order.placed"))

    desk.read_bus()

    assert letters() == ["SIGNATURE_STREAM_NOT_ALLOWED", "SIGNATURE_INVALID"]
    assert nothing_happened()


@pytest.mark.parametrize("seconds", [-301, -100_000, 61, 10**6])
def test_a_signature_of_another_time_is_refused(desk: Desk, seconds: int) -> None:
    send(desk, AI, decision(), "ai-1", at=desk.clock() + timedelta(seconds=seconds))

    desk.read_bus()

    assert (letters(), nothing_happened()) == (["SIGNATURE_EXPIRED"], True)


@pytest.mark.parametrize("event_type", EVENT_TYPES)
def test_a_copy_is_not_taken_a_second_time(desk: Desk, event_type: str) -> None:
    """Also with an id of the copier's choice, and after its age alone would have let it pass for long."""
    key_id, payload = EVENTS[event_type]
    entry = entry_of(event_type, payload, key_id, at=desk.clock())
    first = add(desk, event_type, entry)
    desk.read_bus()
    counted = (InboxEvent.objects.get().duplicates, ExecutionRequest.objects.count())
    EssStatus.objects.all().delete()

    copy = add(desk, event_type, entry)
    beside = add(desk, event_type, entry, entry_id=f"{copy.partition('-')[0]}-{int(copy.partition('-')[2]) + 1}")
    started = desk.read_bus()

    assert letters() == ["SIGNATURE_REPLAYED"] * 2
    assert {letter.entry_id for letter in DeadLetter.objects.all()} == {copy, beside}
    assert all(first in letter.reason for letter in DeadLetter.objects.all())
    assert (InboxEvent.objects.get().duplicates, ExecutionRequest.objects.count()) == counted
    assert (started.chains, started.policies, started.trips) == ([], [], [])
    # The order itself has not failed.
    assert not OutboxEvent.objects.filter(event_type="order.failed").exists()


@pytest.mark.parametrize("age", [timedelta(0), timedelta(hours=23), timedelta(days=1, hours=1)])
def test_our_own_redelivery_is_the_same_entry(desk: Desk, age: timedelta) -> None:
    """The reader died after it had stored the entry and before it acknowledged it; or Redis lost the group."""
    send(desk, AI, decision(), "ai-1")
    [request_id] = desk.read_bus().chains
    desk.redis.xgroup_destroy(stream_of(AI), group_of(AI))
    desk.redis.xgroup_create(stream_of(AI), group_of(AI), id="0")

    desk.clock.let_pass(age.total_seconds())
    started = desk.another().read_bus()

    assert (letters(), started.chains) == ([], [])
    assert ExecutionRequest.objects.get().pk == request_id
    assert InboxEvent.objects.get().duplicates == 0


def test_what_a_dead_reader_was_given_is_proven_when_it_is_taken_over(desk: Desk) -> None:
    """It was read by a process that died before it had stored anything, and waits longer than a signature's age."""
    desk.read_bus()
    send(desk, AI, decision(), "ai-1")
    desk.redis.xreadgroup(group_of(AI), "dead", {stream_of(AI): ">"})
    desk.clock.let_pass(3600)
    [pending] = desk.redis.xpending_range(stream_of(AI), group_of(AI), "-", "+", 1)
    desk.redis.xclaim(stream_of(AI), group_of(AI), "dead", 0, [pending["message_id"]], idle=60_000)

    started = desk.read_bus()

    assert (letters(), len(started.chains)) == ([], 1)


def test_a_guessed_identity_of_another_producer_is_another_event(desk: Desk) -> None:
    """Fault 26: the real decision is executed, whatever anybody has sent under its id before."""
    real = decision("BTCUSDT")
    add(desk, AI, wrapped(AI, decision("BTCUSDT", "hold") | {"event_id": real["event_id"]}, source="stranger"))
    send(desk, AI, decision("BTCUSDT", "hold") | {"event_id": real["event_id"]}, "desk-1")
    assert desk.read_bus().chains == []
    send(desk, AI, real, "ai-1")

    started = desk.read_bus()

    assert letters() == ["SIGNATURE_MISSING"]
    assert ExecutionRequest.objects.get().pk == started.chains[0]
    assert sorted(InboxEvent.objects.values_list("producer", flat=True)) == ["ai-engine", "desk"]


def test_a_guessed_request_id_of_a_signal_is_another_one(desk: Desk) -> None:
    other = replace(KEYS["desk-1"], key_id="ai-2", producer="other", secret=SECRETS["ai-2"].encode())
    desk.intake = replace(INTAKE, signing=replace(RULES, keys=KEYS | {"ai-2": other}))
    payload = EVENTS[SIGNAL][1]
    send(desk, SIGNAL, payload | {"side": "sell"}, "ai-2")
    send(desk, SIGNAL, payload, "desk-1")

    desk.read_bus()

    assert (letters(), ExecutionRequest.objects.count()) == ([], 2)


def test_a_producer_is_one_under_both_of_its_keys(desk: Desk) -> None:
    same = decision("BTCUSDT")
    send(desk, AI, same, "ai-1")
    send(desk, AI, same, "ai-2")

    started = desk.read_bus()

    assert (letters(), len(started.chains), InboxEvent.objects.get().duplicates) == ([], 1, 1)
    # It should tell a repeat that says something else, under either key.
    send(desk, AI, same | {"side": "sell"}, "ai-2")
    desk.read_bus()
    assert letters() == ["IDENTITY_REUSED"]


@pytest.mark.parametrize("event_type", [AI, SIGNAL])
def test_what_came_before_signing_was_switched_on_is_the_same_event(desk: Desk, event_type: str) -> None:
    key_id, payload = EVENTS[event_type]
    desk.intake = INTAKE
    entry = entry_of(event_type, payload, key_id, at=desk.clock())
    add(desk, event_type, entry)
    assert len(desk.read_bus().chains) == 1
    desk.intake = replace(INTAKE, signing=RULES)

    # Its own redelivery, and the producer's repeat
    desk.redis.xgroup_destroy(stream_of(event_type), group_of(event_type))
    desk.redis.xgroup_create(stream_of(event_type), group_of(event_type), id="0")
    send(desk, event_type, payload, key_id)
    started = desk.another().read_bus()

    assert (letters(), started.chains, ExecutionRequest.objects.count()) == ([], [], 1)
    # It should not let who sent something else under the identity stand in the way.
    send(desk, event_type, payload | {"side": "sell"}, key_id)
    assert len(desk.another().read_bus().chains) == 1


def test_unsigned_events_are_taken_while_nothing_demands_signatures(desk: Desk) -> None:
    desk.intake = INTAKE
    add(desk, AI, wrapped(AI, decision("BTCUSDT"), source="ai"))
    send(desk, AI, decision("ETHUSDT"), "ai-1")
    flat = {name: str(value) for name, value in decision("SOLUSDT").items() if value is not None}
    add(desk, AI, sign(flat, stream=stream_of(AI), key_id="x", secret=b"x", at=desk.clock(), nonce="n" * 16))

    started = desk.read_bus()

    assert (letters(), len(started.chains)) == ([], 3)
    assert set(InboxEvent.objects.values_list("producer", flat=True)) == {""}


# Emergency stops


STOPS = {TRIP: {"reason": "drawdown"}, STATE: {"new_state": "CRITICAL", "reason": "drawdown"}}


def unsigned(desk: Desk, event_type: str, payload: Mapping[str, Any]) -> None:
    add(desk, event_type, wrapped(event_type, payload, source="stranger"))
    desk.read_bus()


def closed_by_trip(desk: Desk) -> int:
    """Work off a trip with the strongest action, and return how many positions stay open."""
    work_off_trip(TripAction.FLATTEN, exchange=desk.exchange, rules=desk._protection(), clock=desk.clock)
    return len(desk.ledger.positions)


@pytest.mark.parametrize("event_type", STOPS)
@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_stop_without_a_signature_holds_entries_and_closes_nothing(desk: Desk, event_type: str, side: str) -> None:
    desk.start()
    desk.trade_opened("BTCUSDT", side)

    unsigned(desk, event_type, STOPS[event_type])

    status = EssStatus.objects.get()
    assert (status.state, status.permitted) == ("UNPROVEN_STOP", False)
    assert status.held_until == pytest.approx(desk.clock() + INTAKE.ess_trip_hold, abs=timedelta(seconds=5))
    assert desk.outcome(desk.decide("ETHUSDT"))[1] == "ESS_BLOCKED"
    assert closed_by_trip(desk) == 1
    # A proven trip should do what it always does.
    send(desk, event_type, STOPS[event_type], "risk-1")
    assert desk.read_bus().trips
    assert closed_by_trip(desk) == 0


def test_a_stop_without_a_signature_ends_by_itself(desk: Desk) -> None:
    desk.start()
    unsigned(desk, TRIP, STOPS[TRIP])

    desk.clock.let_pass(INTAKE.ess_trip_hold.total_seconds() + 1)

    assert desk.outcome(desk.decide("ETHUSDT"), until="check_ess") == ("CLEARED", "")


@pytest.mark.parametrize("state", ["ARMED", "NORMAL"])
def test_nothing_without_a_signature_releases(desk: Desk, state: str) -> None:
    """Neither does it hold: that it means to stop us nobody can think."""
    send(desk, TRIP, STOPS[TRIP], "risk-1")
    desk.read_bus()
    before = EssStatus.objects.values().get()

    unsigned(desk, STATE, {"new_state": state})

    assert EssStatus.objects.values().get() == before
    EssStatus.objects.all().delete()
    unsigned(desk, STATE, {"new_state": state})
    assert not EssStatus.objects.exists()


def test_a_stop_without_a_signature_takes_no_trips_place(desk: Desk) -> None:
    """Neither one that came by a signed event, nor one that risk-safety itself tells of while it holds."""
    desk.start()
    desk.trade_opened()
    send(desk, TRIP, STOPS[TRIP], "risk-1")
    desk.read_bus()
    unsigned(desk, TRIP, {"reason": "nobody"})
    assert EssStatus.objects.get().state == "TRIPPED"

    EssStatus.objects.all().delete()
    unsigned(desk, TRIP, {"reason": "nobody"})
    desk.risk.answer({"state": "CRITICAL", "can_execute": False})
    assert not decide(desk.risk_safety, EssRules(fail_mode="open"), desk.clock).permitted
    assert EssStatus.objects.get().state == "CRITICAL"
    assert closed_by_trip(desk) == 0
    # What the unproven one holds should be held until its end, though the service is armed again sooner.
    desk.risk.restore()
    assert not decide(desk.risk_safety, EssRules(fail_mode="open"), desk.clock).permitted
    desk.clock.let_pass(INTAKE.ess_trip_hold.total_seconds() + 1)
    assert decide(desk.risk_safety, EssRules(fail_mode="open"), desk.clock).permitted


@pytest.mark.parametrize("signed", [True, False])
def test_a_stop_that_nobody_could_read_holds_as_its_signature_says(desk: Desk, *, signed: bool) -> None:
    entry = entry_of(TRIP, {}, "risk-1", at=desk.clock()) | {"payload": "{"}
    fields = {name: value for name, value in entry.items() if name not in SIGNATURE_FIELDS}
    if signed:
        secret = SECRETS["risk-1"].encode()
        fields = sign(fields, stream=stream_of(TRIP), key_id="risk-1", secret=secret, at=desk.clock(), nonce="n" * 16)
    add(desk, TRIP, fields)

    started = desk.read_bus()

    assert letters() == ["MALFORMED_PAYLOAD" if signed else "SIGNATURE_MISSING"]
    assert (EssStatus.objects.get().state, bool(started.trips)) == (
        ("TRIPPED", True) if signed else ("UNPROVEN_STOP", False)
    )


# What a person does


@pytest.mark.parametrize("code", ["SIGNATURE_INVALID", "SIGNATURE_EXPIRED"])
def test_a_letter_that_is_driven_again_is_its_producers_event(desk: Desk, code: str) -> None:
    """So the producer's own repeat, which comes later, is no second decision."""
    payload = decision("BTCUSDT")
    if code == "SIGNATURE_EXPIRED":
        send(desk, AI, payload, "ai-1", at=desk.clock() - timedelta(seconds=301))
    else:
        send(desk, AI, payload, "ai-1", secret=b"an-old-secret")
    desk.read_bus()
    letter = DeadLetter.objects.get()
    assert letter.reason_code == code

    accepted = replay_letter(letter.pk, Replay(by="me", reason="it is ours"), rules=desk.intake, now=desk.clock())
    send(desk, AI, payload, "ai-1")
    started = desk.read_bus()

    assert (ExecutionRequest.objects.get().pk, started.chains) == (accepted.request_id, [])
    assert InboxEvent.objects.get().producer == "ai-engine"


def test_nonces_are_kept_for_longer_than_a_signature_is_believed_and_no_longer(desk: Desk) -> None:
    old, young = desk.clock() - NONCES_KEPT - timedelta(hours=1), desk.clock() - timedelta(days=1, minutes=5)
    for number, signed_at in enumerate((old, young, desk.clock())):
        SeenNonce.objects.create(key_id="k", nonce=str(number), stream="s", entry_id="1-1", signed_at=signed_at)

    rules = RetentionRules(events=None, requests=None, trades=None)
    deleted = apply_retention(rules, clock=desk.clock, length=timedelta(seconds=5))

    assert deleted["nonces"] == 1
    assert sorted(SeenNonce.objects.values_list("nonce", flat=True)) == ["1", "2"]


# Our own events


def test_our_own_events_are_signed_when_we_have_a_key(desk: Desk) -> None:
    desk.start()
    desk.bus = RedisEventBus(desk.redis, EVENT_TYPES, seal=signing_as("execution-1", SECRETS["ai-1"].encode()))
    desk.trade_opened()

    assert desk.relay() > 0

    ours = SigningKey(
        key_id="execution-1",
        producer="execution",
        secret=SECRETS["ai-1"].encode(),
        streams=frozenset({"trade.opened", "order.placed", "order.filled"}),
    )
    rules = SigningRules(keys={"execution-1": ours}, max_age=timedelta(seconds=300))
    nonces = []
    for event_type in ours.streams:
        entries: Any = desk.redis.xrange(stream_of(event_type))
        assert entries
        nonces += [read_signature(stream_of(event_type), event_type, fields, rules).nonce for _, fields in entries]
    assert len(set(nonces)) == len(nonces)


def test_our_events_are_as_before_without_a_key(desk: Desk) -> None:
    desk.start()
    desk.trade_opened()
    desk.relay()

    [event] = desk.stream("trade.opened")
    assert not SIGNATURE_FIELDS & set(event)


def test_a_person_sends_a_signed_event(desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    given = {"ai-1": {"producer": "ai-engine", "secret": SECRETS["ai-1"], "streams": [AI]}}
    env = environment()
    changed = env.model_copy(update={"event_signing_keys": SecretStr(json.dumps(given))})
    monkeypatch.setattr(wiring, "environment", lambda: changed)
    monkeypatch.setattr(wiring, "bus_redis_client", lambda: desk.redis)
    payload = tmp_path / "decision.json"
    payload.write_text(json.dumps(decision("BTCUSDT")))
    out = StringIO()

    call_command("send_event", AI, payload=str(payload), key="ai-1", stdout=out)
    call_command("send_event", AI, payload=str(payload), stdout=out)
    with pytest.raises(CommandError, match="has no key nobody"):
        call_command("send_event", AI, payload=str(payload), key="nobody")
    payload.write_text("[1]")
    with pytest.raises(CommandError, match="must be a JSON object"):
        call_command("send_event", AI, payload=str(payload), key="ai-1")

    started = desk.read_bus()
    assert (len(started.chains), letters()) == (1, ["SIGNATURE_MISSING"])
    assert SECRETS["ai-1"] not in out.getvalue()


@pytest.mark.parametrize("signed", [True, False])
def test_a_reader_that_dies_between_the_letter_and_the_hold_leaves_neither(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, *, signed: bool
) -> None:
    """Or the entry, delivered again, would find its letter and hold nothing."""
    fields = entry_of(TRIP, {"timestamp": "never"}, "risk-1", at=desk.clock())
    add(desk, TRIP, fields if signed else {n: v for n, v in fields.items() if n not in SIGNATURE_FIELDS})

    class DiedError(BaseException):
        pass

    def die(*_: Any, **__: Any) -> None:
        raise DiedError

    with monkeypatch.context() as patch:
        patch.setattr(accept, "hold_trip", die)
        with pytest.raises(DiedError):
            desk.read_bus()
    assert not DeadLetter.objects.exists()
    desk.redis.xgroup_setid(stream_of(TRIP), group_of(TRIP), "0")

    desk.another().read_bus()

    assert (DeadLetter.objects.count(), EssStatus.objects.get().permitted) == (1, False)
