"""Each rule about money at the exchange, long and short: several trades, prices that differ, time that passes.

A person's orders of 0.010 BTC and 0.1 ETH are used, so that every figure below can be checked by hand. At rest the
best ask lies one tick above the price and the best bid one below: a long of BTC enters at 50000.1, a short at 49999.9.
"""

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.domain import policy as keys
from execution.domain.money import plain
from execution.models import AuditEvent, Trade
from execution.risk.policy_store import set_policy_value
from tests.support.desk import Desk
from tests.support.ledger import ORDER

pytestmark = pytest.mark.django_db
D = Decimal
BTC, ETH, SOL = "BTCUSDT", "ETHUSDT", "SOLUSDT"
SMALLEST = D("1e-8")
QUANTITIES = {BTC: "0.010", ETH: "0.1"}


@dataclass(frozen=True, kw_only=True)
class Direct:
    """One direction with its prices; `lost` and `won` are beyond stop and target, `opposite` enters the other way."""

    name: str
    side: str
    opposite: str
    # Of BTC: entry at rest, stop and target.
    entry: str
    stop: str
    target: str
    # Where a stop and a target have been passed by 100.
    lost: str
    won: str
    # Of ETH: entry, stop and target.
    eth_stop: str
    eth_target: str
    sign: int

    def exits(self, symbol: str) -> dict[str, str]:
        if symbol == BTC:
            return {"stop_loss": self.stop, "take_profit": self.target}
        return {"stop_loss": self.eth_stop, "take_profit": self.eth_target}


LONG = Direct(
    name="LONG",
    side="buy",
    opposite="sell",
    entry="50000.1",
    stop="49000",
    target="52000",
    lost="48900",
    won="52100",
    eth_stop="2450",
    eth_target="2600",
    sign=1,
)
SHORT = Direct(
    name="SHORT",
    side="sell",
    opposite="buy",
    entry="49999.9",
    stop="51000",
    target="48000",
    lost="51100",
    won="47900",
    eth_stop="2550",
    eth_target="2400",
    sign=-1,
)
EACH = pytest.mark.parametrize("way", [LONG, SHORT], ids=lambda way: way.name)
# What one BTC order may lose at its stop: 0.010 x 1000.1 either way. Of ETH: 0.1 x 50.01.
BTC_RISK, ETH_RISK = D("10.001"), D("5.001")
# What a BTC order loses that is stopped 100 beyond its stop, fees included.
WAY_DOWN = {"LONG": D("11.4965"), "SHORT": D("11.5075")}


def limit(desk: Desk, key: str, value: object) -> None:
    set_policy_value(key, D(str(value)), source="test", now=desk.clock())


def asked(desk: Desk, way: Direct, symbol: str = BTC, **fields: Any) -> UUID:
    return desk.signal(symbol, way.side, **({"quantity": QUANTITIES[symbol]} | way.exits(symbol) | fields))


def opened(desk: Desk, way: Direct, symbol: str = BTC, **fields: Any) -> UUID:
    request_id = asked(desk, way, symbol, **fields)
    assert desk.run(request_id) == "RECORDED", desk.request(request_id).reason
    return request_id


def refused(desk: Desk, request_id: UUID) -> str:
    """Run it and return its reason: code and numbers."""
    assert desk.run(request_id) == "DENIED"
    request = desk.request(request_id)
    assert request.reason.startswith(request.reason_code)
    return request.reason


def closed_at(desk: Desk, request_id: UUID, price: str, reason: str, symbol: str = BTC) -> Decimal:
    """Let the market reach an exit, book it now, put the market back, and return the net result."""
    desk.paper.set_price(symbol, price)
    desk.clock.let_pass(3)
    desk.cycle()
    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.net_pnl is not None) == ("CLOSED", reason, True)
    desk.paper.set_price(symbol, "50000" if symbol == BTC else "2500")
    # The exchange's clock does not follow the test's.
    Trade.objects.filter(pk=request_id).update(exit_at=desk.clock())
    # What is left of its exits is cancelled, and the symbol is given back.
    for _ in range(2):
        desk.clock.let_pass(3)
        desk.cycle()
    return D(trade.net_pnl)


