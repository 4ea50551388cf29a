"""Dated contracts trade until a day before their delivery; what is open then is settled, booked and over."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from execution.api.health import measure, report_of
from execution.domain.states import ORDER_FINAL
from execution.health.condition import judge_health
from execution.models import Order, PolicyValue, PositionSlot, Trade, VenueBlock
from tests.support.desk import Desk
from tests.support.ledger import ALGO_ORDER, ORDER
from tests.support.paper import PaperExchange

pytestmark = pytest.mark.django_db
HOUR = 3600
PRICE = "50000"
STOPS = {"buy": "49000", "sell": "51000"}


@pytest.fixture(scope="module")
def paper_process() -> Iterator[PaperExchange]:
    """The venue's own listing, which has contracts with a delivery."""
    with PaperExchange("--listing", "venue") as running:
        yield running


@pytest.fixture
def desk(desk: Desk) -> Desk:
    """A process that believes what it has read for as long as the stories' clock says."""
    return desk.another(monotonic=lambda: desk.clock.ahead.total_seconds())  # noqa: PLW0108 -- read anew each time


@pytest.fixture
def quarter(desk: Desk) -> str:
    """The contract of the current quarter, weeks before its delivery."""
    rows = desk.person.exchange_info()["symbols"]
    kinds = ("CURRENT_QUARTER", "NEXT_QUARTER")
    found = [row for row in rows if row["contractType"] in kinds and row["pair"] == "BTCUSDT"]
    # The far one: a quarter may end today.
    name = str(max(found, key=lambda row: row["deliveryDate"])["symbol"])
    desk.paper.set_price(name, PRICE)
    return name


@pytest.fixture
def dated(desk: Desk, quarter: str) -> str:
    """The same, 30 hours before its delivery."""
    go_to(desk, ends_at(desk, quarter) - timedelta(hours=30))
    return quarter


def ends_at(desk: Desk, symbol: str) -> datetime:
    rows = desk.person.exchange_info()["symbols"]
    delivery = next(row["deliveryDate"] for row in rows if row["symbol"] == symbol)
    return datetime.fromtimestamp(delivery / 1000, tz=UTC)


def go_to(desk: Desk, moment: datetime) -> None:
    """Let both clocks go on until then."""
    seconds = (moment - desk.clock()).total_seconds()
    desk.paper.control("POST", "clock", {"advance_ms": int(seconds * 1000)})
    desk.clock.let_pass(seconds)
    desk.exchange.check()


def policy(desk: Desk, key: str, value: str) -> None:
    PolicyValue.objects.create(key=key, value=Decimal(value), source="test", version=1, changed_at=desk.clock())


def opened(desk: Desk, symbol: str, side: str = "buy", **fields: Any) -> UUID:
    request_id = desk.signal(symbol=symbol, side=side, stop_loss=STOPS[side], **fields)
    assert desk.run(request_id) == ("ACCEPTED" if "price" in fields else "RECORDED"), desk.request(request_id).reason
    return request_id


def told_of_terms(desk: Desk) -> str | None:
    """Return what health says of contracts, by the stories' clock."""
    error: str | None = judge_health(replace(measure(), now=desk.clock())).components["terms"].error
    return error


def hedge(desk: Desk, mode: str) -> None:
    if mode == "hedge":
        desk.person.change_position_mode(dualSidePosition="true")
        desk.setup_rules.cache.forget_all_but({}, hedge=True)


def assert_over(request_id: UUID) -> None:
    """Nothing should be left: no order, no lock, no alarm."""
    unfinished = Order.objects.filter(request_id=request_id).exclude(state__in=sorted(ORDER_FINAL))
    assert list(unfinished.values_list("purpose", "state")) == []
    assert not PositionSlot.objects.filter(request_id=request_id).exists()
    parts = report_of(measure())["components"]
    assert {name: parts[name]["error"] for name in ("orders", "exits", "positions")} == {
        "orders": None,
        "exits": None,
        "positions": None,
    }
    assert not VenueBlock.objects.filter(alarming=True).exists()


@pytest.mark.parametrize(("hours", "state"), [(25, "RECORDED"), (23, "DENIED"), (1, "DENIED")])
def test_a_dated_contract_takes_no_entry_within_a_day_of_its_delivery(
    desk: Desk, dated: str, hours: int, state: str
) -> None:
    end = ends_at(desk, dated)
    go_to(desk, end - timedelta(hours=hours))
    desk.cycle()

    request_id = desk.signal(symbol=dated, stop_loss="49000")

    assert desk.run(request_id) == state
    if state == "DENIED":
        numbers = f"symbol={dated} status=TRADING delivers_at={end.isoformat()}"
        assert desk.request(request_id).reason == f"SYMBOL_ENDS: {numbers}"
        assert desk.ledger.entries_sent == []


def test_weeks_before_it_blocks_no_entry(desk: Desk, quarter: str) -> None:
    desk.cycle()

    assert not VenueBlock.objects.filter(scope=quarter).exists()
    opened(desk, quarter)


