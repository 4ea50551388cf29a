"""Reads what a call of the connector raised, and looks up what it proves in the operation's table."""

import json
import re
from dataclasses import dataclass

import requests
import structlog
from binance.error import ClientError, ServerError
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from execution.adapters.binance.outcome_table import LIMITED, Answer, Fault, Meaning, Operation, row_for
from execution.domain.holds import LONGEST_BAN_SECONDS, LONGEST_PAUSE_SECONDS
from execution.domain.outcomes import Waits

log = structlog.get_logger(__name__)
# An answer that is not as documented. The exchange has answered something that we cannot read.
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)
NOT_SENT = (NewConnectionError, NameResolutionError, ConnectTimeoutError)
BANNED_UNTIL = re.compile(r"banned until ([0-9]{1,18})")
# No number of an answer's header has more digits.
MOST_DIGITS = 12
LONGEST_MESSAGE = 200
DEFAULT_BACK_OFF_SECONDS = 2.0
FIREWALL_BACK_OFF_SECONDS = 60.0
# The measured clock may be wrong by as much. A request before a ban's end prolongs the ban.
CLOCK_MARGIN_SECONDS = 1.0
# The exchange's windows begin with the minutes and tens of seconds of its clock.
LIMIT_LENGTHS = {-1003: 60.0, -1015: 10.0}
BANNED = 418
# Statuses of a firewall or limit that keeps requests from the exchange.
NOT_SERVED = frozenset({requests.codes.forbidden, *LIMITED})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed call and what it proves.

    `waits` names the requests that must hold back, for `back_off_seconds`.
    """

    meaning: Meaning
    code: int | None
    message: str
    waits: Waits = Waits.NOBODY
    back_off_seconds: float = 0.0

    def __str__(self) -> str:
        return f"code={self.code} {self.message}"


def classify(operation: Operation, error: Exception, *, exchange_ms: int) -> Failure:
    """Return what an exception proves about an operation.

    `exchange_ms` is the exchange's present time in ms, by which bans end.

    Raises:
        Exception: `error` itself, when it is a fault in our code and not an answer.

    """
    answer = answer_of(error)
    row = row_for(operation, answer)
    waits = row.meaning is Meaning.BACK_OFF or row.waits is not Waits.NOBODY
    by_others = answer.fault is None and answer.code is None
    return Failure(
        meaning=row.meaning,
        code=answer.code,
        message=f"HTTP {answer.status} {answer.message}".strip() if by_others else answer.message,
        waits=row.waits,
        back_off_seconds=_back_off(error, answer, exchange_ms / 1000) if waits else 0.0,
    )


def answer_of(error: Exception) -> Answer:
    """Read an exception of the connector or of its transport."""
    if isinstance(error, ClientError):
        return _coded(error.status_code, error.error_code, str(error.error_message))
    if isinstance(error, ServerError):
        # The body first, never the status alone: a 503 has four meanings.
        return _coded(error.status_code, *_body(str(error.message)))
    if isinstance(error, requests.RequestException):
        fault = Fault.NOT_SENT if _never_left(error) else Fault.LOST
        # Its text may hold the address with our signature.
        return Answer(fault=fault, message=type(error).__name__)
    if isinstance(error, UNREADABLE):
        return Answer(fault=Fault.UNREADABLE, message=f"unreadable answer: {error!r}"[:LONGEST_MESSAGE])
    raise error


def is_answer(error: Exception) -> bool:
    """Whether the exchange itself has answered, be it with a refusal.

    A proxy's page, or no answer, is a fault of the transport.
    """
    if isinstance(error, ServerError):
        return isinstance(_body(str(error.message))[0], int) or "Service Unavailable" in str(error.message)
    return isinstance(error, ClientError)


def was_served(error: Exception) -> bool:
    """Whether the exchange itself has handled a request, be it with a refusal.

    Then no ban holds, and no window is full.
    """
    if not isinstance(error, ClientError) or error.status_code in NOT_SERVED:
        return False
    return isinstance(error.error_code, int) and error.error_code < 0 and error.error_code not in LIMIT_LENGTHS


def whole_number(text: str) -> int | None:
    """Return the number in a header. None when it is none, or has more digits than the exchange's numbers."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def _coded(status: int, code: object, message: str) -> Answer:
    """Return an HTTP answer. Only negative integers are error codes of the exchange."""
    known = code if isinstance(code, int) and code < 0 else None
    return Answer(status=status, code=known, message=message[:LONGEST_MESSAGE])


def _body(text: str) -> tuple[object, str]:
    try:
        body: object = json.loads(text)
    except ValueError:
        return None, text
    return (body.get("code"), str(body.get("msg", ""))) if isinstance(body, dict) else (None, text)


def _never_left(error: requests.RequestException) -> bool:
    """Whether a transport error happened while connecting, before a byte of the request was written."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", cause), NOT_SENT)


def _back_off(error: Exception, answer: Answer, now: float) -> float:
    """Return the seconds that the exchange asks for, at most what a pause of that kind may last.

    A ban (418) lasts up to three days. All other waits are over within a few of the exchange's windows.
    """
    asked = _asked_back_off(error, answer, now)
    allowed = min(asked, LONGEST_BAN_SECONDS if answer.status == BANNED else LONGEST_PAUSE_SECONDS)
    if allowed < asked:
        log.error("back_off_capped", status=answer.status, code=answer.code, asked_seconds=asked, seconds=allowed)
    return allowed


def _asked_back_off(error: Exception, answer: Answer, now: float) -> float:
    """Return Retry-After, else the time to the end of the ban, else of the full window.

    Retry-After is documented for the spot market only.
    """
    after = str((getattr(error, "header", None) or {}).get("Retry-After", ""))
    if after.isascii() and after.isdigit():
        # An endless row of digits is a number too: the cap ends it.
        return float(after[: MOST_DIGITS + 1])
    until = BANNED_UNTIL.search(answer.message)
    if until:
        return max(0.0, int(until.group(1)) / 1000 - now) + CLOCK_MARGIN_SECONDS
    if answer.status in LIMITED or answer.code in LIMIT_LENGTHS:
        length = LIMIT_LENGTHS.get(answer.code or 0, 60.0)
        return length - now % length + CLOCK_MARGIN_SECONDS
    firewall = answer.status == requests.codes.forbidden
    return FIREWALL_BACK_OFF_SECONDS if firewall else DEFAULT_BACK_OFF_SECONDS
