"""Halts, announced ends and settings changed by hand are known to every process after one cycle; so is their end."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.cache import cache
from django.test import Client

from execution.api.health import measure, report_of
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, Heartbeat, Order, PolicyValue, VenueBlock
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
INFO = "/fapi/v1/exchangeInfo"
# Contracts of the listing that are settled, or have not begun.
DORMANT = ("BLZUSDT", "EOSUSDT", "我踏马来了USDT")
ENDS = (datetime.now(UTC) + timedelta(days=1)).replace(minute=0, second=0, microsecond=0)


def relist(desk: Desk, symbol: str = "BTCUSDT", **terms: object) -> None:
    desk.paper.control("POST", "symbols", {"symbol": symbol} | terms)


def known() -> list[tuple[str, str, bool]]:
    """Return what is known beside the contracts that do not trade from the start, as on the venue."""
    rows = VenueBlock.objects.exclude(scope__in=DORMANT).order_by("scope", "reason_code")
    return list(rows.values_list("scope", "reason_code", "alarming"))


def alarms(scope: str) -> list[str]:
    """Return what the journal tells of a scope's alarms, oldest first."""
    lines = AuditEvent.objects.filter(entity="terms", entity_id=scope).order_by("id")
    return [f"{line.trigger} {line.reason}" for line in lines]


def refusal(desk: Desk, symbol: str = "BTCUSDT") -> str:
    """Decide in another process and return why nothing was sent."""
    sent = len(desk.ledger.entries_sent)
    request_id = desk.decide(symbol)
    assert desk.another().run(request_id) == "DENIED"
    assert len(desk.ledger.entries_sent) == sent
    return str(desk.request(request_id).reason)


def in_figures(client: Client) -> list[str]:
    cache.clear()
    lines = client.get("/metrics").content.decode().splitlines()
    return [line for line in lines if line.startswith("execution_terms_alarms{")]


# Contracts


@pytest.mark.parametrize("status", ["BREAK", "SETTLING", "PRE_SETTLE"])
def test_a_halt_is_known_to_every_process_after_one_cycle(desk: Desk, status: str) -> None:
    warm = desk.another()
    warm.exchange.rules("ETHUSDT")
    relist(desk, "ETHUSDT", status=status)

    desk.cycle()

    request_id = desk.decide("ETHUSDT")
    assert warm.run(request_id) == "DENIED"
    assert desk.request(request_id).reason == f"SYMBOL_NOT_TRADING: symbol=ETHUSDT status={status}"
    assert desk.ledger.entries_sent == []
    # It should be no alarm: nobody holds anything there. And no other symbol should be held.
    assert (known(), alarms("ETHUSDT")) == ([("ETHUSDT", "SYMBOL_NOT_TRADING", False)], [])
    desk.trade_opened("BTCUSDT")


