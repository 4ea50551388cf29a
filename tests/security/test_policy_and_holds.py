"""Attacks on limits and brakes: a neighbour that lifts limits, stops us for ever, or lets a stop look old.

Each begins beside a protected position, and checks at its end that trading went on.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from execution.domain.policy import KEYS, Looser
from local_stack.bus import stream_key, wrapped
from tests.security.aftermath import Api, HeldPosition, parts_work, trading_goes_on
from tests.support.decisions import decision
from tests.support.ledger import ALGO_ORDER, Ledger
from tests.support.stack import CeleryStack
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
ROOT = Path(__file__).resolve().parents[2]
WITHIN = 45.0
POLICY, SIGNAL, TRIP, STATE = "policy.updated", "signal.execute", "ess.tripped", "ess.state.changed"
NOTIONAL = "risk.max_order_notional_usd"
# 2 BTC at 50x without a stop: what the limits, once lifted, let through.
RECKLESS = {"symbol": "BTCUSDT", "side": "buy", "quantity": "2", "leverage": 50}
Plant = Callable[[CeleryStack], None]


def publish(stack: CeleryStack, event_type: str, payload: Mapping[str, Any]) -> None:
    """Put an event on its stream, as every neighbour on the bus can."""
    stack.redis.xadd(stream_key(event_type), wrapped(event_type, payload, source="neighbour"))


def loosest(name: str) -> str:
    """Return the value of a key that takes on the most risk."""
    key = KEYS[name]
    if key.zero_is_off:
        return "0"
    return f"{key.minimum if key.looser is Looser.LOWER else key.maximum:f}"


def announce(stack: CeleryStack, values: Mapping[str, object]) -> None:
    """Announce policy values, and wait until the service has dealt with every announcement."""
    for key, value in values.items():
        publish(stack, POLICY, {"key": key, "old_value": None, "new_value": value, "event_id": str(uuid4())})

    def dealt_with() -> bool:
        lag = stack.redis.xlen(stream_key(POLICY))
        query = "SELECT count(*) FROM execution_inboxevent WHERE event_type = %s AND outcome = 'APPLIED'"
        [(applied,)] = stack.rows(query, POLICY)
        return bool(applied >= lag)

    eventually(dealt_with, within=WITHIN, what="every announcement is dealt with", every=0.2)


def refusal_of(stack: CeleryStack, event_type: str, payload: Mapping[str, Any]) -> str:
    """Publish a decision and return the code of its refusal; fails when it was not refused."""
    event_id = str(uuid4())
    stamped = {**payload, "event_id": event_id, "timestamp": datetime.now(UTC).isoformat()}
    publish(stack, event_type, stamped)
    query = (
        "SELECT request.state, request.reason_code FROM execution_executionrequest AS request"
        " JOIN execution_inboxevent AS inbox ON inbox.id = request.inbox_id WHERE inbox.identity = %s"
    )

    def ended() -> list[tuple[Any, ...]]:
        rows = stack.rows(query, f"event:{event_id}")
        return rows if rows and rows[0][0] in {"DENIED", "RECORDED", "REJECTED", "EXPIRED"} else []

    [(state, code)] = eventually(ended, within=WITHIN, what="the decision has its outcome", every=0.1)
    assert state == "DENIED", (state, code)
    return str(code)


def policy_reasons(api: Api) -> str:
    return str(api.call("GET", "/health").json()["components"]["policy"]["error"])


def limiter_key(stack: CeleryStack, part: str = "") -> str:
    return f"execution:limiter:{stack.paper.url.removeprefix('http://')}{part}"


def breaker_key(stack: CeleryStack, part: str = "") -> str:
    return f"execution:breaker:{stack.paper.url.removeprefix('http://')}{part}"


def stop_comes_back(stack: CeleryStack, held: HeldPosition) -> HeldPosition:
    """Take the held position's stop away by hand, and wait until the service has put another one in its place."""
    for algo_id in held.stops:
        stack.person.sign_request("DELETE", ALGO_ORDER, {"symbol": held.symbol, "algoId": algo_id})

    def stops() -> frozenset[int]:
        live = {row["algoId"] for row in Ledger.of(stack.paper).live("STOP_MARKET", held.symbol)}
        return frozenset(live - held.stops)

    found = eventually(stops, within=WITHIN, what="another stop of the held position", every=0.1)
    return HeldPosition(symbol=held.symbol, stops=found)


