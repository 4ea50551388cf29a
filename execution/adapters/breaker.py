"""The circuit breaker of one exchange host, shared by all processes through Redis: it stops calls into a dead line.

Only the transport counts: no connection, no answer, a page of somebody in between. Whatever the exchange itself says,
a refusal too, proves that it is there. Exits always pass.
"""

import time
from collections.abc import Callable
from typing import Any

import structlog
from redis import Redis, RedisError

from execution.domain.flow import Circuit, CircuitState
from execution.domain.ports import Lane

log = structlog.get_logger(__name__)
FAULTS_TO_OPEN = 5
FIRST_OPEN_MS, LONGEST_OPEN_MS = 5_000, 60_000
# How long one probe may take before another is sent.
PROBE_MS = 10_000
# A state read from Redis is believed for so long: a working line costs nothing, and a dead one is seen late by this.
BELIEVED_SECONDS = 0.25
EXITS = frozenset({Lane.PROTECT, Lane.CLOSE})
# What a script answers: state, milliseconds until a probe is due, faults in a row, times opened.
STATE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', KEYS[1], 'faults', 'open_until', 'opened', 'times')
local faults, open_until = tonumber(found[1]) or 0, tonumber(found[2]) or 0
local opened, times = tonumber(found[3]) or 0, tonumber(found[4]) or 0
local function told(changed)
  local state = opened == 0 and 'closed' or (now < open_until and 'open' or 'half_open')
  return { state, math.max(0, open_until - now), faults, times, changed }
end
"""
SHOW = STATE + "return told(0)"
# One more fault in a row. In a row means: no process has had an answer since.
FAULT = (
    STATE
    + """
faults = faults + 1
local changed = 0
if faults >= tonumber(ARGV[1]) and now >= open_until then
  if opened == 0 then times, changed = times + 1, 1 end
  opened = opened + 1
  open_until = now + math.min(tonumber(ARGV[3]), tonumber(ARGV[2]) * 2 ^ math.min(opened - 1, 20))
end
redis.call('HSET', KEYS[1], 'faults', faults, 'open_until', open_until, 'opened', opened, 'times', times)
redis.call('DEL', KEYS[2])
return told(changed)
"""
)
ANSWER = (
    STATE
    + """
local changed = opened > 0 and 1 or 0
faults, open_until, opened = 0, 0, 0
redis.call('HSET', KEYS[1], 'faults', 0, 'open_until', 0, 'opened', 0)
redis.call('DEL', KEYS[2])
return told(changed)
"""
)


class CircuitBreaker:
    """Says whether a request may leave, and learns from what came of it; never raises for Redis's sake."""

    def __init__(self, redis: Redis, *, host: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.host = host
        self._redis = redis
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}
        self._keys = [f"execution:breaker:{host}", f"execution:breaker:{host}:probe"]
        self._monotonic = monotonic
        self._known = CLOSED
        self._known_until = 0.0

    def lets_pass(self, lane: Lane, *, is_read: bool) -> bool:
        """Whether a request may leave now. Half open: one read at a time goes first, to see."""
        circuit = self._current()
        if lane in EXITS or circuit.state is CircuitState.CLOSED:
            return True
        if circuit.state is CircuitState.OPEN or not is_read:
            return False
        return self._may_probe()

    def answered(self) -> None:
        """Note that the exchange has answered, whatever it said."""
        # Without faults there is nothing to take back: the usual answer costs nothing.
        if self._known.faults or self._known.state is not CircuitState.CLOSED:
            self._run("answer")

    def failed(self) -> None:
        """Note that no answer of the exchange came."""
        self._run("fault", FAULTS_TO_OPEN, FIRST_OPEN_MS, LONGEST_OPEN_MS)

    def state(self) -> Circuit:
        """Return how it stands for all processes.

        Raises:
            RedisError: Redis does not answer.

        """
        return _circuit(self._scripts["show"](keys=self._keys))

    def _current(self) -> Circuit:
        if self._monotonic() >= self._known_until:
            self._run("show")
        return self._known

    def _may_probe(self) -> bool:
        try:
            return bool(self._redis.set(self._keys[1], 1, nx=True, px=PROBE_MS))
        except RedisError:
            return True

    def _run(self, name: str, *arguments: int) -> None:
        try:
            answer: Any = self._scripts[name](keys=self._keys, args=arguments)
        except RedisError:
            # What is shared cannot be known: the line is tried, and the limiter's backstop holds entries anyway.
            self._learn(CLOSED)
            return
        self._learn(_circuit(answer))
        if answer[4]:
            log.warning("circuit_changed", host=self.host, state=self._known.state.value, faults=self._known.faults)

    def _learn(self, circuit: Circuit) -> None:
        self._known, self._known_until = circuit, self._monotonic() + BELIEVED_SECONDS


SCRIPTS = {"show": SHOW, "fault": FAULT, "answer": ANSWER}
CLOSED = Circuit(state=CircuitState.CLOSED, probe_due_seconds=0.0, faults=0, times_opened=0)


def _circuit(answer: Any) -> Circuit:
    state, due_ms, faults, times, _ = answer
    return Circuit(
        state=CircuitState(state.decode()), probe_due_seconds=due_ms / 1000, faults=faults, times_opened=times
    )
