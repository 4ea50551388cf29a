"""What an error of the exchange proves: rows of data, each with its source in Binance's error-code table."""

import json
import re
import time
from dataclasses import dataclass
from enum import Enum
from typing import Any

import requests
from binance.error import ClientError, ServerError
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError


class Meaning(Enum):
    """What an error says about a write."""

    REFUSED = "refused"
    RETRY = "refused, the same may be sent again"
    BACK_OFF = "refused, everybody waits first"
    UNKNOWN = "may have been executed"


# Codes whose meaning differs from the rule for their HTTP status: 4xx refused, 408 and 5xx unknown.
CODE_MEANINGS: dict[int, Meaning] = {
    -1000: Meaning.UNKNOWN,  # an unknown error occurred while processing
    -1001: Meaning.UNKNOWN,  # documented as a failure; a look-up costs little, a double entry does not
    -1003: Meaning.BACK_OFF,  # too many requests, or banned
    -1006: Meaning.UNKNOWN,  # unexpected response from the message bus
    -1007: Meaning.UNKNOWN,  # time-out waiting for the backend
    -1008: Meaning.BACK_OFF,  # throttled by system-level protection: failed for certain
    -1010: Meaning.UNKNOWN,  # no statement about execution
    -1015: Meaning.BACK_OFF,  # too many new orders
    -1021: Meaning.RETRY,  # timestamp outside of the receive window
    -4116: Meaning.UNKNOWN,  # duplicated client id: our own earlier attempt is there, so look it up
    -5028: Meaning.RETRY,  # timestamp outside of the matching engine's window
}
SERVICE_UNAVAILABLE = re.compile(r"Service Unavailable\.?")
# An answer that is not as documented. The exchange has said something, we cannot tell what.
UNREADABLE = (KeyError, IndexError, TypeError, ValueError, AttributeError, ArithmeticError)
NOT_SENT = (NewConnectionError, NameResolutionError, ConnectTimeoutError)
BANNED_UNTIL = re.compile(r"banned until (\d+)")
DEFAULT_BACK_OFF_SECONDS = 2.0
# Status 403 comes from the firewall in front: the request never reached the exchange.
FIREWALL_BACK_OFF_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One failed call, judged."""

    meaning: Meaning
    code: int | None
    message: str
    back_off_seconds: float = 0.0


def judge(error: Exception) -> Failure:
    """Tell what an exception of a write proves; whatever is not known falls to the safe side."""
    if isinstance(error, ClientError):
        return _client_error(error)
    if isinstance(error, ServerError):
        return _server_error(error)
    if isinstance(error, requests.RequestException):
        meaning = Meaning.RETRY if _never_left(error) else Meaning.UNKNOWN
        return Failure(meaning=meaning, code=None, message=type(error).__name__)
    if isinstance(error, UNREADABLE):
        return Failure(meaning=Meaning.UNKNOWN, code=None, message=f"unreadable answer: {error!r}"[:200])
    raise error


def _client_error(error: ClientError) -> Failure:
    code, message = error.error_code, str(error.error_message)
    if error.status_code in {418, 429}:
        return Failure(
            meaning=Meaning.BACK_OFF, code=code, message=message, back_off_seconds=_back_off(error.header, message)
        )
    if error.status_code == requests.codes.request_timeout:
        return Failure(meaning=Meaning.UNKNOWN, code=code, message=message)
    if code is None and error.status_code == requests.codes.forbidden:
        return Failure(
            meaning=Meaning.BACK_OFF,
            code=None,
            message="HTTP 403 from the firewall",
            back_off_seconds=FIREWALL_BACK_OFF_SECONDS,
        )
    meaning = CODE_MEANINGS.get(code, Meaning.REFUSED) if code is not None else Meaning.REFUSED
    return Failure(meaning=meaning, code=code, message=message)


def _server_error(error: ServerError) -> Failure:
    """Read the body first, never the status alone: a 503 has four meanings."""
    code, message = _body(str(error.message))
    # The exchange's own sentence and nothing around it: a proxy's page of that name may follow a request it passed on.
    if SERVICE_UNAVAILABLE.fullmatch(message.strip()) and code in {None, 0}:
        return Failure(meaning=Meaning.RETRY, code=code, message=message)
    meaning = CODE_MEANINGS.get(code, Meaning.UNKNOWN) if code is not None else Meaning.UNKNOWN
    back_off = DEFAULT_BACK_OFF_SECONDS if meaning is Meaning.BACK_OFF else 0.0
    return Failure(meaning=meaning, code=code, message=message, back_off_seconds=back_off)


def _body(text: str) -> tuple[int | None, str]:
    try:
        body: Any = json.loads(text)
    except ValueError:
        return None, text[:200]
    if not isinstance(body, dict):
        return None, text[:200]
    code = body.get("code")
    return code if isinstance(code, int) else None, str(body.get("msg", ""))[:200]


def _never_left(error: requests.RequestException) -> bool:
    """Whether a transport error happened while connecting, before a byte of the request was written."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", cause), NOT_SENT)


def _back_off(header: Any, message: str) -> float:
    """Return the seconds that the exchange asks for: Retry-After, else the end of the ban, else a short while."""
    after = (header or {}).get("Retry-After", "")
    if str(after).isdigit():
        return float(after)
    until = BANNED_UNTIL.search(message)
    if until:
        return max(0.0, int(until.group(1)) / 1000 - time.time())
    return DEFAULT_BACK_OFF_SECONDS
