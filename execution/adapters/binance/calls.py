"""Makes the calls of one client, each in its turn, and returns every failure as what it proves."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

import requests
from binance.error import ClientError, ServerError

from execution.adapters.binance.connector import Connector, NotSentError, RequestSlot
from execution.adapters.binance.errors import UNREADABLE, Failure, classify
from execution.adapters.binance.outcome_table import Meaning, Operation
from execution.adapters.rate_limit import RateLimiter
from execution.domain.outcomes import LookUp, Missing, OrderReport, Unreadable, Waits
from execution.domain.ports import ExchangeUnavailableError, Lane

CALL_ERRORS = (ClientError, ServerError, requests.RequestException, *UNREADABLE)
READ_WAIT_SECONDS = 10.0
T = TypeVar("T")


class ApiCaller:
    """Makes calls for one client.

    All methods but `judged` are for calls that may be repeated without harm. `protective_seconds` is how long an answer
    is awaited where a position may be unprotected meanwhile.
    """

    def __init__(self, client: Connector, limiter: RateLimiter, *, protective_seconds: float) -> None:
        self._client = client
        self._limiter = limiter
        self.protective_seconds = protective_seconds

    def read(self, call: Callable[[], T], *, lane: Lane = Lane.READ, answer_seconds: float | None = None) -> T:
        """Make a call and return its answer, which is awaited as long as usual without `answer_seconds`.

        Raises:
            ExchangeUnavailableError: there was no usable answer.

        """
        answer = self.attempt(Operation.LIST, call, lane, answer_seconds=answer_seconds)
        if isinstance(answer, Failure):
            raise unavailable(answer)
        return answer

    def attempt(
        self, operation: Operation, call: Callable[[], T], lane: Lane, *, answer_seconds: float | None = None
    ) -> T | Failure:
        """Make a call and return its answer, or what its failure proves.

        Raises:
            ExchangeUnavailableError: its turn did not come.

        """
        try:
            with self._client.turn(
                RequestSlot(lane=lane, wait_seconds=READ_WAIT_SECONDS, answer_seconds=answer_seconds)
            ):
                return call()
        except NotSentError as error:
            raise ExchangeUnavailableError(f"{error.reason}: {error}") from error
        except CALL_ERRORS as error:
            return self.judged(operation, error)

    def find(self, operation: Operation, call: Callable[[], OrderReport], *, promptly: bool = False) -> LookUp:
        """Query an order. It is Unreadable without a usable answer, Missing where it does not exist."""
        try:
            # The state of an order decides whether a position is unprotected: it does not queue with the sweeps.
            answer = self.attempt(
                operation, call, Lane.CLOSE, answer_seconds=self.protective_seconds if promptly else None
            )
        except ExchangeUnavailableError as error:
            return Unreadable(message=f"{error}")
        if not isinstance(answer, Failure):
            return answer
        return Missing(message=str(answer)) if answer.meaning is Meaning.MISSING else Unreadable(message=str(answer))

    def judged(self, operation: Operation, error: Exception) -> Failure:
        """Return what an error proves about an operation. A back-off that it asks for holds all processes."""
        failure = classify(operation, error, exchange_ms=self._client.at_ms(datetime.now(UTC)))
        if failure.waits is not Waits.NOBODY:
            self._limiter.hold(failure.waits, failure.back_off_seconds)
        return failure


def unavailable(failure: Failure) -> ExchangeUnavailableError:
    """Return the failure of a read as the exception that the steps handle."""
    return ExchangeUnavailableError(str(failure))