@pytest.fixture
def midday(desk: Desk) -> Desk:
    """The desk at the next midday in UTC, so that no day ends while the story goes on."""
    now = desk.clock()
    tomorrow = now.replace(hour=12, minute=0, second=0, microsecond=0) + timedelta(days=1)
    desk.clock.ahead += tomorrow - now
    desk.start()
    return desk


# The day's loss and its peak


@EACH
def test_daily_loss_is_what_was_lost_and_what_all_open_stops_may_lose(midday: Desk, way: Direct) -> None:
    desk = midday
    lost = -closed_at(desk, opened(desk, way), way.lost, "SL")
    # Long: bought at 50000.1 and sold at 48899.9. Short: sold at 49999.9 and bought at 51100.1. 11.002 either way, and
    # as fees five hundredths of a percent of 0.010 x 98900, or of 0.010 x 101100.
    assert lost == WAY_DOWN[way.name]
    opened(desk, way, ETH)

    # With this entry: the loss, the open ETH stop's 0.1 x 50.01, and its own 0.010 x 1000.1.
    whole = lost + ETH_RISK + BTC_RISK
    limit(desk, keys.MAX_DAILY_LOSS, whole - SMALLEST)
    numbers = f"expected<={plain(whole - SMALLEST)} actual={plain(whole)} lost={plain(lost)}"
    numbers += " open_risk=5.001 this_risk=10.001"
    assert refused(desk, asked(desk, way)) == f"DAILY_LOSS_EXCEEDS_LIMIT: {numbers}"

    limit(desk, keys.MAX_DAILY_LOSS, whole)
    assert desk.run(asked(desk, way), until="guard_safety") == "APPROVED"


@EACH
def test_a_stop_of_one_direction_frees_no_room_for_the_other(desk: Desk, way: Direct) -> None:
    other = SHORT if way is LONG else LONG
    opened(desk, way, ETH)
    limit(desk, keys.MAX_DAILY_LOSS, ETH_RISK + BTC_RISK - SMALLEST)

    reason = refused(desk, asked(desk, other))

    assert reason == (
        "DAILY_LOSS_EXCEEDS_LIMIT: expected<=15.00199999 actual=15.002 lost=0 open_risk=5.001 this_risk=10.001"
    )


@EACH
def test_a_gain_of_the_day_makes_no_room_for_a_loss(midday: Desk, way: Direct) -> None:
    desk = midday
    assert closed_at(desk, opened(desk, way), way.won, "TP") > 0
    limit(desk, keys.MAX_DAILY_LOSS, BTC_RISK - SMALLEST)

    assert refused(desk, asked(desk, way)) == (
        "DAILY_LOSS_EXCEEDS_LIMIT: expected<=10.00099999 actual=10.001 lost=0 open_risk=0 this_risk=10.001"
    )
    limit(desk, keys.MAX_DAILY_LOSS, BTC_RISK)
    assert desk.run(asked(desk, way), until="guard_safety") == "APPROVED"


@EACH
def test_losses_and_the_peak_are_over_at_midnight(midday: Desk, way: Direct) -> None:
    desk = midday
    lost = -closed_at(desk, opened(desk, way), way.lost, "SL")
    limit(desk, keys.MAX_DAILY_LOSS, lost + BTC_RISK - SMALLEST)
    limit(desk, keys.MAX_DAILY_DRAWDOWN, lost)
    assert refused(desk, asked(desk, way)).startswith("DAILY_LOSS_EXCEEDS_LIMIT: ")

    desk.clock.let_pass(86_400)
    desk.start()

    limit(desk, keys.MAX_DAILY_LOSS, BTC_RISK)
    limit(desk, keys.MAX_DAILY_DRAWDOWN, 0)
    assert desk.run(asked(desk, way), until="guard_safety") == "APPROVED"


