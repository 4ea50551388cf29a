"""Moves a position's exits over HTTP: written at once, followed until the exchange has confirmed it."""

import time
from datetime import datetime
from uuid import UUID

from rest_framework.exceptions import APIException, ValidationError

from execution import wiring, workflow
from execution.api.errors import ConflictError, gathered
from execution.api.serializers.protection import MoveAsked
from execution.domain.authorization import Authorization
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.protection_moves import MoveLimit, ProtectionMove
from execution.protection.amend_bracket import MoveRefusedError, TradeNotOpenError, move_protection
from execution.queries.protection import Protection, protection_of

PAUSE_SECONDS = 0.05


class ExchangeSilentError(APIException):
    """The exchange, whose prices a move is judged by, did not answer."""

    status_code = 503
    default_detail = "The exchange does not answer: nothing was changed."


def move_by_hand(trade_id: UUID, asked: MoveAsked, *, now: datetime, answer_seconds: float) -> Protection:
    """Move the exits and return their state, confirmed or not, within `answer_seconds`.

    Raises:
        Trade.DoesNotExist: there is no such trade.
        ValidationError: a field breaks a rule; nothing was changed.
        ConflictError: the trade is not open.
        ExchangeSilentError: nothing was changed.

    """
    authorization = Authorization(by=asked["by"], reason=asked["reason"])
    why = asked.get("override", {}).get("reason", "")
    try:
        move_protection(
            trade_id, move_of(asked), authorization, exchange=wiring.exchange(), now=now, override_reason=why
        )
    except MoveRefusedError as error:
        raise ValidationError(gathered(error.broken)) from None
    except TradeNotOpenError as error:
        raise ConflictError(str(error), reason_code="TRADE_NOT_OPEN") from None
    except ExchangeUnavailableError:
        raise ExchangeSilentError from None
    # Also when nothing moved: an earlier move of the same may not have been carried out yet.
    if not protection_of(trade_id).settled:
        workflow.cover(trade_id)
    return _followed(trade_id, answer_seconds)


def move_of(asked: MoveAsked) -> ProtectionMove:
    """Return the move that the checked input asks for."""
    targets = {target["number"]: target["price"] for target in asked.get("take_profits", [])}
    return ProtectionMove(
        stop_price=asked.get("stop_loss"),
        target_prices=targets,
        callback_percent=asked.get("trailing", {}).get("callback_percent"),
        override=frozenset(map(MoveLimit, asked.get("override", {}).get("scope", ()))),
    )


def _followed(trade_id: UUID, seconds: float) -> Protection:
    """Poll the rows until the exchange has confirmed the move or the time is up."""
    deadline = time.monotonic() + seconds
    while not (found := protection_of(trade_id)).settled and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)
    return found