@pytest.fixture
def silent_risk(stack: CeleryStack) -> Iterator[None]:
    """Risk-safety as a test has made it answers normally again afterwards."""
    yield
    stack.risk.restore()


# Policy


def test_an_announcement_lifts_no_limit(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    before = stack.rows("SELECT key, value, version FROM execution_policyvalue ORDER BY key")
    unknown: dict[str, object] = {"risk.no_such_key": 1, "x" * 100: 1}

    announce(stack, {**{name: loosest(name) for name in KEYS}, **unknown})

    # It should have put nothing in force, and refuse what the lifted limits would have let through.
    assert stack.rows("SELECT key, value, version FROM execution_policyvalue ORDER BY key") == before
    assert refusal_of(stack, SIGNAL, RECKLESS) == "LEVERAGE_EXCEEDS_LIMIT"
    assert refusal_of(stack, SIGNAL, RECKLESS | {"leverage": 5}) == "NOTIONAL_EXCEEDS_LIMIT"
    # It should be in the journal, and an alarm.
    refused = stack.rows("SELECT entity_id FROM execution_auditevent WHERE entity = 'policy' AND to_state = 'DENIED'")
    assert {NOTIONAL, "risk.max_leverage", "execution.allow_no_stop", *unknown} <= {key for (key,) in refused}
    assert "POLICY_" in policy_reasons(api)
    trading_goes_on(stack, held)


GARBAGE: dict[str, tuple[Any, int]] = {
    "silence": ("down", 503),
    "null": ({"key": NOTIONAL, "value": None}, 200),
    "no value": ({"detail": "not found"}, 200),
    "no object": ([1, 2], 200),
    "true": ({"value": True}, 200),
    "a list": ({"value": [5_000_000]}, 200),
    "underscores": ({"value": "5_000_000"}, 200),
    "other digits": ({"value": "\u0665\u0660\u0660\u0660\u0660\u0660"}, 200),
    "infinity": ({"value": "Infinity"}, 200),
}


@pytest.mark.usefixtures("silent_risk")
def test_no_answer_of_risk_safety_that_is_not_a_number_confirms_a_looser_value(
    stack: CeleryStack, held: HeldPosition
) -> None:
    query = "SELECT value FROM execution_policyvalue WHERE key = %s AND value > 10000"
    for name, (body, status) in GARBAGE.items():
        stack.risk.answer(body, status=status)
        announce(stack, {NOTIONAL: 5_000_000})
        assert stack.rows(query, NOTIONAL) == [], name
    stack.risk.answer_normally()

    trading_goes_on(stack, held, restart=False)


def test_what_risk_safety_itself_loosens_stays_below_the_hard_ceiling(
    stack: CeleryStack, api: Api, held: HeldPosition
) -> None:
    stack.risk.change_policy("risk.max_leverage", "125")
    stack.risk.change_policy(NOTIONAL, "10000000")
    stack.risk.change_policy("execution.allow_no_stop", "1")
    capped = {"risk.max_leverage", NOTIONAL, "execution.allow_no_stop"}

    def reported() -> bool:
        rows = stack.rows("SELECT key FROM execution_policyvalue WHERE source = 'http'")
        return capped <= {key for (key,) in rows}

    eventually(reported, within=WITHIN, what="risk-safety's values", every=0.2)
    try:
        assert refusal_of(stack, SIGNAL, RECKLESS | {"leverage": 51}) == "LEVERAGE_EXCEEDS_LIMIT"
        assert refusal_of(stack, SIGNAL, RECKLESS | {"quantity": "100"}) == "NOTIONAL_EXCEEDS_LIMIT"
        details = api.call("GET", "/health").json()["components"]["policy"]["details"]
        assert capped <= set(details["capped"])
        assert "loosened" in policy_reasons(api)
    finally:
        for key, value in (("risk.max_leverage", "20"), (NOTIONAL, "10000"), ("execution.allow_no_stop", "0")):
            stack.risk.change_policy(key, value)
    trading_goes_on(stack, held, restart=False)


def test_a_limit_that_was_tightened_to_nothing_is_an_operators_to_release(
    stack: CeleryStack, held: HeldPosition
) -> None:
    announce(stack, {"risk.max_positions": 0})
    assert refusal_of(stack, "ai.decision.made", decision("SOLUSDT")) == "POSITIONS_EXCEED_LIMIT"

    word = ("--by", "alice", "--reason", "set by nobody we know")
    stack.manage("set_policy", "risk.max_positions", "default", *word)

    # It should be in the journal with the operator's name and reason.
    query = "SELECT reason, details ->> 'by' FROM execution_auditevent WHERE entity_id = 'risk.max_positions'"
    assert ("set by nobody we know", "alice") in stack.rows(query)
    trading_goes_on(stack, held, restart=False)


# Holds


def plant_state(field: str, value: str, stack: CeleryStack) -> None:
    stack.redis.hset(limiter_key(stack), field, value)


def plant_type(part: str, stack: CeleryStack) -> None:
    stack.redis.set(limiter_key(stack, part), "planted")


def plant_waiters(stack: CeleryStack) -> None:
    stack.redis.zadd(limiter_key(stack, ":queue"), {"a 999999999 9999 9999": 0, "b c d": 1, "no costs": 2})
    stack.redis.zadd(limiter_key(stack, ":leases"), {"a 999999999 9999 9999": 9e15, "b c d": 9e15})


def plant_breaker(stack: CeleryStack) -> None:
    fields = {"faults": "99", "open_until": "9e15", "opened": "1", "times": "x"}
    stack.redis.hset(breaker_key(stack), mapping=dict[Any, Any](fields))
    stack.redis.set(breaker_key(stack, ":probe"), "for ever")


def plant_wrong_breaker(stack: CeleryStack) -> None:
    stack.redis.set(breaker_key(stack), "open")


def plant_settings(stack: CeleryStack) -> None:
    for key in stack.redis.scan_iter("execution:settings:*"):
        stack.redis.set(key, "[[[" * 5000)


def plant_false_settings(stack: CeleryStack) -> None:
    """Well-formed, and false: a leverage that the account does not have, and a mode that it is not in."""
    for key in stack.redis.scan_iter("execution:settings:*"):
        told = '{"leverage": 125, "margin_type": "ISOLATED"}'
        stack.redis.set(key, "hedge" if key.endswith(b"position-mode") else told)


def plant_mirror(stack: CeleryStack) -> None:
    for (trade_id,) in stack.rows("SELECT id FROM execution_trade WHERE state <> 'CLOSED'"):
        stack.redis.delete(f"trade:{trade_id}")
        stack.redis.set(f"trade:{trade_id}", "planted")


FAR = str(int(datetime(2200, 1, 1, tzinfo=UTC).timestamp() * 1000))
PLANTS: Mapping[str, Plant] = {
    **{
        f"{field}={value}": partial(plant_state, field, value)
        for field in ("until:everybody", "until:orders", "until:entries", "probe:next", "since:everybody")
        for value in (FAR, "9e18", "inf", "nan", "tomorrow")
    },
    **{f"limit:{name}": partial(plant_state, f"limit:{name}", "0") for name in ("weight", "orders_10s", "orders_1m")},
    "clock": partial(plant_state, "offset", "-inf"),
    "counters": partial(plant_state, "weight:carried", "9e14"),
    **{f"type of {part or 'state'}": partial(plant_type, part) for part in ("", ":queue", ":leases")},
    "waiters": plant_waiters,
    "breaker": plant_breaker,
    "type of breaker": plant_wrong_breaker,
    "settings": plant_settings,
    "false settings": plant_false_settings,
    "mirror": plant_mirror,
}


def test_nothing_that_is_written_to_redis_keeps_a_stop_from_its_place(
    stack: CeleryStack, api: Api, held: HeldPosition
) -> None:
    for plant in PLANTS.values():
        plant(stack)
        held = stop_comes_back(stack, held)

    # It should be an alarm.
    assert "were not ours" in str(api.call("GET", "/health").json()["components"]["rate_limiter"]["error"])
    trading_goes_on(stack, held)


@pytest.mark.parametrize("status", [418, 429])
def test_an_answer_that_asks_for_years_of_silence_does_not_get_them(
    stack: CeleryStack, api: Api, held: HeldPosition, status: int
) -> None:
    body = {"code": -1003, "msg": "Too many requests."}
    headers = {"Retry-After": "99999999"}
    stack.paper.add_fault(path="/fapi/*", action="reply", status=status, body=body, headers=headers, count=1)

    def is_held() -> dict[str, Any]:
        found: dict[str, Any] = api.call("GET", "/health").json()["components"]["rate_limiter"]
        return found if found["details"]["held_seconds"]["everybody"] else {}

    found = eventually(is_held, within=WITHIN, what="the hold is an alarm with its time left", every=0.1)
    assert "all requests" in found["error"]
    assert found["details"]["held_seconds"]["everybody"] <= (3 * 86_400 if status == 418 else 300)
    # It should look whether the exchange serves, and go on when it does.
    held = stop_comes_back(stack, held)
    parts_work(stack, since=datetime.now(UTC))
    trading_goes_on(stack, held, restart=False)


def test_an_operator_lists_and_releases_holds(stack: CeleryStack, held: HeldPosition) -> None:
    plant_state("until:entries", FAR, stack)

    assert "limiter: entries must wait" in stack.manage("release_holds")
    released = stack.manage("release_holds", "--release", "all", "--by", "alice", "--reason", "planted by a neighbour")

    assert "released limiter" in released
    assert "entries must wait" not in stack.manage("release_holds")
    query = "SELECT entity_id, reason, details ->> 'by' FROM execution_auditevent WHERE entity = 'hold'"
    assert ("limiter", "planted by a neighbour", "alice") in stack.rows(query)
    trading_goes_on(stack, held, restart=False)


# The emergency stop


@pytest.mark.parametrize("event_type", [TRIP, STATE])
def test_a_stop_with_an_old_stamp_that_arrives_now_stops(
    stack: CeleryStack, held: HeldPosition, event_type: str
) -> None:
    local = (datetime.now(UTC) - timedelta(hours=5)).replace(tzinfo=None).isoformat()
    publish(stack, event_type, {"reason": "drawdown", "new_state": "TRIPPED", "timestamp": local})
    query = "SELECT held_until FROM execution_essstatus WHERE NOT permitted AND held_until > now()"
    eventually(lambda: stack.rows(query), within=WITHIN, what="the stop is held", every=0.1)

    assert refusal_of(stack, "ai.decision.made", decision("SOLUSDT")) == "ESS_BLOCKED"

    # It should leave what is open protected all the while, and be an operator's to end.
    held = stop_comes_back(stack, held)
    stack.manage("rearm_ess", "--reason", "the neighbour's clock was wrong")
    trading_goes_on(stack, held, restart=False)


# Moves of a stop


def opened(stack: CeleryStack, symbol: str, side: str) -> str:
    """Open a position and return its trade's id."""
    stack.publish([decision(symbol, side, position_size_usd=100.0)])
    query = "SELECT id FROM execution_trade WHERE symbol = %s AND state = 'OPEN'"
    [(trade_id,)] = eventually(lambda: stack.rows(query, symbol), within=WITHIN, what="the trade", every=0.1)
    eventually(lambda: Ledger.of(stack.paper).live("STOP_MARKET", symbol), within=WITHIN, what="its stop", every=0.1)
    return str(trade_id)


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_stop_is_not_moved_out_of_reach(stack: CeleryStack, api: Api, held: HeldPosition, side: str) -> None:
    trade_id = opened(stack, "BTCUSDT", side)
    [(entry, planned)] = stack.rows("SELECT entry_price, stop_price FROM execution_trade WHERE id = %s", trade_id)
    away = -1 if side == "buy" else 1
    stops = Ledger.of(stack.paper).live("STOP_MARKET", "BTCUSDT")

    def move(fraction: str, **more: Any) -> Any:
        price = round(entry * (1 + away * Decimal(fraction)), 0)
        body = {"stop_loss": f"{max(price, Decimal(1)):f}", "by": "alice", "reason": "wider", **more}
        return api.call("PATCH", f"/api/execution/trades/{trade_id}/protection", json=body)

    override = {"scope": ["stop_distance"], "reason": "earnings"}
    # It should refuse what lies beyond the policy, and with an override what lies beyond the ceiling.
    for refused in (move("0.9999"), move("0.11"), move("0.9999", override=override), move("0.26", override=override)):
        assert refused.status_code == 400, refused.text
        assert "STOP_TOO_FAR" in refused.text
    assert Ledger.of(stack.paper).live("STOP_MARKET", "BTCUSDT") == stops
    # It should let an operator go beyond the policy by name, and write that down.
    assert move("0.12", override=override).status_code == 200
    query = "SELECT reason, details ->> 'by' FROM execution_auditevent WHERE to_state = 'LIMITS_OVERRIDDEN'"
    assert ("earnings", "alice") in stack.rows(query)
    assert planned
    trading_goes_on(stack, held, restart=False)