@EACH
def test_drawdown_counts_from_the_best_of_several_trades_with_open_losses_at_the_mark(
    midday: Desk, way: Direct
) -> None:
    desk = midday
    won = closed_at(desk, opened(desk, way), way.won, "TP")
    lost = -closed_at(desk, opened(desk, way), way.lost, "SL")
    assert (won > lost, lost) == (True, WAY_DOWN[way.name])
    # An ETH position whose mark has gone 10 against its entry, while the market trades 10 the other way.
    opened(desk, way, ETH)
    against, beside = 2500 - 10 * way.sign, 2500 + 10 * way.sign
    desk.paper.set_price(ETH, str(beside), mark=str(against))
    desk.clock.let_pass(3)
    desk.cycle()

    # 0.1 x 10.01: the day's best was the first trade's gain.
    fallen = lost + D("1.001")
    limit(desk, keys.MAX_DAILY_DRAWDOWN, fallen - SMALLEST)
    numbers = f"expected<={plain(fallen - SMALLEST)} actual={plain(fallen)}"
    assert refused(desk, asked(desk, way)) == f"DRAWDOWN_EXCEEDS_LIMIT: {numbers}"
    limit(desk, keys.MAX_DAILY_DRAWDOWN, fallen)
    assert desk.run(asked(desk, way), until="guard_safety") == "APPROVED"


# Exposure and number


@EACH
def test_exposure_is_what_the_entries_cost_and_not_what_the_mark_says(desk: Desk, way: Direct) -> None:
    opened(desk, way, ETH)
    desk.paper.set_price(ETH, "2510", mark="2490")
    desk.clock.let_pass(3)
    desk.cycle()

    # 0.1 ETH at 2500.01 or 2499.99, and 0.010 BTC at 50000.1 or 49999.9.
    whole = D("250.001") + D("500.001") if way is LONG else D("249.999") + D("499.999")
    limit(desk, keys.MAX_TOTAL_EXPOSURE, whole - SMALLEST)
    numbers = f"expected<={plain(whole - SMALLEST)} actual={plain(whole)}"
    assert refused(desk, asked(desk, way)) == f"TOTAL_EXPOSURE_EXCEEDS_LIMIT: {numbers}"
    limit(desk, keys.MAX_TOTAL_EXPOSURE, whole)
    assert desk.run(asked(desk, way), until="guard_safety") == "APPROVED"


@EACH
def test_exposure_of_a_symbol_adds_up_both_sides_and_no_other_symbol(desk: Desk, way: Direct) -> None:
    other = SHORT if way is LONG else LONG
    desk.person.change_position_mode(dualSidePosition="true")
    opened(desk, way)
    opened(desk, way, ETH)

    # 500.001 of the long and 499.999 of the short.
    limit(desk, keys.MAX_SYMBOL_EXPOSURE, D("1000") - SMALLEST)
    assert refused(desk, asked(desk, other)) == ("SYMBOL_EXPOSURE_EXCEEDS_LIMIT: expected<=999.99999999 actual=1000")
    limit(desk, keys.MAX_SYMBOL_EXPOSURE, D("1000"))
    assert desk.run(asked(desk, other)) == "RECORDED"
    assert len(desk.ledger.summary["positions"]) == 3


@EACH
def test_number_of_positions_counts_both_directions(desk: Desk, way: Direct) -> None:
    other = SHORT if way is LONG else LONG
    opened(desk, other, ETH)
    limit(desk, keys.MAX_POSITIONS, 1)
    assert refused(desk, asked(desk, way)) == "POSITIONS_EXCEED_LIMIT: expected<=1 actual=2"

    limit(desk, keys.MAX_POSITIONS, 2)
    assert desk.run(asked(desk, way)) == "RECORDED"


@EACH
def test_one_open_trade_a_symbol_in_one_way_mode_whatever_the_direction(desk: Desk, way: Direct) -> None:
    held = opened(desk, way)

    for again in (way, SHORT if way is LONG else LONG):
        assert refused(desk, asked(desk, again)) == f"OPEN_TRADE_EXISTS: symbol=BTCUSDT held_by={held}"
    assert desk.run(asked(desk, way, ETH)) == "RECORDED"
    assert len(desk.ledger.entries) == 2


