"""An operator's write-off over HTTP: one call, and the exchange's answer."""

from uuid import UUID

from rest_framework.exceptions import NotFound

from execution import wiring
from execution.api.errors import ConflictError
from execution.api.protection import ExchangeSilentError
from execution.domain.authorization import Authorization
from execution.domain.bounds import uuid_of
from execution.domain.ports import ExchangeUnavailableError
from execution.models import ExecutionRequest
from execution.queries.requests import request_exists
from execution.reconciliation.write_off import WriteOffRefusedError, WrittenOff, write_off

LONGEST_ECHO = 100


def write_off_by_hand(name: str, reason: str, by: str) -> WrittenOff:
    """Write off the decision, or the trade, of this id.

    Raises:
        NotFound: there is none.
        ConflictError: the exchange does not deny it, or nothing is held of it; nothing was changed.
        ExchangeSilentError: nothing was changed.

    """
    try:
        return write_off(
            _id_of(name), Authorization(by=by, reason=reason), exchange=wiring.exchange(), clock=wiring.clock
        )
    except ExecutionRequest.DoesNotExist:
        raise _missing(name) from None
    except WriteOffRefusedError as error:
        raise ConflictError(str(error), reason_code=str(error).partition(":")[0]) from None
    except ExchangeUnavailableError:
        raise ExchangeSilentError from None


def demand_decision(name: str) -> None:
    """Answer 404 before the body is checked, when there is no such decision."""
    if not request_exists(_id_of(name)):
        raise _missing(name)


def _id_of(name: str) -> UUID:
    try:
        return uuid_of(name)
    except ValueError:
        raise _missing(name) from None


def _missing(name: str) -> NotFound:
    return NotFound(f"Decision {name[:LONGEST_ECHO]} not found")