def test_an_entry_is_denied_for_as_long_as_it_would_have_to_be_closed(desk: Desk, quarter: str) -> None:
    policy(desk, "execution.close_before_end_hours", "48")
    go_to(desk, ends_at(desk, quarter) - timedelta(hours=47))
    desk.cycle()

    request_id = desk.signal(symbol=quarter, stop_loss="49000")

    assert (desk.run(request_id), desk.request(request_id).reason_code) == ("DENIED", "SYMBOL_ENDS")


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_position_is_closed_before_the_delivery_when_the_policy_says_so(desk: Desk, dated: str, side: str) -> None:
    policy(desk, "execution.close_before_end_hours", "2")
    request_id = opened(desk, dated, side)
    end = ends_at(desk, dated)
    go_to(desk, end - timedelta(hours=2, seconds=30))
    desk.cycle()
    desk.cycle()
    assert desk.trade(request_id).state == "OPEN"

    go_to(desk, end - timedelta(hours=2))
    desk.cycle()
    desk.cycle()

    assert desk.trade(request_id).close_reason == "CONTRACT_ENDS"
    assert_over(request_id)
    desk.check()


def test_health_warns_of_an_open_position_a_day_before(desk: Desk, dated: str) -> None:
    request_id = opened(desk, dated)
    end = ends_at(desk, dated)
    go_to(desk, end - timedelta(hours=25))
    desk.cycle()
    assert told_of_terms(desk) is None

    go_to(desk, end - timedelta(hours=24))
    desk.cycle()

    assert told_of_terms(desk) == f"SYMBOL_ENDS: symbol={dated} status=TRADING delivers_at={end.isoformat()}"
    # It should close nothing by itself.
    assert desk.trade(request_id).state == "OPEN"


@pytest.mark.parametrize("mode", ["one-way", "hedge"])
@pytest.mark.parametrize("side", ["buy", "sell"])
@pytest.mark.parametrize("seen_after", [5, 2 * HOUR])
def test_what_is_delivered_is_booked_with_the_exchanges_fill(
    desk: Desk, dated: str, side: str, mode: str, seen_after: int
) -> None:
    """The first look comes seconds after the delivery, or when the contract has left the listing."""
    hedge(desk, mode)
    request_id = opened(desk, dated, side, take_profit="60000" if side == "buy" else "40000")
    desk.paper.set_price(dated, "50500")

    go_to(desk, ends_at(desk, dated) + timedelta(seconds=seen_after))
    for _ in range(3):
        assert desk.cycle().failed == 0

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason, trade.exit_price) == ("CLOSED", "SETTLEMENT", Decimal(50500))
    assert desk.events(request_id).count("trade.closed") == 1
    assert_over(request_id)
    desk.check()


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_contract_of_which_nobody_tells_any_more_ends_in_the_books(desk: Desk, dated: str, side: str) -> None:
    """It has left the listing, and each look-up of its orders is refused."""
    request_id = opened(desk, dated, side, take_profit="60000" if side == "buy" else "40000")
    go_to(desk, ends_at(desk, dated) + timedelta(hours=2))
    for path in (ORDER, ALGO_ORDER, "/fapi/v1/allOrders", "/fapi/v1/allAlgoOrders"):
        desk.paper.add_fault(path=path, method="GET", action="refuse", code=-1121, count=None)

    for _ in range(4):
        desk.clock.let_pass(310)
        desk.cycle()

    assert (desk.trade(request_id).state, desk.trade(request_id).close_reason) == ("CLOSED", "SETTLEMENT")
    assert_over(request_id)
    # It should not look it over for ever either.
    desk.clock.let_pass(2 * 86_400)
    desk.cycle()
    assert Trade.objects.get(pk=request_id).checked_at is not None
    assert desk.cycle().failed == 0


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_an_entry_that_rests_goes_when_no_more_are_taken(desk: Desk, dated: str, side: str) -> None:
    policy(desk, "execution.limit_entry_max_age_sec", "0")
    request_id = opened(desk, dated, side, price="49500" if side == "buy" else "50500")
    end = ends_at(desk, dated)
    go_to(desk, end - timedelta(hours=23))
    desk.cycle()
    desk.cycle()

    request = desk.request(request_id)
    assert (request.state, request.reason_code) == ("CANCELED", "SYMBOL_ENDS")
    assert desk.ledger.live() == []
    assert_over(request_id)


@pytest.mark.parametrize("seen_after", [5, 2 * HOUR])
def test_an_entry_that_rests_at_the_delivery_ends_with_it(desk: Desk, dated: str, seen_after: int) -> None:
    policy(desk, "execution.limit_entry_max_age_sec", "0")
    request_id = opened(desk, dated, price="49500")

    go_to(desk, ends_at(desk, dated) + timedelta(seconds=seen_after))
    desk.cycle()

    assert desk.order(request_id, "ENTRY").state == "EXPIRED"
    assert desk.request(request_id).reason_code == "ENTRY_ENDED_WITHOUT_FILL"
    assert_over(request_id)


def test_a_part_that_has_filled_is_delivered_and_the_rest_expires(desk: Desk, dated: str) -> None:
    policy(desk, "execution.limit_entry_max_age_sec", "0")
    request_id = opened(desk, dated, price="49500")
    name = desk.order(request_id, "ENTRY").client_order_id
    desk.paper.control("POST", "orders/fill", {"order": name, "quantity": "0.004"})
    desk.cycle()
    assert desk.trade(request_id).quantity == Decimal("0.004")

    go_to(desk, ends_at(desk, dated) + timedelta(seconds=5))
    for _ in range(3):
        desk.cycle()

    assert (desk.trade(request_id).state, desk.trade(request_id).close_reason) == ("CLOSED", "SETTLEMENT")
    assert_over(request_id)
    desk.check()