@EACH
def test_one_open_trade_a_side_in_hedge_mode(desk: Desk, way: Direct) -> None:
    desk.person.change_position_mode(dualSidePosition="true")
    held = opened(desk, way)

    assert refused(desk, asked(desk, way)) == f"OPEN_TRADE_EXISTS: symbol=BTCUSDT held_by={held}"
    assert desk.run(asked(desk, SHORT if way is LONG else LONG)) == "RECORDED"


@EACH
def test_leverage_is_refused_above_the_limit_and_halves_the_slippage_above_ten(desk: Desk, way: Direct) -> None:
    limit(desk, keys.MAX_LEVERAGE, 11)
    assert refused(desk, asked(desk, way, leverage=12)) == "LEVERAGE_EXCEEDS_LIMIT: expected<=11 actual=12"
    assert desk.run(asked(desk, way, leverage=11), until="guard_safety") == "APPROVED"


# Time


@EACH
def test_entries_of_the_last_minute_stop_counting_when_it_is_over(desk: Desk, way: Direct) -> None:
    limit(desk, keys.MAX_ENTRIES_PER_MINUTE, 2)
    opened(desk, way)
    desk.clock.let_pass(30)
    opened(desk, way, ETH)
    third = desk.decide(SOL, way.side)
    assert refused(desk, third) == "ENTRIES_EXCEED_RATE: expected<=2 actual=3"

    # The first is a minute old, the second is not.
    desk.clock.let_pass(31)
    assert desk.run(desk.decide(SOL, way.side)) == "RECORDED"
    assert refused(desk, desk.decide("BNBUSDT", way.side)) == "ENTRIES_EXCEED_RATE: expected<=2 actual=3"
    desk.clock.let_pass(30)
    assert desk.run(desk.decide("BNBUSDT", way.side)) == "RECORDED"


@EACH
@pytest.mark.parametrize("reason", ["SL", "LIQUIDATION"])
def test_a_symbol_pauses_after_its_stop_and_after_its_liquidation(desk: Desk, way: Direct, reason: str) -> None:
    limit(desk, keys.STOP_OUT_PAUSE, 300)
    first = opened(desk, way)
    if reason == "LIQUIDATION":
        desk.paper.control("POST", "close", {"symbol": BTC, "kind": "LIQUIDATION"})
    closed_at(desk, first, way.lost, reason)
    stopped_at = desk.trade(first).exit_at
    assert stopped_at is not None

    # The pause is the symbol's: the other direction waits too, another symbol does not.
    for again in (LONG, SHORT):
        assert refused(desk, asked(desk, again)).startswith("SYMBOL_PAUSED_AFTER_STOP: expected>=300s actual=")
    assert desk.run(asked(desk, way, ETH)) == "RECORDED"

    desk.clock.ahead += stopped_at + timedelta(seconds=299) - desk.clock()
    assert refused(desk, asked(desk, way)).startswith("SYMBOL_PAUSED_AFTER_STOP: expected>=300s actual=299.")
    desk.clock.let_pass(1)
    assert desk.run(asked(desk, way)) == "RECORDED"


@EACH
def test_a_gain_pauses_nothing(desk: Desk, way: Direct) -> None:
    limit(desk, keys.STOP_OUT_PAUSE, 300)
    closed_at(desk, opened(desk, way), way.won, "TP")

    assert desk.run(asked(desk, way)) == "RECORDED"


