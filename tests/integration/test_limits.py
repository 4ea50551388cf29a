"""The limits over all positions together: exact under concurrency, given back with the outcome, told with numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain.trading import SymbolLists
from execution.models import AuditEvent, ExecutionRequest, PolicyValue, PositionSlot, Trade
from tests.support.desk import Desk
from tests.support.threads import at_once

D = Decimal
COINS = "BTC ETH SOL BNB XRP ADA DOGE LTC LINK AVAX DOT TRX BCH ATOM UNI FIL ETC NEAR APT ARB OP SUI XLM AAVE"
SYMBOLS = [f"{coin}USDT" for coin in COINS.split()]
pytestmark = pytest.mark.django_db(transaction=True)
STOP: dict[str, Any] = {"stop_loss": 49_000.0, "take_profit": 60_000.0}


def limit(desk: Desk, key: str, value: str) -> None:
    PolicyValue.objects.create(key=f"risk.{key}", value=D(value), source="test", version=1, changed_at=desk.clock())


def cleared(desk: Desk, symbols: Sequence[str]) -> list[UUID]:
    ids = [desk.decide(symbol) for symbol in symbols]
    for request_id in ids:
        desk.step("check_ess", request_id)
    return ids


def verdict(desk: Desk, request_id: UUID) -> tuple[str, str]:
    request = desk.request(request_id)
    return request.state, request.reason_code


def stopped_out(desk: Desk, symbol: str = "BTCUSDT") -> Decimal:
    """Carry a trade to its stop; return its loss, fees included."""
    request_id = desk.trade_opened(symbol, **STOP)
    desk.paper.set_price(symbol, "48999")
    desk.cycle()
    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason) == ("CLOSED", "SL")
    desk.paper.set_price(symbol, "50000")
    # The exchange's clock does not follow the test's.
    Trade.objects.filter(pk=request_id).update(exit_at=desk.clock())
    # The legs that are left over are cancelled, and the claim is given back.
    desk.cycle()
    desk.cycle()
    return D(trade.net_pnl)


@pytest.mark.parametrize(
    ("key", "value", "fit", "reason"),
    [
        # 500 USD and 12.50 USD to the stop each, both a little less after rounding down.
        ("max_total_exposure_usd", "700", 1, "TOTAL_EXPOSURE_EXCEEDS_LIMIT"),
        ("max_daily_loss_usd", "20", 1, "DAILY_LOSS_EXCEEDS_LIMIT"),
        ("max_entries_per_minute", "1", 1, "ENTRIES_EXCEED_RATE"),
        ("max_positions", "1", 1, "POSITIONS_EXCEED_LIMIT"),
    ],
)
def test_two_connections_cannot_both_take_the_last_share(
    desk: Desk, key: str, value: str, fit: int, reason: str
) -> None:
    limit(desk, key, value)
    ids = cleared(desk, ["BTCUSDT", "ETHUSDT"])

    pairs = zip([desk, desk.another()], ids, strict=True)
    at_once([lambda one=one, pk=pk: one.step("guard_safety", pk) for one, pk in pairs])  # type: ignore[misc]

    assert sorted(verdict(desk, pk) for pk in ids) == [("APPROVED", "")] * fit + [("DENIED", reason)]
    assert PositionSlot.objects.count() == fit


@pytest.mark.parametrize(
    ("key", "value", "fit", "reason"),
    [
        ("max_total_exposure_usd", "2500", 5, "TOTAL_EXPOSURE_EXCEEDS_LIMIT"),
        ("max_daily_loss_usd", "38", 3, "DAILY_LOSS_EXCEEDS_LIMIT"),
        ("max_entries_per_minute", "6", 6, "ENTRIES_EXCEED_RATE"),
        ("max_positions", "7", 7, "POSITIONS_EXCEED_LIMIT"),
    ],
)
def test_fifty_decisions_on_eight_workers_fill_a_limit_exactly(
    desk: Desk, key: str, value: str, fit: int, reason: str
) -> None:
    limit(desk, key, value)
    # Of fifty decisions some want the same symbol: what was not approved for that reason used nothing.
    ids = cleared(desk, (SYMBOLS * 3)[:50])
    workers = [(desk.another(), ids[number::8]) for number in range(8)]

    def work(one: Desk, mine: Sequence[UUID]) -> Callable[[], object]:
        return lambda: [one.run(pk) for pk in mine]

    at_once([work(one, mine) for one, mine in workers])

    rows = ExecutionRequest.objects.filter(pk__in=ids)
    assert rows.filter(state="RECORDED").count() == fit
    assert set(rows.exclude(state="RECORDED").values_list("state", flat=True)) == {"DENIED"}
    # Only who wanted a symbol that was taken, and came while there was room, was refused for another reason.
    codes = Counter(rows.filter(state="DENIED").values_list("reason_code", flat=True))
    taken = codes.pop("OPEN_TRADE_EXISTS", 0)
    assert codes == {reason: 50 - fit - taken}
    assert taken <= 2 * fit < codes[reason] + taken
    assert len(desk.ledger.entries_sent) == fit
    desk.check()


def test_share_is_given_back_with_the_outcome(desk: Desk) -> None:
    limit(desk, "max_total_exposure_usd", "700")
    first = desk.decide()
    desk.run(first, until="guard_safety")
    desk.paper.add_fault(path="/fapi/v1/order", method="POST", action="refuse", code=-2019, count=1)

    # While the first is on its way its share is taken; when the exchange has refused it, it is free again.
    second, third = desk.decide("ETHUSDT"), desk.decide("ETHUSDT")
    desk.run(second)
    assert verdict(desk, second) == ("DENIED", "TOTAL_EXPOSURE_EXCEEDS_LIMIT")
    assert desk.run(first) == "REJECTED"
    assert desk.run(third) == "RECORDED"


def test_exposure_is_what_a_trade_still_has_open(desk: Desk) -> None:
    limit(desk, "max_total_exposure_usd", "900")
    halves = [{"price": "51000", "share": "0.5"}, {"price": "55000", "share": "0.5"}]
    opened = desk.signal(take_profits=halves, stop_loss="49000")
    assert desk.run(opened) == "RECORDED"
    refused = desk.decide("ETHUSDT")
    desk.run(refused)
    assert verdict(desk, refused) == ("DENIED", "TOTAL_EXPOSURE_EXCEEDS_LIMIT")
    assert "expected<=900 actual=9" in desk.request(refused).reason

    desk.paper.set_price("BTCUSDT", "51000")
    desk.cycle()

    assert desk.trade(opened).state == "REDUCED"
    assert desk.run(desk.decide("ETHUSDT")) == "RECORDED"


def test_exposure_of_a_symbol_is_of_both_sides(desk: Desk) -> None:
    limit(desk, "max_symbol_exposure_usd", "700")
    desk.person.change_position_mode(dualSidePosition="true")
    desk.trade_opened()

    other_side, other_symbol = desk.decide(side="sell"), desk.decide("ETHUSDT")
    desk.run(other_side)

    assert verdict(desk, other_side) == ("DENIED", "SYMBOL_EXPOSURE_EXCEEDS_LIMIT")
    assert desk.run(other_symbol) == "RECORDED"


def test_the_days_losses_are_over_at_midnight(desk: Desk) -> None:
    desk.clock.ahead += _to_midday(desk)
    desk.start()
    loss = -stopped_out(desk)
    # Enough for the loss, and for less than the next entry's stop.
    limit(desk, "max_daily_loss_usd", str(loss + 5))

    refused = desk.decide("ETHUSDT")
    desk.run(refused)

    assert verdict(desk, refused) == ("DENIED", "DAILY_LOSS_EXCEEDS_LIMIT")
    assert f"lost={loss.normalize():f} open_risk=0 this_risk=12." in desk.request(refused).reason
    limit_row = PolicyValue.objects.get()
    limit_row.value = D(13)
    limit_row.save()
    desk.clock.let_pass(86_400)
    desk.start()
    assert desk.run(desk.decide("ETHUSDT"), until="guard_safety") == "APPROVED"


def test_drawdown_counts_from_the_best_of_the_day_with_open_losses(desk: Desk) -> None:
    desk.clock.ahead += _to_midday(desk)
    desk.start()
    loss = -stopped_out(desk)
    limit(desk, "max_daily_drawdown_usd", str(loss))

    # Exactly at the limit it passes; an open loss on top refuses.
    assert desk.run(desk.decide("ETHUSDT")) == "RECORDED"
    desk.paper.set_price("ETHUSDT", "2490")
    desk.cycle()
    refused = desk.decide("SOLUSDT")
    desk.run(refused)

    assert verdict(desk, refused) == ("DENIED", "DRAWDOWN_EXCEEDS_LIMIT")


def test_symbol_is_left_alone_after_its_stop(desk: Desk) -> None:
    limit(desk, "stop_out_pause_sec", "300")
    stopped_out(desk)

    refused = desk.decide()
    desk.run(refused)

    assert verdict(desk, refused) == ("DENIED", "SYMBOL_PAUSED_AFTER_STOP")
    assert desk.run(desk.decide("ETHUSDT")) == "RECORDED"
    desk.clock.let_pass(301)
    assert desk.run(desk.decide()) == "RECORDED"


def test_look_alike_within_the_window_is_refused_whatever_its_id(desk: Desk) -> None:
    limit(desk, "look_alike_window_sec", "30")
    assert desk.run(desk.decide(), until="guard_safety") == "APPROVED"

    same, larger = desk.decide(), desk.decide(position_size_usd=600.0)
    desk.run(same)
    desk.run(larger)

    assert verdict(desk, same) == ("DENIED", "LOOK_ALIKE_DECISION")
    # Another size is another decision, and then the symbol is taken.
    assert verdict(desk, larger) == ("DENIED", "OPEN_TRADE_EXISTS")
    assert desk.event(same, "order.failed")["reason_code"] == "LOOK_ALIKE_DECISION"


@pytest.mark.parametrize(
    ("lists", "state"),
    [
        (SymbolLists(allowed=frozenset({"BTCUSDT"})), "APPROVED"),
        (SymbolLists(allowed=frozenset({"ETHUSDT"})), "DENIED"),
        (SymbolLists(denied=frozenset({"BTCUSDT"})), "DENIED"),
        (SymbolLists(allowed=frozenset({"BTCUSDT"}), denied=frozenset({"BTCUSDT"})), "DENIED"),
    ],
)
def test_lists_of_symbols_are_kept(desk: Desk, lists: SymbolLists, state: str) -> None:
    desk.lists = lists
    request_id = desk.decide()

    desk.run(request_id, until="guard_safety")

    assert verdict(desk, request_id) == (state, "" if state == "APPROVED" else "SYMBOL_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("side", "worse", "better", "numbers"),
    [
        ("buy", 55_000, 1_500, "expected<=52500 actual=55000 mark=50000"),
        ("sell", 45_000, 3_500, "expected>=47500 actual=45000 mark=50000"),
    ],
)
def test_limit_price_far_worse_than_the_mark_is_refused(
    desk: Desk, side: str, worse: int, better: int, numbers: str
) -> None:
    fat_finger = desk.signal(side=side, price=worse)
    patient = desk.signal("ETHUSDT", side, price=better, quantity="0.1")

    desk.run(fat_finger)
    desk.run(patient, until="guard_safety")

    assert verdict(desk, fat_finger) == ("DENIED", "PRICE_OUT_OF_BOUNDS")
    # It should name the exchange's own band around the mark price
    assert desk.request(fat_finger).reason == f"PRICE_OUT_OF_BOUNDS: {numbers}"
    # It should never refuse a price that is better than the market's.
    assert verdict(desk, patient) == ("APPROVED", "")


def test_every_limit_is_told_with_its_numbers_also_where_it_passed(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")

    told: Any = AuditEvent.objects.get(entity_id=str(request_id), trigger="guard_approved").details
    limits = {rule["rule"]: rule["numbers"] for rule in told["rules"]}
    assert limits["max_positions"] == "expected<=30 actual=1"
    assert limits["total_exposure"] == "expected<=10000000 actual=450.0009"
    assert limits["look_alike"] == "expected>=0s actual=none"


def _to_midday(desk: Desk) -> timedelta:
    """How far it is to the next midday in UTC, so that no day ends while the story is told."""
    now = desk.clock()
    return now.replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1) - now
