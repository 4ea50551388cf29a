"""The connector's client with a turnstile: no request leaves without a turn, and every answer corrects the limiter."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import requests
import structlog
from binance.error import ClientError, ServerError
from binance.um_futures import UMFutures

from execution.adapters.binance.errors import is_answer
from execution.adapters.binance.weights import cost_of
from execution.adapters.breaker import CircuitBreaker
from execution.adapters.rate_limit import RateLimiter
from execution.crash_points import CrashPoint, reached
from execution.domain.flow import Denial, Ticket, Usage
from execution.domain.ports import Lane, LastWord
from execution.domain.reasons import Reason

log = structlog.get_logger(__name__)
TIMESTAMP = "timestamp"
OUTSIDE_OF_WINDOW = -1021
USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"
ORDERS_10S = "X-MBX-ORDER-COUNT-10S"
ORDERS_1M = "X-MBX-ORDER-COUNT-1M"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """How the requests of the moment queue: their lane, how long they may wait, and until when they may leave.

    `last_word` is asked when a request's turn has come: whoever waited may not be wanted any more.
    """

    lane: Lane
    wait_seconds: float
    cover_orders: int = 0
    send_before: datetime | None = None
    last_word: LastWord | None = None


class NotSentError(Exception):
    """The request did not leave. `retry_safe`: its turn came, but too late for this attempt."""

    def __init__(self, message: str, *, reason: Reason, retry_safe: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_safe = retry_safe


class Connector(UMFutures):  # type: ignore[misc] # the package has no types
    """One instance a thread: it has one HTTP session and one turn at a time."""

    def __init__(
        self,
        *,
        key: str,
        secret: str,
        base_url: str,
        timeout_seconds: float,
        limiter: RateLimiter,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        super().__init__(key=key, secret=secret, base_url=base_url, timeout=timeout_seconds)
        # A proxy of the environment would see our signed orders.
        self.session.trust_env = False
        self.session.hooks["response"].append(self._note_usage)
        self._limiter = limiter
        self._breaker = breaker
        self._turn: Turn | None = None
        self._usage = Usage()
        # The exchange's clock against ours, as last read; only a refused timestamp makes us read it.
        self.clock_ahead = timedelta(0)

    @contextmanager
    def turn(self, turn: Turn) -> Iterator[None]:
        """Let the requests of this block queue so; a request outside of such a block is a mistake of ours."""
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None

    def sign_request(self, http_method: str, url_path: str, payload: Mapping[str, Any] | None = None) -> Any:
        """Send a signed request; when the clocks are apart, the exchange's is read, and a read is repeated once.

        A write is not: whoever counts its attempts sends it again.
        """
        try:
            return self._signed(http_method, url_path, payload)
        except ClientError as error:
            if error.error_code != OUTSIDE_OF_WINDOW or not self._has_read_clock() or http_method != "GET":
                raise
        return self._signed(http_method, url_path, payload)

    def _signed(self, http_method: str, url_path: str, payload: Mapping[str, Any] | None) -> Any:
        """Sign after the wait: the receive window is shorter than a queue can be.

        The time that is signed is the time at which the request still had the right to leave: should the process be
        stopped behind that very line, the exchange refuses what is older than the receive window.
        """
        turn = self._turn
        ticket = self._admitted(http_method, url_path, payload or {})
        signed = {**(payload or {}), TIMESTAMP: self._leaving(turn, ticket)}
        signed["signature"] = self._get_sign(self._prepare_params(signed))
        if turn and turn.send_before:
            reached(CrashPoint.ORDER_SIGNED)
        return self._sent(ticket, http_method, url_path, signed)

    def send_request(self, http_method: str, url_path: str, payload: Mapping[str, Any] | None = None) -> Any:
        ticket = self._admitted(http_method, url_path, payload or {})
        return self._sent(ticket, http_method, url_path, {**(payload or {})})

    def _sent(self, ticket: Ticket, method: str, path: str, parameters: dict[str, Any]) -> Any:
        self._usage = Usage()
        try:
            answer = super().send_request(method, path, parameters)
        except (ClientError, ServerError, requests.RequestException) as error:
            self._note_line(works=is_answer(error))
            raise
        else:
            self._note_line(works=True)
            return answer
        finally:
            # Also when no answer came: the request is no longer under way.
            self._limiter.answered(ticket, self._usage)

    def _admitted(self, method: str, path: str, parameters: Mapping[str, Any]) -> Ticket:
        turn = self._turn
        if turn is None:
            raise RuntimeError(f"{method} {path} outside of a turn")
        if self._breaker and not self._breaker.lets_pass(turn.lane, is_read=method == "GET"):
            raise NotSentError(f"host={self._breaker.host}", reason=Reason.CIRCUIT_OPEN, retry_safe=True)
        cost = replace(cost_of(method, path, parameters), cover_orders=turn.cover_orders)
        ticket = self._limiter.admit(turn.lane, cost, max_wait_seconds=turn.wait_seconds)
        if isinstance(ticket, Denial):
            message = f"expected<={turn.wait_seconds:.1f}s {ticket}"
            raise NotSentError(message, reason=Reason.RATE_LIMIT_WAIT_EXCEEDED)
        return ticket

    def _leaving(self, turn: Turn | None, ticket: Ticket) -> int:
        """Return the present time as the exchange's clock shows it."""
        veto = turn.last_word() if turn and turn.last_word else None
        if veto:
            self._limiter.answered(ticket, Usage())
            raise NotSentError(f"{veto.sentence} before sending", reason=veto.code)
        now = datetime.now(UTC)
        # A process that was stopped and woken up late must not send what others have declared absent.
        if turn and turn.send_before and now > turn.send_before:
            self._limiter.answered(ticket, Usage())
            late = (now - turn.send_before).total_seconds()
            raise NotSentError(f"woken up {late:.1f}s too late to send", reason=Reason.SENT_TOO_LATE, retry_safe=True)
        return milliseconds(now + self.clock_ahead)

    def _has_read_clock(self) -> bool:
        """Learn how far the exchange's clock is ahead of ours; its answer is taken to be of the middle of the call.

        When that fails, the refusal that asked for it is still what is known.
        """
        asked = datetime.now(UTC)
        try:
            told = datetime.fromtimestamp(int(self.time()["serverTime"]) / 1000, UTC)
        except (ClientError, ServerError, requests.RequestException, NotSentError, KeyError, ValueError) as error:
            log.warning("exchange_clock_unread", error=type(error).__name__)
            return False
        self.clock_ahead = told - (asked + (datetime.now(UTC) - asked) / 2)
        log.warning("clocks_are_apart", exchange_ahead_seconds=round(self.clock_ahead.total_seconds(), 3))
        return True

    def _note_line(self, *, works: bool) -> None:
        if self._breaker is None:
            return
        if works:
            self._breaker.answered()
        else:
            self._breaker.failed()

    def _note_usage(self, response: requests.Response, **_: Any) -> None:
        figures = (_figure(response, name) for name in (USED_WEIGHT, ORDERS_10S, ORDERS_1M))
        weight, orders_10s, orders_1m = figures
        self._usage = Usage(weight=weight, orders_10s=orders_10s, orders_1m=orders_1m)


def milliseconds(moment: datetime) -> int:
    """Return a moment as the exchange writes it."""
    return int(moment.timestamp() * 1000)


def _figure(response: requests.Response, name: str) -> int | None:
    text = response.headers.get(name, "")
    return int(text) if text.isdigit() else None