@EACH
def test_the_policys_time_exit_closes_what_brings_none_of_its_own(desk: Desk, way: Direct) -> None:
    limit(desk, keys.DEFAULT_TIME_EXIT, 600)
    by_policy, own = opened(desk, way), opened(desk, way, ETH, time_exit_seconds=900)
    filled_at = desk.trade(by_policy).entry_at

    desk.clock.ahead += filled_at + timedelta(seconds=599) - desk.clock()
    desk.cycle()
    assert [desk.trade(each).state for each in (by_policy, own)] == ["OPEN", "OPEN"]
    desk.clock.let_pass(1)
    desk.cycle()
    desk.cycle()

    # It should have closed at market, on the other side of the book, and left the other trade alone.
    trade = desk.trade(by_policy)
    assert (trade.state, trade.close_reason, trade.exit_price) == (
        "CLOSED",
        "TIME",
        D("49999.9") if way is LONG else D("50000.1"),
    )
    [close] = [row for row in desk.ledger.sent("POST", ORDER) if row.get("reduceOnly") == "true"]
    assert (close["symbol"], close["side"], close["quantity"]) == (BTC, way.opposite.upper(), "0.01")
    assert desk.trade(own).state == "OPEN"
    # It was filled some moments after the other one.
    desk.clock.let_pass(330)
    for _ in range(2):
        desk.cycle()
    assert (desk.trade(own).close_reason, desk.ledger.positions, desk.ledger.live()) == ("TIME", {}, [])


@EACH
def test_without_a_time_exit_a_position_stays(desk: Desk, way: Direct) -> None:
    request_id = opened(desk, way)
    desk.clock.let_pass(40 * 86_400)
    desk.start()

    desk.cycle()

    assert (desk.trade(request_id).state, len(desk.ledger.live())) == ("OPEN", 2)


# Sizes and exits


@EACH
def test_less_than_the_smallest_order_is_refused_and_never_enlarged(desk: Desk, way: Direct) -> None:
    # 0.001 BTC is the smallest order: 50 USD are a little less for a long, and a little more for a short.
    assert refused(desk, asked(desk, way, quantity="0.0009")) == "QUANTITY_BELOW_MINIMUM: expected>=0.001 actual=0"
    small = desk.decide(side=way.side, position_size_usd=50.0)
    if way is LONG:
        assert refused(desk, small) == "QUANTITY_BELOW_MINIMUM: expected>=0.001 actual=0"
        assert desk.ledger.entries_sent == []
    else:
        assert desk.run(small) == "RECORDED"
        assert desk.trade(small).quantity == D("0.001")
    larger = asked(desk, way, ETH, quantity="0.0129")
    assert desk.run(larger) == "RECORDED"
    # Down to the step of 0.001.
    assert desk.trade(larger).quantity == D("0.012")


@EACH
@pytest.mark.parametrize(
    ("of_policy", "of_venue", "maintenance"), [("0.005", "0.05", "0.05"), ("0.08", "0.05", "0.08")]
)
def test_the_stricter_of_the_venues_bracket_and_the_policys_margin_judges_the_stop(
    desk: Desk, way: Direct, of_policy: str, of_venue: str, maintenance: str
) -> None:
    bracket = {"leverage": 20, "cap": 100_000_000, "maint_ratio": of_venue}
    desk.paper.control("POST", "symbols", {"symbol": BTC, "brackets": [bracket]})
    desk.cycle()
    limit(desk, keys.MAINTENANCE_MARGIN, of_policy)
    # At ten times leverage a long is liquidated (0.1 - m) / (1 - m) below its entry, a short (0.1 - m) / (1 + m) above.
    expected, last, first = LIQUIDATED[way.name, maintenance]

    reason = refused(desk, asked(desk, way, leverage=10, stop_loss=first))

    assert reason.startswith(f"STOP_BEYOND_LIQUIDATION: expected<{expected} actual=0.")
    assert f" leverage=10 maintenance={maintenance} notional=" in reason
    assert desk.run(asked(desk, way, leverage=10, stop_loss=last), until="guard_safety") == "APPROVED"


# By direction and maintenance: the distance, the last stop before it on a tick, and the first beyond it.
LIQUIDATED = {
    ("LONG", "0.05"): ("0.052632", "47368.6", "47368.5"),
    ("LONG", "0.08"): ("0.021739", "48913.2", "48913.1"),
    ("SHORT", "0.05"): ("0.047619", "52380.8", "52380.9"),
    ("SHORT", "0.08"): ("0.018519", "50925.8", "50925.9"),
}


