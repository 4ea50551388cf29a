"""The production oracle against the real exchange: each violation is planted and named, and busy trading is clean."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.core.cache import cache
from django.db import connection
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from execution.api.health import health_inputs
from execution.domain.oracle import VIOLATIONS, Kind
from execution.health.condition import Condition, judge_health
from execution.models import AuditEvent, Fill, Heartbeat, Order, Trade
from execution.queries.figures import measured_figures
from execution.reconciliation.check_invariants import ORACLE, check_invariants
from execution.reconciliation.snapshot import observe_exchange, read_books
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER

D = Decimal
BTC = "BTCUSDT"
CYCLE_SECONDS = 10
# What a trade of each side is opened with: entry side, exit side, stop, target, and a price beyond the other way.
LONG = {"side": "buy", "exit": "SELL", "stop": 49000.0, "target": 52000.0, "sign": 1}
SHORT = {"side": "sell", "exit": "BUY", "stop": 51000.0, "target": 48000.0, "sign": -1}
both_sides = pytest.mark.parametrize("way", [LONG, SHORT], ids=["long", "short"])


def counted() -> dict[str, int]:
    return measured_figures().kinds(VIOLATIONS)


def cycles(desk: Desk, number: int = 2) -> None:
    for _ in range(number):
        desk.clock.let_pass(CYCLE_SECONDS)
        desk.cycle()


def opened(desk: Desk, way: dict[str, Any]) -> UUID:
    return desk.trade_opened(side=way["side"], stop_loss=way["stop"], take_profit=way["target"])


def place_again(desk: Desk, name: str, way: dict[str, Any], **changes: Any) -> None:
    """Put another order at the exchange in the place of ours, under its id; our row knows nothing of it."""
    order = Order.objects.get(client_order_id=name)
    desk.person.sign_request("DELETE", ALGO_ORDER, {"clientAlgoId": name})
    parameters = {
        "symbol": BTC,
        "side": way["exit"],
        "type": order.order_type,
        "quantity": format(order.quantity, "f"),
        "triggerPrice": format(order.trigger_price or 0, "f"),
        "reduceOnly": "true",
        "algoType": "CONDITIONAL",
        "clientAlgoId": name,
        "workingType": "MARK_PRICE",
        **changes,
    }
    desk.person.sign_request("POST", ALGO_ORDER, {key: value for key, value in parameters.items() if value})


def half_the_stop(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    place_again(desk, desk.order(pk, "STOP").client_order_id, way, quantity="0.004")


def stop_that_may_open(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    place_again(desk, desk.order(pk, "STOP").client_order_id, way, reduceOnly="")


def stop_on_the_last_price(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    place_again(desk, desk.order(pk, "STOP").client_order_id, way, workingType="CONTRACT_PRICE")


def stop_far_away(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    price = 50000 - way["sign"] * 5000
    place_again(desk, desk.order(pk, "STOP").client_order_id, way, triggerPrice=str(price))


def stop_on_the_entrys_side(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    side, price = {"SELL": "BUY", "BUY": "SELL"}[way["exit"]], 50000 + way["sign"] * 5000
    changes = {"side": side, "triggerPrice": str(price), "reduceOnly": ""}
    place_again(desk, desk.order(pk, "STOP").client_order_id, way, **changes)


def twice_the_target(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    place_again(desk, desk.order(pk, "TARGET").client_order_id, way, quantity="0.018")


def second_stop(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    """Rest a stop under our prefix beside the right one, which our books have never known."""
    assert desk.order(pk, "STOP").state == "ACCEPTED"
    desk.person.sign_request(
        "POST",
        ALGO_ORDER,
        {
            "symbol": BTC,
            "side": way["exit"],
            "type": "STOP_MARKET",
            "quantity": "0.010",
            "triggerPrice": str(int(way["stop"])),
            "reduceOnly": "true",
            "algoType": "CONDITIONAL",
            "clientAlgoId": "es1-snobody-1",
            "workingType": "MARK_PRICE",
        },
    )


def books_too_large(_: Desk, __: dict[str, Any], pk: UUID) -> None:
    Trade.objects.filter(pk=pk).update(quantity=F("quantity") + D("0.001"))


def books_turned(desk: Desk, _: dict[str, Any], pk: UUID) -> None:
    other = {"LONG": "SHORT", "SHORT": "LONG"}[desk.trade(pk).direction]
    Trade.objects.filter(pk=pk).update(direction=other)


def legs_beside_a_flat_symbol(desk: Desk, way: dict[str, Any], pk: UUID) -> None:
    """Close the position, and let the exchange take no cancel of what is left."""
    desk.paper.add_fault(path=ALGO_ORDER, method="DELETE", action="refuse", status=400, code=-2011, count=None)
    amount = format(desk.trade(pk).quantity, "f")
    desk.person.new_order(symbol=BTC, side=way["exit"], type="MARKET", quantity=amount, reduceOnly="true")


def order_that_nobody_wants(desk: Desk, way: dict[str, Any], _: UUID) -> None:
    side, price = {"SELL": "BUY", "BUY": "SELL"}[way["exit"]], 50000 - way["sign"] * 5000
    common = {"symbol": BTC, "side": side, "type": "LIMIT", "quantity": "0.010", "timeInForce": "GTC"}
    desk.person.new_order(**common, price=str(price), newClientOrderId="es1-cnobody-1")


def second_entry(_: Desk, __: dict[str, Any], pk: UUID) -> None:
    """Let fills of a second order stand in the books as entries of the same decision."""
    fill = Fill.objects.filter(trade_id=pk, entry=True).get()
    half = fill.quantity / 2
    Fill.objects.filter(pk=fill.pk).update(quantity=half)
    fill.pk, fill.exchange_trade_id, fill.exchange_order_id, fill.quantity = None, 987654321, "another", half
    fill.save(force_insert=True)


PLANTED: list[tuple[Callable[[Desk, dict[str, Any], UUID], None], Kind]] = [
    (half_the_stop, Kind.COVER_SHORT),
    (second_stop, Kind.COVER_EXCESS),
    (stop_that_may_open, Kind.EXIT_NOT_REDUCING),
    (stop_on_the_entrys_side, Kind.EXIT_SIDE),
    (stop_on_the_last_price, Kind.EXIT_TRIGGER_TYPE),
    (stop_far_away, Kind.STOP_PRICE),
    (twice_the_target, Kind.TARGETS_EXCEED_POSITION),
    (books_too_large, Kind.BOOKS_DIFFER),
    (books_turned, Kind.SIGN_FLIPPED),
    (legs_beside_a_flat_symbol, Kind.ORDER_WITHOUT_POSITION),
    (order_that_nobody_wants, Kind.ORDER_WITHOUT_INTENT),
    (second_entry, Kind.ENTRIES_DOUBLED),
]


def test_every_kind_is_planted() -> None:
    assert {kind for _, kind in PLANTED} == set(Kind)


@both_sides
@pytest.mark.parametrize(("plant", "kind"), PLANTED, ids=[kind.value for _, kind in PLANTED])
def test_violation_that_stands_is_counted_once_named_and_journaled(
    desk: Desk, plant: Callable[[Desk, dict[str, Any], UUID], None], kind: Kind, way: dict[str, Any]
) -> None:
    pk = opened(desk, way)
    cycles(desk)
    assert counted() == {}
    assert judged().components[ORACLE].error is None

    plant(desk, way, pk)
    cycles(desk, 1)
    # One reading may have met it in the middle of a change.
    assert counted() == {}
    cycles(desk, 3)

    # Of a flat symbol both legs are left, and each is a violation of its own.
    number = 2 if kind is Kind.ORDER_WITHOUT_POSITION else 1
    assert counted()[kind.value] == number, counted()
    lines = AuditEvent.objects.filter(entity="oracle", trigger="violation_stands", to_state=kind.value.upper())
    line, *others = lines
    assert len(others) == number - 1
    assert (line.entity_id, line.details["symbol"], line.details["kind"]) == ("BTCUSDT BOTH", BTC, kind.value)
    assert any(character.isdigit() for character in line.details["numbers"])
    error = judged().components[ORACLE].error
    assert error is not None
    assert f"BTCUSDT BOTH {kind}" in error


def judged() -> Condition:
    """Return what health says now: it is measured once a second at most."""
    cache.clear()
    return judge_health(health_inputs())


@both_sides
def test_violation_ends_with_its_cause(desk: Desk, way: dict[str, Any]) -> None:
    pk = opened(desk, way)
    name = desk.order(pk, "STOP").client_order_id
    place_again(desk, name, way, quantity="0.004")
    cycles(desk, 2)
    assert judged().components[ORACLE].error is not None

    place_again(desk, name, way)
    cycles(desk, 1)

    assert judged().components[ORACLE].error is None
    assert counted() == {"cover_short": 1}
    triggers = list(AuditEvent.objects.filter(entity="oracle").order_by("id").values_list("trigger", flat=True))
    assert triggers == ["violation_stands", "violation_over"]
    desk.check()


@both_sides
def test_busy_trading_breaks_no_invariant(desk: Desk, way: dict[str, Any]) -> None:
    """Trades that open, fill in parts, move their stop, take profits, are reduced by hand and close; cycles between."""
    sign, side = way["sign"], way["side"]
    targets = [{"price": str(50000 + sign * step), "share": share} for step, share in ((1000, "0.5"), (2000, "0.5"))]
    moved = desk.signal(side=side, stop_loss=str(int(way["stop"])), take_profits=targets, break_even=True)
    assert desk.run(moved) == "RECORDED"
    others = [desk.trade_opened(symbol, side) for symbol in ("ETHUSDT", "SOLUSDT", "XRPUSDT")]
    cycles(desk)

    desk.paper.set_price(BTC, str(50000 + sign * 1000))
    cycles(desk, 1)
    held = {row.symbol: row for row in desk.exchange.positions()}
    half = format(abs(held["SOLUSDT"].quantity) // 2, "f")
    desk.person.new_order(symbol="SOLUSDT", side=way["exit"], type="MARKET", quantity=half, reduceOnly="true")
    cycles(desk, 2)
    desk.paper.control("POST", "position", {"symbol": "XRPUSDT", "amount": "0", "reduce_only": True})
    late = desk.trade_opened("ADAUSDT", side)
    cycles(desk, 2)
    desk.paper.set_price(BTC, str(50000 + sign * 2000))
    cycles(desk, 3)

    # It should have seen life, and nothing wrong in it.
    states = {name: desk.trade(pk).state for name, pk in zip(("ETH", "SOL", "XRP"), others, strict=True)}
    assert states == {"ETH": "OPEN", "SOL": "REDUCED", "XRP": "CLOSED"}
    assert (desk.trade(moved).state, desk.trade(late).state) == ("CLOSED", "OPEN")
    assert AuditEvent.objects.filter(trigger="leg_moved_break_even").exists()
    assert counted() == {}
    assert not AuditEvent.objects.filter(entity="oracle").exists()
    assert Heartbeat.objects.get(part=ORACLE).details == {"suspects": []}
    desk.check()


def test_check_costs_three_statements_and_no_request(desk: Desk) -> None:
    for symbol in (BTC, "ETHUSDT", "SOLUSDT"):
        desk.trade_opened(symbol)
    desk.cycle()
    seen = observe_exchange(desk.exchange, now=desk.clock())
    books = read_books(since=seen.begun_at, open_names=seen.open_orders)
    desk.paper.clear_ledger()

    with CaptureQueriesContext(connection) as queries:
        check_invariants(books, seen, now=timezone.now())

    assert len(queries) == 3, [query["sql"] for query in queries]
    assert desk.ledger.requests == []


@pytest.mark.parametrize("words", [{"suspects": [{"kind": "nonsense"}]}, {"suspects": [7]}, {}])
def test_word_that_nobody_of_ours_wrote_is_forgotten(desk: Desk, words: dict[str, Any]) -> None:
    opened(desk, LONG)
    Heartbeat.objects.create(part=ORACLE, at=desk.clock(), healthy=True, details=words)

    cycles(desk, 1)

    assert Heartbeat.objects.get(part=ORACLE).details == {"suspects": []}


def test_hedge_mode_judges_each_side_for_itself(desk: Desk) -> None:
    """Both sides of one symbol are open; what is wrong with one is said of that one."""
    desk.person.change_position_mode(dualSidePosition="true")
    desk.setup_rules.cache.forget_all_but({}, hedge=True)
    long, short = (opened(desk, way) for way in (LONG, SHORT))
    cycles(desk)
    assert counted() == {}

    name = desk.order(short, "STOP").client_order_id
    place_again(desk, name, SHORT, quantity="0.004", reduceOnly="", positionSide="SHORT")
    cycles(desk, 2)

    assert counted() == {"cover_short": 1}
    [line] = AuditEvent.objects.filter(entity="oracle")
    assert (line.entity_id, line.details["subject"]) == ("BTCUSDT SHORT", str(short))
    assert long != short
