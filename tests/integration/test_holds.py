"""No hold is without an end: caps by kind, exits that look through it, an operator's release, values that are not ours.

Redis's clock cannot be stepped, so a test moves the moments that are written there instead.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from redis import Redis

from execution import wiring
from execution.adapters.binance import calls
from execution.adapters.binance.settings_cache import CLOCKS_DIFFER_SECONDS, SYMBOL_SECONDS, SettingsCache
from execution.adapters.breaker import CircuitBreaker
from execution.adapters.mirror import RedisTradeMirror
from execution.adapters.rate_limit import RateLimiter
from execution.domain.holds import HOLD_CAPS, LONGEST_BAN_SECONDS
from execution.domain.outcomes import Waits
from execution.domain.ports import Lane
from execution.domain.rate_limits import CircuitState, Cost, Counter, Permit, Throttled
from execution.domain.trading import OrderService
from execution.domain.venue_status import SymbolSettings
from execution.models import AuditEvent
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

STATE = "execution:limiter:exchange"
QUEUE, LEASES = f"{STATE}:queue", f"{STATE}:leases"
ORDER, READ = Cost(orders_10s=1, orders_1m=1), Cost(weight=1)
EXITS = (Lane.PROTECT, Lane.CLOSE)
YEARS = 1e8
Plant = Callable[["Redis"], object]


@pytest.fixture
def limiter(redis: "Redis") -> RateLimiter:
    found = RateLimiter(redis, per_minute=100_000)
    # Its windows are known: what is denied is denied by a hold.
    fields = {f"{counter}:cold": 0 for counter in Counter}
    found.admit(Lane.READ, READ, max_wait_seconds=0)
    redis.hset(STATE, mapping=dict[Any, Any](fields))
    return found


def ask(limiter: RateLimiter, lane: Lane, cost: Cost = ORDER) -> Permit | Throttled:
    return limiter.admit(lane, cost, max_wait_seconds=0)


def denied(limiter: RateLimiter, lane: Lane, cost: Cost = ORDER) -> Throttled:
    answer = ask(limiter, lane, cost)
    assert isinstance(answer, Throttled), answer
    return answer


def granted(limiter: RateLimiter, lane: Lane, cost: Cost = ORDER) -> Permit:
    answer = ask(limiter, lane, cost)
    assert isinstance(answer, Permit), answer
    return answer


def let_probe_be_due(redis: "Redis") -> None:
    redis.hset(STATE, "probe:next", "0")


# Caps


@pytest.mark.parametrize("who", HOLD_CAPS)
@pytest.mark.parametrize("seconds", [YEARS, float("inf"), 1e300])
def test_a_hold_lasts_no_longer_than_its_kind_allows(limiter: RateLimiter, who: Waits, seconds: float) -> None:
    limiter.hold(who, seconds)

    assert HOLD_CAPS[who] - 5 < limiter.state().holds[who] <= HOLD_CAPS[who]


def test_a_hold_of_no_number_holds_nobody(limiter: RateLimiter) -> None:
    limiter.hold(Waits.EVERYBODY, float("nan"))
    limiter.hold(Waits.ORDERS, -5)

    assert max(limiter.state().holds.values()) < 0.1


# Probes


@pytest.mark.parametrize("lane", EXITS)
@pytest.mark.parametrize("cost", [ORDER, READ])
def test_one_exit_at_a_time_looks_through_a_ban(limiter: RateLimiter, redis: "Redis", lane: Lane, cost: Cost) -> None:
    limiter.hold(Waits.EVERYBODY, YEARS)
    # A ban that has just begun is left alone for a moment.
    assert denied(limiter, lane, cost).blocked_by == "hold:everybody"

    pauses = []
    for _ in range(9):
        let_probe_be_due(redis)
        assert granted(limiter, lane, cost).probe
        # It should say how long the ban lasts, not when the next probe goes.
        assert denied(limiter, lane, cost).wait_seconds > LONGEST_BAN_SECONDS - 60
        pauses.append(round(limiter.state().probe_due_seconds))

    # It should ask ever more seldom, so that a real ban is not prolonged.
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900, 900]
    for other in (Lane.ENTRY, Lane.READ):
        let_probe_be_due(redis)
        assert denied(limiter, other, READ).blocked_by == "hold:everybody"


def test_full_order_counters_are_looked_through_as_well(limiter: RateLimiter, redis: "Redis") -> None:
    limiter.hold(Waits.ORDERS, YEARS)
    assert denied(limiter, Lane.PROTECT).blocked_by == "hold:orders"
    assert not granted(limiter, Lane.PROTECT, READ).probe

    let_probe_be_due(redis)
    limiter.passed(granted(limiter, Lane.PROTECT))

    assert not granted(limiter, Lane.ENTRY).probe


def test_what_the_exchange_serves_ends_the_ban_for_all(limiter: RateLimiter, redis: "Redis") -> None:
    limiter.hold(Waits.EVERYBODY, YEARS)
    limiter.hold(Waits.ORDERS, YEARS)
    let_probe_be_due(redis)

    limiter.passed(granted(limiter, Lane.CLOSE, READ))

    # It should believe a read for reads: of orders it has seen nothing.
    assert [who for who, seconds in limiter.state().holds.items() if seconds] == [Waits.ORDERS]
    granted(limiter, Lane.READ, READ)
    assert denied(limiter, Lane.ENTRY).blocked_by == "hold:orders"


def test_a_ban_that_is_told_after_the_probe_has_left_outlives_it(limiter: RateLimiter, redis: "Redis") -> None:
    limiter.hold(Waits.EVERYBODY, 60)
    let_probe_be_due(redis)
    probe = granted(limiter, Lane.CLOSE)
    limiter.hold(Waits.EVERYBODY, 60)

    limiter.passed(probe)

    assert denied(limiter, Lane.READ, READ).blocked_by == "hold:everybody"


def test_a_renewed_ban_does_not_begin_the_probes_anew(limiter: RateLimiter, redis: "Redis") -> None:
    limiter.hold(Waits.EVERYBODY, 600)
    for _ in range(3):
        let_probe_be_due(redis)
        granted(limiter, Lane.CLOSE)
        limiter.hold(Waits.EVERYBODY, 600)

    assert limiter.state().probes == 3
    assert limiter.state().probe_due_seconds > 100


@pytest.mark.django_db
@pytest.mark.parametrize(("side", "stop"), [("buy", 49000.0), ("sell", 51000.0)])
def test_a_stop_reaches_an_exchange_that_serves_and_ends_the_hold(desk: Desk, side: str, stop: float) -> None:
    request_id = desk.trade_opened(side=side, stop_loss=stop, take_profit=None)
    desk.clock.let_pass(3600)
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": desk.order(request_id, "STOP").client_order_id})
    for key in desk.redis.scan_iter("execution:limiter:*"):
        desk.redis.hset(key, mapping={"until:orders": "9e14", "until:everybody": "9e14"})

    # It should look at once, because no answer of ours has set that hold, and then send for all.
    desk.cycle()

    assert len(desk.ledger.live_stops) == 1
    assert set(desk.limiter.state().holds.values()) == {0.0}
    assert isinstance(ask(desk.limiter, Lane.ENTRY), Permit)


@pytest.mark.django_db
def test_a_ban_that_is_real_is_found_again_by_its_probe(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.exchange.positions()
    desk.limiter.hold(Waits.EVERYBODY, 600)
    [key] = [key for key in desk.redis.scan_iter("execution:limiter:*") if desk.redis.type(key) == b"hash"]
    desk.redis.hset(key, "probe:next", "0")
    body = {"code": -1003, "msg": "Way too many requests; IP banned."}
    desk.paper.add_fault(
        path="/fapi/*", action="reply", status=418, body=body, headers={"Retry-After": "500"}, count=None
    )
    monkeypatch.setattr(calls, "READ_WAIT_SECONDS", 0.2)
    came = len(desk.ledger.requests)

    for _ in range(3):
        desk.exchange.look_up("BTCUSDT", "es1-nothing", OrderService.STANDARD)

    # It should have asked once, and hold on.
    assert len(desk.ledger.requests) == came + 1
    assert desk.limiter.state().holds[Waits.EVERYBODY] > 400


# Values that are not ours


def plant(field: str, value: str, redis: "Redis") -> None:
    redis.hset(STATE, field, value)


def plant_waiters(redis: "Redis") -> None:
    redis.zadd(QUEUE, {"greedy 999999999 9999 9999": 0, "words b c d": 1, "none": 2, "unleased 1 1 1": 3})
    redis.zadd(LEASES, {"greedy 999999999 9999 9999": 9e15, "words b c d": 9e15, "none": 9e15})


PLANTS: dict[str, Plant] = {
    **{
        f"{field} {value}": partial(plant, field, value)
        for field in ("until:everybody", "until:orders", "probe:next", "since:everybody", "limit:orders_10s", "offset")
        for value in ("inf", "-inf", "nan", "tomorrow", "", "9e18")
    },
    **{f"no limit of {name}": partial(plant, f"limit:{name}", "0") for name in ("weight", "orders_10s", "orders_1m")},
    "state": lambda redis: redis.set(STATE, "x"),
    "queue": lambda redis: redis.set(QUEUE, "x"),
    "leases": lambda redis: redis.lpush(LEASES, "x"),
    "waiters": plant_waiters,
    "leases alone": lambda redis: redis.zadd(LEASES, {f"{number} 1 1 1": 9e15 for number in range(3)}),
    "a lease without end": lambda redis: redis.zadd(LEASES, {"x 1 1 1": float("inf")}),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_foreign_value_blocks_no_request(limiter: RateLimiter, redis: "Redis", name: str) -> None:
    PLANTS[name](redis)

    for lane in EXITS:
        granted(limiter, lane)
    assert limiter.state().holds[Waits.EVERYBODY] == 0
    # It should be corrected once, and be counted.
    counted = limiter.state().corrected
    assert counted > 0
    assert limiter.state().waiting == 0
    granted(limiter, Lane.PROTECT)
    assert limiter.state().corrected == counted


@pytest.mark.parametrize("who", HOLD_CAPS)
def test_a_hold_that_others_wrote_is_capped_and_an_exit_ends_it(
    limiter: RateLimiter, redis: "Redis", who: Waits
) -> None:
    plant(f"until:{who}", "9e14", redis)

    assert denied(limiter, Lane.ENTRY).blocked_by == f"hold:{who}"
    assert limiter.state().holds[who] <= HOLD_CAPS[who] + 1
    assert limiter.state().corrected == 1
    probe = granted(limiter, Lane.PROTECT)
    assert probe.probe is (who is not Waits.ENTRIES)
    if probe.probe:
        limiter.passed(probe)
        granted(limiter, Lane.ENTRY)


BREAKER = "execution:breaker:exchange.example"


@pytest.mark.parametrize("open_until", ["9e15", "inf", "nan", "-5", "tomorrow"])
@pytest.mark.parametrize("opened", ["1", "9e99", "-1", "yes"])
def test_no_planted_circuit_keeps_reads_from_looking(redis: "Redis", open_until: str, opened: str) -> None:
    redis.hset(BREAKER, mapping={"faults": "99", "open_until": open_until, "opened": opened, "times": "x"})
    redis.set(f"{BREAKER}:probe", "for ever")
    breaker = CircuitBreaker(redis, host="exchange.example")

    assert breaker.state().state is not CircuitState.OPEN
    assert breaker.lets_pass(Lane.READ, is_read=True)
    breaker.answered()
    assert breaker.state().state is CircuitState.CLOSED


def test_a_circuit_of_a_wrong_type_is_none(redis: "Redis") -> None:
    redis.set(BREAKER, "open")
    breaker = CircuitBreaker(redis, host="exchange.example")

    breaker.failed()

    assert breaker.state().faults == 1
    assert breaker.lets_pass(Lane.ENTRY, is_read=False)


@pytest.mark.parametrize(
    "text", ["", "null", "[", "[" * 10_000, "[1]", "{}", '{"leverage": "5", "margin_type": "x"}', '{"leverage": 5}']
)
def test_settings_that_others_wrote_are_forgotten(redis: "Redis", text: str) -> None:
    cache = SettingsCache(redis, account="a", secret="s")
    redis.set("execution:settings:a:BTCUSDT", text)

    assert cache.symbol("BTCUSDT") is None
    cache.forget_all_but({"BTCUSDT": SymbolSettings(leverage=5, margin_type="CROSSED")}, hedge=False)
    assert redis.get("execution:settings:a:BTCUSDT") is None


SETTINGS = "execution:settings:a:"
TRUE = SymbolSettings(leverage=5, margin_type="CROSSED")
FALSE = json.dumps({"leverage": 50, "margin_type": "CROSSED"})


def forge_by_another_key(redis: "Redis") -> None:
    SettingsCache(redis, account="a", secret="guessed").remember_symbol("BTCUSDT", replace(TRUE, leverage=50))


def forge_by_changing(redis: "Redis") -> None:
    value: Any = redis.get(f"{SETTINGS}BTCUSDT")
    redis.set(f"{SETTINGS}BTCUSDT", value.replace(b'"leverage": 5', b'"leverage": 50'))


def forge_by_copying(redis: "Redis") -> None:
    SettingsCache(redis, account="a", secret="s").remember_symbol("ETHUSDT", replace(TRUE, leverage=50))
    redis.copy(f"{SETTINGS}ETHUSDT", f"{SETTINGS}BTCUSDT", replace=True)


def forge_by_dating(redis: "Redis") -> None:
    value: Any = redis.get(f"{SETTINGS}BTCUSDT")
    redis.set(f"{SETTINGS}BTCUSDT", b"9" + value[1:])


FORGERIES: dict[str, Callable[["Redis"], object]] = {
    "well-formed": lambda redis: redis.set(f"{SETTINGS}BTCUSDT", FALSE),
    "with parts": lambda redis: redis.set(f"{SETTINGS}BTCUSDT", f"1:{'0' * 64}:{FALSE}"),
    "without a number": lambda redis: redis.set(f"{SETTINGS}BTCUSDT", f"x:{'0' * 64}:{FALSE}"),
    "not ASCII": lambda redis: redis.set(f"{SETTINGS}BTCUSDT", f"1:é:{FALSE}"),
    "another key": forge_by_another_key,
    "changed": forge_by_changing,
    "of another symbol": forge_by_copying,
    "dated anew": forge_by_dating,
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_false_setting_is_not_believed_however_well_formed(redis: "Redis", forgery: str) -> None:
    cache = SettingsCache(redis, account="a", secret="s")
    cache.remember_symbol("BTCUSDT", TRUE)
    assert cache.symbol("BTCUSDT") == TRUE

    FORGERIES[forgery](redis)

    assert cache.symbol("BTCUSDT") is None
    # It should be gone, so that it is an alarm once.
    assert redis.get(f"{SETTINGS}BTCUSDT") is None


@pytest.mark.parametrize("value", ["hedge", "one-way", f"1:{'0' * 64}:hedge"])
def test_a_false_position_mode_is_not_believed(redis: "Redis", value: str) -> None:
    cache = SettingsCache(redis, account="a", secret="s")
    cache.remember_hedge_mode(hedge=False)
    redis.set(f"{SETTINGS}position-mode", value)

    assert cache.hedge_mode() is None


def test_an_old_setting_that_is_written_back_is_not_believed_for_longer(redis: "Redis") -> None:
    now = [1_800_000_000.0]
    cache = SettingsCache(redis, account="a", secret="s", clock=lambda: now[0])
    cache.remember_symbol("BTCUSDT", TRUE)
    old: Any = redis.get(f"{SETTINGS}BTCUSDT")
    cache.forget_symbol("BTCUSDT")
    redis.set(f"{SETTINGS}BTCUSDT", old)
    assert cache.symbol("BTCUSDT") == TRUE

    now[0] += SYMBOL_SECONDS + CLOCKS_DIFFER_SECONDS + 1

    assert cache.symbol("BTCUSDT") is None
    now[0] -= SYMBOL_SECONDS + 2 * CLOCKS_DIFFER_SECONDS + 2
    assert cache.symbol("BTCUSDT") is None


@pytest.mark.parametrize("planted", ["text", "closed"])
def test_a_planted_trade_does_not_stop_the_mirror(redis: "Redis", planted: str) -> None:
    if planted == "text":
        redis.set("trade:1", "x")
    else:
        redis.hset("trade:1", "status", "CLOSED")

    RedisTradeMirror(redis).write([{"trade_id": "1", "status": "OPEN", "updated_at": "2026"}], keep_seconds=None)

    assert redis.hget("trade:1", "status") == b"OPEN"


# An operator's word


@pytest.fixture
def operator(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run `release_holds` on the desk's limiter and breaker."""
    monkeypatch.setattr(wiring, "limiter", lambda: desk.limiter)
    monkeypatch.setattr(wiring, "breaker", lambda: desk.breaker)

    def run(*arguments: str) -> str:
        output = StringIO()
        call_command("release_holds", *arguments, stdout=output)
        return output.getvalue()

    return run


