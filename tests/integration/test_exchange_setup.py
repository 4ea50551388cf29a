"""What an entry rests on, against the paper exchange: modes as demanded, leverage set and read back."""

from io import StringIO

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from execution import wiring
from execution.domain.trading import PositionSide
from execution.models import PositionSlot
from tests.support.desk import Desk
from tests.support.listener import Listener

pytestmark = pytest.mark.django_db
LEVERAGE, CONFIG = "/fapi/v1/leverage", "/fapi/v1/symbolConfig"


def asked(desk: Desk, path: str) -> int:
    return sum(row["path"] == path for row in desk.ledger.requests)


def prepared(desk: Desk) -> bool:
    return desk.exchange.prepare_entry("BTCUSDT", leverage=5, position_side=PositionSide.BOTH) is None


def refusal(desk: Desk, **fields: object) -> str:
    """Decide and return why no entry was sent."""
    request_id = desk.decide(**fields)  # type: ignore[arg-type]
    assert desk.run(request_id) == "DENIED"
    assert not desk.ledger.entries_sent
    assert not PositionSlot.objects.exists()
    return str(desk.request(request_id).reason)


def test_leverage_is_read_back_once_for_all_processes(desk: Desk) -> None:
    desk.trade_opened(symbol="BTCUSDT")
    desk.another().trade_opened(symbol="ETHUSDT")
    assert (asked(desk, LEVERAGE), asked(desk, CONFIG)) == (2, 2)

    # It should not be paid for again while it is believed, in any process.
    assert prepared(desk.another())
    assert (asked(desk, LEVERAGE), asked(desk, CONFIG)) == (2, 2)
    desk.check()


def test_leverage_that_reads_back_differently_refuses_with_numbers(desk: Desk) -> None:
    body = [{"symbol": "BTCUSDT", "marginType": "CROSSED", "leverage": 20}]
    desk.paper.add_fault(path=CONFIG, action="reply", status=200, body=body, count=None)

    assert refusal(desk) == "LEVERAGE_MISMATCH: wanted=5 found=20"


def test_margin_type_that_is_demanded_is_held(desk: Desk) -> None:
    desk.setup = {"margin_type": "ISOLATED"}
    demanding = desk.another()

    assert refusal(demanding) == "MARGIN_TYPE_MISMATCH: wanted=ISOLATED found=CROSSED"

    # It should go on as soon as the operator has set it.
    desk.person.change_margin_type("BTCUSDT", "ISOLATED")
    demanding.trade_opened()


def test_mode_that_changes_between_guard_and_wire_refuses(desk: Desk) -> None:
    request_id = desk.decide()
    desk.run(request_id, until="guard_safety")
    desk.person.change_position_mode("true")
    desk.redis.delete(*desk.redis.keys("execution:settings:*"))

    assert desk.run(request_id) == "DENIED"
    assert desk.request(request_id).reason == "POSITION_MODE_MISMATCH: wanted=one-way found=hedge"
    assert not desk.ledger.entries_sent

    # It should trade in the new mode from the next decision on.
    assert desk.trade(desk.trade_opened()).position_side == "LONG"


def test_mode_changed_behind_the_cache_is_met_once(desk: Desk) -> None:
    """The exchange itself refuses such an order (-4061); after that the mode is read, not remembered."""
    desk.trade_opened(symbol="ETHUSDT")
    desk.exchange.hedge_mode()
    desk.person.cancel_open_orders("ETHUSDT")
    request_id = desk.decide()
    desk.paper.add_fault(
        path="/fapi/v1/order",
        method="POST",
        action="reply",
        status=400,
        body={"code": -4061, "msg": "Order's position side does not match user's setting."},
    )
    desk.run(request_id)
    before = asked(desk, "/fapi/v1/positionSide/dual")

    assert "code=-4061" in desk.request(request_id).reason
    desk.exchange.hedge_mode()
    assert asked(desk, "/fapi/v1/positionSide/dual") == before + 1


def test_leverage_changed_by_hand_is_set_again_before_the_next_entry(desk: Desk) -> None:
    with Listener(desk=desk) as listener:
        listener.connect()
        assert prepared(desk)
        desk.person.change_leverage("BTCUSDT", 9)
        listener.until(lambda: desk.setup_rules.cache.symbol("BTCUSDT") is None, what="the change was told")

    assert prepared(desk)
    assert desk.person.sign_request("GET", CONFIG, {"symbol": "BTCUSDT"})[0]["leverage"] == 5


def test_the_operator_is_told_what_would_refuse_entries(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.setup = {"position_mode": "hedge"}
    demanding = desk.another()
    monkeypatch.setattr(wiring, "exchange", lambda: demanding.exchange)

    with pytest.raises(CommandError, match="POSITION_MODE_MISMATCH: wanted=hedge found=one-way"):
        call_command("check_exchange")

    desk.person.change_position_mode("true")
    desk.setup_rules.cache.forget_hedge_mode()
    told = StringIO()
    call_command("check_exchange", stdout=told)
    assert "position mode   hedge" in told.getvalue()
    assert "nothing stands in the way of entries" in told.getvalue()