def test_an_approved_entry_does_not_leave_once_the_halt_is_known(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    relist(desk, status="BREAK")
    desk.cycle(resume=lambda _id, _state: None)

    # It should be stopped by the statement that starts the submission, not by the exchange.
    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason_code == "SYMBOL_NOT_TRADING"
    assert desk.ledger.entries_sent == []


def test_entries_go_on_when_it_trades_again_also_where_the_halt_was_read(desk: Desk) -> None:
    relist(desk, status="BREAK")
    moment = [0.0]
    reader = desk.another(monotonic=lambda: moment[0])
    rules = reader.exchange.rules("BTCUSDT")
    assert rules is not None
    assert not rules.trading
    desk.cycle()
    relist(desk, status="TRADING")

    desk.cycle()
    moment[0] = 6.0

    assert known() == []
    request_id = desk.decide()
    assert reader.run(request_id) == "RECORDED"


def test_a_position_in_a_halted_symbol_is_alarmed_once_a_change_until_it_trades_again(
    desk: Desk, client: Client
) -> None:
    request_id = desk.trade_opened()
    stop = desk.order(request_id, OrderPurpose.STOP).client_order_id

    relist(desk, status="BREAK")
    desk.cycle()
    desk.cycle()
    halted = "alarm_raised SYMBOL_NOT_TRADING: symbol=BTCUSDT status=BREAK"
    assert alarms("BTCUSDT") == [halted]
    told = report_of(measure())["components"]["terms"]
    assert told["error"] == "SYMBOL_NOT_TRADING: symbol=BTCUSDT status=BREAK"
    assert in_figures(client) == ['execution_terms_alarms{code="SYMBOL_NOT_TRADING"} 1.0']

    relist(desk, status="SETTLING")
    desk.cycle()
    assert alarms("BTCUSDT") == [halted, halted.replace("BREAK", "SETTLING")]
    # Its stop should be as it was all the while.
    assert [row["clientAlgoId"] for row in desk.ledger.live_stops] == [stop]

    relist(desk, status="TRADING")
    desk.cycle()
    assert alarms("BTCUSDT")[-1].startswith("alarm_ended SYMBOL_NOT_TRADING: no longer so")
    assert (len(alarms("BTCUSDT")), known()) == (3, [])
    assert report_of(measure())["components"]["terms"]["healthy"]
    assert in_figures(client) == []
    desk.check()


def test_an_announced_end_holds_entries_and_alarms_about_the_position(desk: Desk) -> None:
    desk.trade_opened()
    for symbol in ("BTCUSDT", "ETHUSDT"):
        relist(desk, symbol, delivery_ms=int(ENDS.timestamp() * 1000))

    desk.cycle()

    numbers = f"status=TRADING delivers_at={ENDS.isoformat()}"
    assert known() == [("BTCUSDT", "SYMBOL_ENDS", True), ("ETHUSDT", "SYMBOL_ENDS", False)]
    assert alarms("BTCUSDT") == [f"alarm_raised SYMBOL_ENDS: symbol=BTCUSDT {numbers}"]
    assert refusal(desk, "ETHUSDT") == f"SYMBOL_ENDS: symbol=ETHUSDT {numbers}"


def test_the_alarm_ends_with_the_position(desk: Desk) -> None:
    desk.trade_opened()
    relist(desk, delivery_ms=int(ENDS.timestamp() * 1000))
    desk.cycle()

    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0"})
    desk.cycle()
    desk.cycle()

    # It should go on holding entries.
    assert known() == [("BTCUSDT", "SYMBOL_ENDS", False)]
    assert [line.split()[0] for line in alarms("BTCUSDT")] == ["alarm_raised", "alarm_ended"]


def test_a_position_is_closed_before_its_contract_ends_when_the_policy_says_so(desk: Desk) -> None:
    PolicyValue.objects.create(
        key="execution.close_before_end_hours", value=2, source="test", version=1, changed_at=desk.clock()
    )
    request_id, other = desk.trade_opened(), desk.trade_opened("ETHUSDT")
    ends = desk.clock() + timedelta(hours=3)
    relist(desk, delivery_ms=int(ends.timestamp() * 1000))
    desk.cycle()
    desk.cycle()
    # It should be an alarm until then.
    assert (known(), desk.trade(request_id).state) == ([("BTCUSDT", "SYMBOL_ENDS", True)], "OPEN")

    desk.clock.let_pass(3601)
    desk.cycle()

    trade, ledger = desk.trade(request_id), desk.ledger
    assert (trade.state, trade.close_reason) == ("CLOSED", "CONTRACT_ENDS")
    assert (set(ledger.positions), len(ledger.live(symbol="BTCUSDT"))) == ({"ETHUSDT"}, 0)
    assert desk.trade(other).state == "OPEN"


def test_an_announced_end_alone_closes_nothing(desk: Desk) -> None:
    request_id = desk.trade_opened()
    relist(desk, delivery_ms=int((desk.clock() + timedelta(seconds=60)).timestamp() * 1000))

    for _ in range(2):
        desk.cycle()

    assert desk.trade(request_id).state == "OPEN"


def test_a_listing_that_cannot_be_read_leaves_what_is_known(desk: Desk) -> None:
    desk.trade_opened()
    relist(desk, status="BREAK")
    desk.cycle()
    desk.paper.add_fault(path=INFO, method="GET", action="reply", status=200, body={"symbols": []}, count=None)

    result = desk.cycle()

    # The rest of the cycle should have been done.
    assert result.failed == 0
    assert known() == [("BTCUSDT", "SYMBOL_NOT_TRADING", True)]
    told = Heartbeat.objects.get(part="terms")
    assert not told.healthy
    assert told.details["error"]


def test_the_cost_does_not_grow_with_the_contracts(desk: Desk) -> None:
    desk.trade_opened()
    desk.paper.clear_ledger()

    desk.cycle()

    paths = [row["path"] for row in desk.ledger.requests]
    assert [paths.count(path) for path in (INFO, "/fapi/v1/accountConfig", "/fapi/v1/symbolConfig")] == [1, 1, 1]
    assert "/fapi/v1/positionSide/dual" not in paths


# The account's settings


def test_another_position_mode_holds_all_entries_until_it_is_set_back(desk: Desk) -> None:
    desk.exchange.hedge_mode()
    desk.cycle()

    desk.person.change_position_mode("true")
    desk.cycle()

    assert refusal(desk) == "POSITION_MODE_MISMATCH: wanted=one-way found=hedge"
    assert alarms("ACCOUNT") == ["alarm_raised POSITION_MODE_MISMATCH: wanted=one-way found=hedge"]
    # It should be forgotten by all processes what was so.
    assert desk.setup_rules.cache.hedge_mode() is None

    desk.person.change_position_mode("false")
    desk.cycle()
    assert known() == []
    assert len(alarms("ACCOUNT")) == 2
    assert desk.trade(desk.trade_opened()).position_side == "BOTH"


def test_a_mode_that_is_found_at_the_start_is_taken_as_it_is(desk: Desk) -> None:
    desk.cycle()
    desk.person.change_position_mode("true")
    desk.cycle()
    assert known() == [("ACCOUNT", "POSITION_MODE_MISMATCH", True)]

    again = desk.another()
    again.stack = again.stack.__class__(**{**vars(again.stack), "started_at": desk.clock()})
    again.cycle()

    assert known() == []


def test_a_mode_that_is_demanded_is_demanded_from_the_first_cycle_on(desk: Desk) -> None:
    desk.setup = {"position_mode": "hedge"}
    demanding = desk.another()
    demanding.cycle()

    assert refusal(demanding) == "POSITION_MODE_MISMATCH: wanted=hedge found=one-way"


def test_the_expected_mode_outlives_a_silence(desk: Desk) -> None:
    desk.cycle()
    desk.paper.add_fault(path=INFO, method="GET", action="reply", status=200, body={"symbols": []}, count=1)
    desk.cycle()
    desk.person.change_position_mode("true")

    desk.cycle()

    assert known() == [("ACCOUNT", "POSITION_MODE_MISMATCH", True)]


def test_leverage_changed_under_a_position_is_alarmed_and_holds_its_symbol(desk: Desk) -> None:
    request_id = desk.trade_opened()
    wanted = desk.trade(request_id).leverage
    desk.person.change_leverage("BTCUSDT", 20)

    desk.cycle()

    numbers = f"LEVERAGE_MISMATCH: symbol=BTCUSDT wanted={wanted} found=20"
    assert alarms("BTCUSDT") == [f"alarm_raised {numbers}"]
    assert refusal(desk) == numbers
    desk.trade_opened("ETHUSDT")

    desk.person.change_leverage("BTCUSDT", wanted)
    desk.cycle()
    assert known() == []
    assert alarms("BTCUSDT")[-1].startswith("alarm_ended")


def test_leverage_of_our_own_entry_on_the_other_side_is_no_alarm(desk: Desk) -> None:
    desk.person.change_position_mode("true")
    desk.trade_opened(leverage=5.0)
    desk.trade_opened(side="sell", leverage=7.0)

    desk.cycle()

    assert (known(), alarms("BTCUSDT")) == ([], [])


def test_a_margin_type_changed_by_hand_is_alarmed_and_holds_its_symbol(desk: Desk) -> None:
    desk.setup = {"margin_type": "CROSSED"}
    desk = desk.another()
    desk.trade_opened()
    desk.paper.control("POST", "position", {"symbol": "BTCUSDT", "amount": "0"})
    desk.cycle()
    desk.cycle()
    assert not Order.objects.filter(state="ACCEPTED").exists()
    desk.person.change_margin_type("BTCUSDT", "ISOLATED")

    desk.cycle()

    numbers = "MARGIN_TYPE_MISMATCH: symbol=BTCUSDT wanted=CROSSED found=ISOLATED"
    assert alarms("BTCUSDT") == [f"alarm_raised {numbers}"]
    assert refusal(desk) == numbers

    desk.person.change_margin_type("BTCUSDT", "CROSSED")
    desk.cycle()
    assert known() == []