@EACH
def test_targets_take_no_more_than_their_share_of_the_position(desk: Desk, way: Direct) -> None:
    first, second = (D("50000") + way.sign * away for away in (1000, 2000))
    shares = [{"price": str(first), "share": "0.3"}, {"price": str(second), "share": "0.4"}]
    request_id = opened(desk, way, take_profit=None, take_profits=shares)
    assert quantities(desk) == {("STOP_MARKET", D(way.stop)): "0.010", ("TAKE_PROFIT_MARKET", first): "0.003"} | {
        ("TAKE_PROFIT_MARKET", second): "0.004"
    }

    desk.paper.set_price(BTC, str(first))
    desk.clock.let_pass(3)
    desk.cycle()

    # The second target keeps its share of all that was filled; three tenths have no target at all.
    assert quantities(desk) == {("STOP_MARKET", D(way.stop)): "0.007", ("TAKE_PROFIT_MARKET", second): "0.004"}
    desk.paper.set_price(BTC, str(second))
    desk.clock.let_pass(3)
    desk.cycle()
    assert quantities(desk) == {("STOP_MARKET", D(way.stop)): "0.003"}
    assert (desk.trade(request_id).state, desk.trade(request_id).exited_quantity) == ("REDUCED", D("0.007"))
    desk.check()


def quantities(desk: Desk) -> dict[tuple[str, Decimal], str]:
    """Return what rests at the exchange, by type and trigger price."""
    return {(row["orderType"], D(row["triggerPrice"])): row["quantity"] for row in desk.ledger.live()}


# Prices that differ


@EACH
def test_exits_follow_the_mark_price_and_fill_at_the_markets(desk: Desk, way: Direct) -> None:
    request_id = opened(desk, way)

    # A spike of trades beyond the stop and beyond the target, which the mark does not follow.
    for price in (way.lost, way.won):
        desk.paper.set_price(BTC, price, mark="50000")
        desk.clock.let_pass(3)
        desk.cycle()
        assert (desk.trade(request_id).state, len(desk.ledger.live())) == ("OPEN", 2)

    # The mark reaches the stop, while trades are made at 50000.
    desk.paper.set_price(BTC, "50000", mark=way.stop)
    desk.clock.let_pass(3)
    desk.cycle()
    trade = desk.trade(request_id)
    best = D("49999.9") if way is LONG else D("50000.1")
    assert (trade.state, trade.close_reason, trade.exit_price) == ("CLOSED", "SL", best)
    # 0.010 bought at 50000.1 and sold at 49999.9, or the other way round.
    assert trade.gross_pnl == D("-0.002")


@EACH
def test_exits_are_measured_from_the_price_to_pay_and_the_collar_from_the_mark(desk: Desk, way: Direct) -> None:
    # The price to pay is 5 % worse than the mark and a little more, then a little less.
    beyond, within = ("47619.14", "47619.15") if way is LONG else ("52631.48", "52631.47")
    desk.paper.set_price(BTC, "50000", mark=beyond)
    reason = refused(desk, asked(desk, way))
    assert reason == f"PRICE_BEYOND_COLLAR: expected<=500.00bps actual=500.00bps mark={beyond}"

    desk.paper.set_price(BTC, "50000", mark=within)
    # A process that has not read the mark a moment ago.
    desk = desk.another()
    # On the wrong side of the price to pay, though on the right one of the mark.
    wrong = D(50000) + way.sign * 200
    reason = refused(desk, asked(desk, way, stop_loss=str(wrong), take_profit=str(wrong + way.sign * 2000)))
    assert reason.startswith(f"STOP_ON_WRONG_SIDE: stop={wrong} reference={way.entry} ")
    approved = asked(desk, way)
    assert desk.run(approved, until="guard_safety") == "APPROVED", desk.request(approved).reason
    assert desk.request(approved).reference_price == D(way.entry)