@pytest.mark.django_db
def test_an_operator_sees_and_ends_every_hold(desk: Desk, operator: Callable[..., str]) -> None:
    assert operator() == "nothing is held\n"
    for who in HOLD_CAPS:
        desk.limiter.hold(who, 60)
    for _ in range(5):
        desk.breaker.failed()

    shown = operator()
    operator("--release", "all", "--by", "alice", "--reason", "the proxy is gone")

    assert [line.split(",")[0] for line in shown.splitlines()] == [
        "limiter: everybody must wait",
        "limiter: orders must wait",
        "limiter: entries must wait",
        "breaker: open",
    ]
    assert operator() == "nothing is held\n"
    # It should be in the journal: who, why, and what was held.
    lines = AuditEvent.objects.filter(entity="hold").order_by("id")
    assert [(line.entity_id, line.reason, line.details["by"]) for line in lines] == [
        (name, "the proxy is gone", "alice") for name in ("limiter", "breaker", "lease")
    ]
    assert lines[0].details["before"]["everybody"] > 50


@pytest.mark.django_db
@pytest.mark.parametrize("word", [(), ("--by", "alice"), ("--reason", "x"), ("--by", " ", "--reason", "x")])
def test_nothing_is_released_without_a_name_and_a_reason(
    desk: Desk, operator: Callable[..., str], word: tuple[str, ...]
) -> None:
    desk.limiter.hold(Waits.EVERYBODY, 60)

    with pytest.raises(CommandError, match="needs --by and --reason"):
        operator("--release", "limiter", *word)

    assert desk.limiter.state().holds[Waits.EVERYBODY] > 50
