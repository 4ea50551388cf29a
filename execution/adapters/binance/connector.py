"""The connector's client: no request leaves without a turn, and every answer corrects the limiter."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
import structlog
from binance.error import ClientError, ServerError
from binance.um_futures import UMFutures

from execution.adapters.binance.clock import ServerClock
from execution.adapters.binance.errors import UNREADABLE, is_answer, was_served, whole_number
from execution.adapters.binance.rows import Body
from execution.adapters.binance.weights import cost_of
from execution.adapters.breaker import CircuitBreaker
from execution.adapters.outgoing import OutgoingSession, PeerRule, any_peer
from execution.adapters.rate_limit import RateLimiter
from execution.crash_points import CrashPoint, reached
from execution.domain.ports import Lane, PreSendCheck
from execution.domain.rate_limits import Permit, Throttled, WindowUsage
from execution.domain.reasons import Reason

log = structlog.get_logger(__name__)
TIMESTAMP = "timestamp"
# What the Algo Service answers, which fails by itself.
ALGO_PATHS = frozenset({"/fapi/v1/algoOrder", "/fapi/v1/openAlgoOrders", "/fapi/v1/allAlgoOrders"})
# Outside of the receive window, at the gate or at the matching engine.
WRONG_TIME = frozenset({-1021, -5028})
MEASURING_WAIT_SECONDS = 1.0
SERVER_TIME = "/fapi/v1/time"
USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"
ORDERS_10S = "X-MBX-ORDER-COUNT-10S"
ORDERS_1M = "X-MBX-ORDER-COUNT-1M"
# All contracts with their filters are about 3 MB, unpacked.
LARGEST_ANSWER = 32 * 1024 * 1024
METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})


@dataclass(frozen=True, kw_only=True)
class RequestSlot:
    """How the requests of a block queue: in which lane, how long at most, and until when they may leave.

    `pre_send_check` is asked when a request's turn has come: it may have become unwanted while it waited.
    """

    lane: Lane
    wait_seconds: float
    cover_orders: int = 0
    send_before: datetime | None = None
    pre_send_check: PreSendCheck | None = None
    # How long an answer is awaited in seconds. None: as usual.
    answer_seconds: float | None = None


class NotSentError(Exception):
    """The request did not leave. `retry_safe`: its turn came, but too late for this attempt."""

    def __init__(self, message: str, *, reason: Reason, retry_safe: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_safe = retry_safe


@dataclass(frozen=True, kw_only=True)
class VenueConnection:
    """Limiter and breaker that all processes share for a host, and this process's clock of the exchange.

    `has_exchange_clock`: whether this host is the one whose clock it is.
    """

    limiter: RateLimiter
    breaker: CircuitBreaker | None = None
    clock: ServerClock | None = None
    has_exchange_clock: bool = True
    # Which IP addresses a connection may end at.
    peer_rule: PeerRule = any_peer
    # How long the answers to orders that protect or close, and to their queries, are awaited. None: as usual.
    protective_seconds: float | None = None


class Connector(UMFutures):  # type: ignore[misc] # the package has no types
    """One instance serves one thread: it has one HTTP session and one turn at a time."""

    def __init__(self, *, key: str, secret: str, base_url: str, timeout_seconds: float, line: VenueConnection) -> None:
        super().__init__(key=key, secret=secret, base_url=base_url, timeout=timeout_seconds)
        outgoing = OutgoingSession(peer_rule=line.peer_rule, largest_body=LARGEST_ANSWER)
        outgoing.headers.update(self.session.headers)
        self.session: OutgoingSession = outgoing
        self.session.hooks["response"] += [self._note_usage, self._note_time]
        self._limiter, self._breaker, self._clock = line.limiter, line.breaker, line.clock
        self._measured = line.clock if line.has_exchange_clock else None
        self._turn: RequestSlot | None = None
        self._usage = WindowUsage()

    @contextmanager
    def turn(self, turn: RequestSlot) -> Iterator[None]:
        """Let the requests of this block queue so. A request outside of such a block raises RuntimeError."""
        before, self._turn = self._turn, turn
        try:
            yield
        finally:
            self._turn = before

    def at_ms(self, moment: datetime) -> int:
        """Return a moment of our clock as the exchange writes it."""
        return self._clock.at_ms(moment.timestamp()) if self._clock else int(moment.timestamp() * 1000)

    def since_ms(self, moment: datetime) -> int:
        """Return the time in ms to read on from, whether the moment is of our clock or of the exchange's.

        Taken for one of our clock, a time of the exchange would be moved by the difference twice: a fresh fill's into
        the future. The earlier reading misses nothing, and the caller leaves out what is older.
        """
        return min(self.at_ms(moment), int(moment.timestamp() * 1000))

    def exchange_ms(self) -> int:
        """Return the exchange's present time in ms. Its clock is measured first where that is due."""
        if self._measured and self._measured.is_due:
            self._measure(self._measured)
        return self._clock.now_ms() if self._clock else self.at_ms(datetime.now(UTC))

    @property
    def _answer_seconds(self) -> float:
        seconds = self._turn.answer_seconds if self._turn else None
        return seconds or float(self.timeout)

    @property
    def clock_offset_ms(self) -> float:
        return self._clock.offset_ms if self._clock else 0.0

    def sign_request(self, http_method: str, url_path: str, payload: Mapping[str, object] | None = None) -> Body:
        """Send a signed request. Refused for its time, it is sent once more after a measurement of the clock.

        An order is not repeated: the step that wrote its row counts the attempts and sends it again.
        """
        if self._measured and self._measured.is_due:
            self._measure(self._measured)
        try:
            return self._signed(http_method, url_path, payload)
        except ClientError as error:
            wrong_time = error.error_code in WRONG_TIME and self._measured
            is_order = self._turn and self._turn.send_before
            if not wrong_time or not self._measure(wrong_time) or is_order:
                raise
        return self._signed(http_method, url_path, payload)

    def _signed(self, http_method: str, url_path: str, payload: Mapping[str, object] | None) -> Body:
        """Sign a request when its turn has come, because the receive window is shorter than a queue can be.

        The signed time is the time at which the request still had the right to leave. Should the process be stopped
        right after that line, the exchange refuses what is older than the receive window.
        """
        turn = self._turn
        permit = self._admitted(http_method, url_path, payload or {})
        signed: dict[str, object] = {**(payload or {}), TIMESTAMP: self._leaving(turn, permit)}
        signed["signature"] = self._get_sign(self._prepare_params(signed))
        if turn and turn.send_before:
            reached(CrashPoint.ORDER_SIGNED)
        return self._sent(permit, http_method, url_path, signed)

    def send_request(self, http_method: str, url_path: str, payload: Mapping[str, object] | None = None) -> Body:
        permit = self._admitted(http_method, url_path, payload or {})
        return self._sent(permit, http_method, url_path, {**(payload or {})})

    def _sent(self, permit: Permit, method: str, path: str, parameters: Mapping[str, object]) -> Body:
        self._usage = WindowUsage()
        try:
            answer = self._exchanged(method, path, parameters)
        except (ClientError, ServerError, requests.RequestException) as error:
            self._note_line(path, works=is_answer(error))
            if permit.probe and was_served(error):
                self._limiter.passed(permit)
            raise
        else:
            self._note_line(path, works=True)
            if permit.probe:
                self._limiter.passed(permit)
            return answer
        finally:
            # Also when no answer came: the request is no longer under way.
            self._limiter.answered(permit, self._usage)

    def _exchanged(self, method: str, path: str, parameters: Mapping[str, object]) -> Body:
        """Send and read as the package does, but log no whole answers and follow no redirect."""
        if method not in METHODS:
            raise ValueError(f"{method} is not a method of the exchange")
        response = self.session.request(
            method, self.base_url + path, params=self._prepare_params({**parameters}), timeout=self._answer_seconds
        )
        if response.status_code not in range(200, 300) and response.status_code < requests.codes.bad_request:
            # Not the exchange: it never redirects. Whether the exchange has received the request is unknown.
            raise requests.TooManyRedirects(f"HTTP {response.status_code} is not followed")
        self._handle_exception(response)
        try:
            return response.json()
        except ValueError:
            return response.text

    def _admitted(self, method: str, path: str, parameters: Mapping[str, object]) -> Permit:
        """Wait for a turn.

        Raises:
            NotSentError: the circuit is open, or no turn came in time.

        """
        turn = self._turn
        if turn is None:
            raise RuntimeError(f"{method} {path} outside of a turn")
        if self._breaker and not self._breaker.lets_pass(turn.lane, is_read=method == "GET"):
            raise NotSentError(f"host={self._breaker.host}", reason=Reason.CIRCUIT_OPEN, retry_safe=True)
        cost = replace(cost_of(method, path, parameters), cover_orders=turn.cover_orders)
        permit = self._limiter.admit(turn.lane, cost, max_wait_seconds=turn.wait_seconds)
        if isinstance(permit, Throttled):
            message = f"expected<={turn.wait_seconds:.1f}s {permit}"
            raise NotSentError(message, reason=Reason.RATE_LIMIT_WAIT_EXCEEDED)
        return permit

    def _leaving(self, turn: RequestSlot | None, permit: Permit) -> int:
        """Return the exchange's present time in ms for the signature.

        Raises:
            NotSentError: the pre-send check has stopped the request, or it is too late to send it.

        """
        veto = turn.pre_send_check() if turn and turn.pre_send_check else None
        if veto:
            self._limiter.answered(permit, WindowUsage())
            raise NotSentError(f"{veto.sentence} before sending", reason=veto.code)
        now = datetime.now(UTC)
        # A process that was stopped and woken up late must not send an order that another process has declared absent.
        if turn and turn.send_before and now > turn.send_before:
            self._limiter.answered(permit, WindowUsage())
            late = (now - turn.send_before).total_seconds()
            raise NotSentError(f"woken up {late:.1f}s too late to send", reason=Reason.SENT_TOO_LATE, retry_safe=True)
        return self.at_ms(now)

    def _measure(self, clock: ServerClock) -> bool:
        """Measure the exchange's clock, for this process's signatures and for the limiter's windows."""
        # In the lane of the request that needs it: an exit's measurement passes an open circuit, an entry's does not.
        lane = self._turn.lane if self._turn else Lane.READ
        seconds = self._turn.answer_seconds if self._turn else None
        clock.put_off()
        try:
            with self.turn(RequestSlot(lane=lane, wait_seconds=MEASURING_WAIT_SECONDS, answer_seconds=seconds)):
                # Only the way there and back is measured: a wait for a turn would look like a clock that is ahead.
                permit = self._admitted("GET", SERVER_TIME, {})
                measured = clock.ask(lambda: int(self._sent(permit, "GET", SERVER_TIME, {})["serverTime"]))
        except (NotSentError, ClientError, ServerError, requests.RequestException, *UNREADABLE) as error:
            log.warning("exchange_clock_not_read", error=type(error).__name__)
            return False
        if measured:
            now = time.monotonic()
            self._limiter.learn_clock(clock.now_ms(), measured_at=now, uncertainty_ms=clock.uncertainty_ms)
        return measured

    def _note_line(self, path: str, *, works: bool) -> None:
        """Report to the breaker whether the host answers.

        The Algo Service can fail alone, so its silence does not count against the host.
        """
        if self._breaker is None or (not works and path in ALGO_PATHS):
            return
        if works:
            self._breaker.answered()
        else:
            self._breaker.failed()

    def _note_usage(self, response: requests.Response, **_: object) -> None:
        weight, orders_10s, orders_1m = (
            whole_number(response.headers.get(name, "")) for name in (USED_WEIGHT, ORDERS_10S, ORDERS_1M)
        )
        self._usage = WindowUsage(weight=weight, orders_10s=orders_10s, orders_1m=orders_1m)

    def _note_time(self, response: requests.Response, **_: object) -> None:
        """Compare an answer's `Date` header with the exchange's clock as it was measured."""
        if self._measured is None:
            return
        try:
            sent_at = parsedate_to_datetime(response.headers.get("Date", ""))
        except ValueError:
            return
        self._measured.hear(sent_at.timestamp() * 1000)