@EACH
def test_defaulted_exits_lie_at_their_distance_from_the_real_entry(desk: Desk, way: Direct) -> None:
    request_id = desk.signal(side=way.side)
    desk.run(request_id, until="guard_safety")
    planned = desk.request(request_id)
    # The price runs away between the guard's look at the book and the order, to the worse side.
    moved = D(50000) + way.sign * 100
    desk.paper.set_price(BTC, str(moved), mark="50000")
    desk.run(request_id)
    desk.cycle()

    trade = desk.trade(request_id)
    assert (planned.reference_price, trade.entry_price) == (D(way.entry), moved + way.sign * D("0.1"))
    # Long: planned for 50000.1 at 48750 and 53000.1; for 50100.1 that is 48847.4998 and 53106.0997, down to the tick.
    # Short: planned for 49999.9 at 51249.9 and 47000; for 49899.9 that is 51147.3999 and 46905.9999, up to the tick.
    stop, target = (D("48847.4"), D("53106.0")) if way is LONG else (D("51147.4"), D("46906.0"))
    found = dict(quantities(desk).keys())
    assert found == {"STOP_MARKET": stop, "TAKE_PROFIT_MARKET": target}
    desk.check()


@EACH
def test_a_defaulted_stop_never_moves_away_when_the_entry_is_better(desk: Desk, way: Direct) -> None:
    request_id = desk.signal(side=way.side)
    desk.run(request_id, until="guard_safety")
    planned = desk.request(request_id).stop_price
    desk.paper.set_price(BTC, str(D(50000) - way.sign * 100), mark="50000")
    desk.run(request_id)
    desk.cycle()

    [stop] = [price for kind, price in quantities(desk) if kind == "STOP_MARKET"]
    assert stop == planned == (D("48750.0") if way is LONG else D("51249.9"))


@EACH
def test_break_even_is_counted_from_the_entry_whatever_the_market_does(desk: Desk, way: Direct) -> None:
    first = D(50000) + way.sign * 1000
    shares = [{"price": str(first), "share": "0.5"}]
    request_id = opened(desk, way, take_profit=None, take_profits=shares, break_even=True)

    # The mark touches the target while the market trades at 50400 or 49600.
    desk.paper.set_price(BTC, str(D(50000) + way.sign * 400), mark=str(first))
    desk.clock.let_pass(3)
    desk.cycle()

    # Long: 50000.1 and a thousandth for the fees are 50050.1001, up to the tick. Short: 49949.9001, down to it.
    level = D("50050.2") if way is LONG else D("49949.9")
    assert quantities(desk) == {("STOP_MARKET", level): "0.005"}
    line = AuditEvent.objects.get(entity_id=str(request_id), to_state="LEG_MOVED")
    assert (line.trigger, D(line.details["from"]), D(line.details["to"])) == (
        "leg_moved_break_even",
        D(way.stop),
        level,
    )
    desk.check()


# An exit of unknown outcome


@EACH
@pytest.mark.real_pauses
def test_a_close_follows_one_whose_outcome_nobody_knows_and_ends_at_flat(desk: Desk, way: Direct) -> None:
    request_id = opened(desk, way, time_exit_seconds=600)
    # The close is lost on its way, and its look-up is not answered.
    desk.paper.add_fault(path=ORDER, method="POST", action="drop_before", count=1)
    desk.paper.add_fault(path=ORDER, method="GET", action="reply", status=503, body={}, count=None)
    desk.clock.let_pass(601)
    desk.cycle()

    # It should send the next one at once, of the same size: both only reduce, and the position is flat and not turned.
    assert desk.order_states(request_id, "CLOSE") == ["UNKNOWN", "FILLED"]
    sent = [D(row["quantity"]) for row in desk.ledger.sent("POST", ORDER) if row.get("reduceOnly") == "true"]
    assert sent == [D("0.010"), D("0.010")]
    assert desk.ledger.positions == {}

    # The first is settled once its absence is proven.
    desk.paper.clear_faults()
    for _ in range(4):
        desk.clock.let_pass(25)
        desk.cycle()
    assert desk.order_states(request_id, "CLOSE") == ["NOT_ACCEPTED", "FILLED"]
    assert (desk.trade(request_id).close_reason, desk.ledger.positions, desk.ledger.live()) == ("TIME", {}, [])
    desk.check()
