"""The judge of the long soak turns red for each kind of violation: every test sabotages one row of a right ledger."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.soak.judge import (
    Bounds,
    Claim,
    Held,
    Kind,
    OpenTrade,
    OurOrder,
    Resting,
    Sample,
    Undecided,
    Violation,
    Watch,
    findings,
)

D = Decimal
BTC, ETH, TRADE = "BTCUSDT", "ETHUSDT", "trade-1"
STOP, TARGET, ENTRY = "es1-sabc-1", "es1-tabc-1", "es1-exyz-1"
SIDES = pytest.mark.parametrize(("side", "sign"), [("BOTH", 1), ("BOTH", -1), ("LONG", 1), ("SHORT", -1)])


def right(side: str = "BOTH", sign: int = 1, **fields: Any) -> Sample:
    """One position with its stop and target, one entry that rests, and our rows of all that."""
    amount, sells = D("0.5") * sign, sign > 0
    stop = Resting(
        client_id=STOP, symbol=BTC, side=side, buys=not sells, kind="STOP_MARKET", quantity=abs(amount), reduces=True
    )
    entry = Resting(client_id=ENTRY, symbol=ETH, side=side, buys=sells, kind="LIMIT", quantity=D(2))
    resting = [stop, replace(stop, client_id=TARGET, kind="TAKE_PROFIT_MARKET"), entry]
    rows: dict[str, Any] = {
        "held": [Held(symbol=BTC, side=side, amount=amount)],
        "resting": resting,
        "trades": [OpenTrade(id=TRADE, symbol=BTC, side=side, amount=amount)],
        "claims": [Claim(request=TRADE, symbol=BTC, side=side, alive=True)],
        "orders": [
            OurOrder(client_id=row.client_id, symbol=row.symbol, side=side, state="ACCEPTED") for row in resting
        ],
        "undecided": [Undecided(id="request-2", symbol=ETH, side=side, state="ACCEPTED", entry=ENTRY)],
    }
    return Sample(**{"at_ms": 0, "cycle": 0, **rows, **fields})


def kinds(sample: Sample) -> list[Kind]:
    return [finding.kind for finding in findings(sample)]


@SIDES
def test_right_ledger_is_green(side: str, sign: int) -> None:
    assert kinds(right(side, sign)) == []


# Cover, told from the venue


@SIDES
@pytest.mark.parametrize(
    "change",
    [
        {"quantity": D("0.499")},
        {"kind": "TRAILING_STOP_MARKET"},
        {"kind": "TAKE_PROFIT_MARKET"},
        {"side": "OTHER"},
        {"symbol": "BTCUSDC"},
        {"buys": None},
    ],
    ids=lambda change: next(iter(change)) + "=" + str(next(iter(change.values()))),
)
def test_stop_that_does_not_cover_leaves_a_position_unprotected(side: str, sign: int, change: dict[str, Any]) -> None:
    stop, *others = right(side, sign).resting
    wrong = change if change.get("buys", True) else {"buys": not stop.buys}

    found = findings(right(side, sign, resting=[replace(stop, **wrong), *others]))

    assert (Kind.UNPROTECTED, BTC, side) in {(row.kind, row.symbol, row.subject) for row in found}


def test_stops_that_split_a_position_cover_it_together() -> None:
    stop, *others = right().resting
    parts = [replace(stop, quantity=D("0.3")), replace(stop, quantity=D("0.2"))]

    assert kinds(right(resting=[*parts, *others])) == []


def test_stop_that_closes_whatever_is_there_covers_it() -> None:
    stop, *others = right().resting

    assert kinds(right(resting=[replace(stop, quantity=D(0), whole=True), *others])) == []


@pytest.mark.parametrize("excuse", ["foreign", "halted"])
def test_nobody_asks_for_cover_where_it_is_not_ours_to_give(excuse: str) -> None:
    fields: dict[str, Any] = {excuse: frozenset({BTC})}

    assert kinds(right(resting=right().resting[2:], orders=right().orders[2:], **fields)) == []


@pytest.mark.parametrize(("side", "sign"), [("LONG", 1), ("SHORT", -1), ("BOTH", 1), ("BOTH", -1)])
def test_less_than_a_step_is_excused_in_hedge_mode_only(side: str, sign: int) -> None:
    """In one-way mode a larger order that only reduces covers it."""
    stop, *others = right(side, sign).resting
    most = right(side, sign, resting=[replace(stop, quantity=D("0.4")), *others])

    less, as_much = (kinds(replace(most, steps={BTC: D(step)})) for step in ("0.11", "0.1"))

    assert as_much == [Kind.UNPROTECTED]
    assert less == ([Kind.UNPROTECTED] if side == "BOTH" else [])
    assert kinds(replace(most, steps={ETH: D(1)})) == [Kind.UNPROTECTED]


# Trades and claims against positions


@pytest.mark.parametrize("at_venue", ["0", "-0.5"])
def test_trade_that_is_open_while_the_venue_is_flat_or_turned_is_stuck(at_venue: str) -> None:
    held = [Held(symbol=BTC, side="BOTH", amount=D(at_venue))] if D(at_venue) else []

    assert Kind.STUCK_TRADE in kinds(right(held=held))


@pytest.mark.parametrize("at_venue", ["0.499", "0.501"])
def test_other_size_at_the_venue_differs_from_the_books(at_venue: str) -> None:
    stop, target, entry = right().resting
    held = [Held(symbol=BTC, side="BOTH", amount=D(at_venue))]

    assert kinds(right(held=held, resting=[replace(stop, quantity=D(1)), target, entry])) == [Kind.BOOKS_DIFFER]


def test_position_that_no_trade_explains_is_told() -> None:
    assert kinds(right(trades=[])) == [Kind.NO_TRADE]


def test_claim_of_a_request_that_is_over_locks_its_symbol() -> None:
    claims = [Claim(request="gone", symbol=BTC, side="BOTH", alive=False)]

    assert kinds(right(claims=claims)) == [Kind.LOCKED_SYMBOL]


# Orders


def test_leg_beside_a_flat_position_rests_without_one() -> None:
    found = kinds(right(held=[], trades=[]))

    assert found == [Kind.ORDER_WITHOUT_POSITION, Kind.ORDER_WITHOUT_POSITION]


@pytest.mark.parametrize("client_id", [STOP, TARGET, ENTRY])
def test_order_of_ours_that_our_rows_do_not_want_is_told(client_id: str) -> None:
    orders = [order for order in right().orders if order.client_id != client_id]

    assert Kind.ORDER_WITHOUT_INTENT in kinds(right(orders=orders))


def test_orders_of_others_are_not_ours_to_explain() -> None:
    strange = replace(right().resting[0], client_id="web_1", symbol="XRPUSDT")

    assert kinds(right(resting=[*right().resting, strange])) == []


def test_row_whose_order_is_not_at_the_venue_is_a_ghost() -> None:
    ghost = OurOrder(client_id="es1-sgone-1", symbol=BTC, side="BOTH", state="ACCEPTED")

    assert kinds(right(orders=[*right().orders, ghost])) == [Kind.GHOST_ORDER]


@pytest.mark.parametrize("state", ["RECEIVED", "APPROVED", "SUBMITTING", "UNKNOWN", "FILLED", "PROTECTED"])
def test_decision_that_waits_for_nothing_has_no_outcome(state: str) -> None:
    waits = Undecided(id="request-3", symbol="XRPUSDT", side="BOTH", state=state)

    assert kinds(right(undecided=[*right().undecided, waits])) == [Kind.NO_OUTCOME]


# Bounds


BOUNDS = Bounds(naked_seconds=12, cycles=3, ghost_seconds=600)


def watched(*samples: Sample) -> list[Violation]:
    watch = Watch(bounds=BOUNDS)
    return [violation for sample in samples for violation in watch.look(sample)]


def naked(at_seconds: float, cycle: int) -> Sample:
    return right(at_ms=int(at_seconds * 1000), cycle=cycle, resting=right().resting[1:], orders=right().orders[1:])


def test_position_without_cover_may_last_for_its_seconds_only() -> None:
    assert watched(naked(0, 0), naked(12, 1)) == []
    [violation] = watched(naked(0, 0), naked(12, 1), naked(12.1, 2), naked(500, 3))
    assert (violation.kind, violation.symbol, violation.subject) == (Kind.UNPROTECTED, BTC, "BOTH")
    assert violation.sentence == "held=0.5 covered=0 by 0 stops for 12s and 2 cycles"


def test_cover_in_between_begins_the_count_anew() -> None:
    assert watched(naked(0, 0), right(at_ms=10_000, cycle=1), naked(11, 2), naked(20, 3)) == []


def test_cycles_are_counted_for_everything_else() -> None:
    stuck = [right(at_ms=cycle * 10_000, cycle=cycle, held=[], resting=right().resting[2:]) for cycle in range(6)]

    # It should tell it once, at the fourth cycle after the first that saw it.
    assert [(violation.at_ms, violation.kind) for violation in watched(*stuck)] == [(40_000, Kind.STUCK_TRADE)]


def test_doubt_about_an_order_may_last_longer_and_is_not_waited_for() -> None:
    ghost = OurOrder(client_id="es1-tgone-1", symbol=BTC, side="BOTH", state="ACCEPTED")
    watch = Watch(bounds=BOUNDS)

    told = [watch.look(right(at_ms=at * 1000, cycle=at, orders=[*right().orders, ghost])) for at in (0, 600, 601, 5000)]

    assert [[violation.kind for violation in found] for found in told] == [[], [], [Kind.GHOST_ORDER], []]
    assert not watch.waits


def test_longest_time_without_cover_is_known_though_it_ends_in_time() -> None:
    watch = Watch(bounds=BOUNDS)

    for sample in (naked(0, 0), naked(5, 1), right(at_ms=10_000, cycle=2)):
        watch.look(sample)

    assert (watch.violations, watch.worst_naked_seconds, watch.waits) == ([], 10.0, False)


def test_time_in_which_none_of_our_processes_ran_is_forgiven() -> None:
    watch = Watch(bounds=BOUNDS)
    watch.look(naked(0, 0))

    watch.forgive()

    assert watch.look(naked(600, 0)) == []
    assert watch.waits
