"""The circuit breaker of one exchange host, shared by all processes through Redis.

It opens after transport faults in a row: no connection, no answer, or the page of a proxy or firewall. Every answer of
the exchange itself, a refusal too, proves that the host works and closes it. Exits always pass.
"""

import time
from collections.abc import Callable

import structlog
from redis import Redis, RedisError

from execution.domain.ports import Lane
from execution.domain.rate_limits import Circuit, CircuitState

log = structlog.get_logger(__name__)
FAULTS_TO_OPEN = 5
FIRST_OPEN_MS, LONGEST_OPEN_MS = 5_000, 60_000
# How long one probe may take before another is sent.
PROBE_MS = 10_000
# A state read from Redis is cached for so long: a working host costs nothing, and a dead one is noticed late by this.
CACHED_SECONDS = 0.25
EXITS = frozenset({Lane.PROTECT, Lane.CLOSE})
# As redis-py reads what a script answers; the last number is 1 when the call has opened or closed the circuit.
StateAnswer = tuple[bytes, int, int, int, int]
# What a script answers: state, milliseconds until a probe is due, faults in a row, times opened. Other clients may
# write to this Redis: a wrong type, text for a number or an end beyond the longest makes no script fail.
STATE = f"""
local LONGEST_MS, PROBE_MS, MOST_FAULTS = {LONGEST_OPEN_MS}, {PROBE_MS}, 1000000
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kind = redis.call('TYPE', KEYS[1]).ok
if kind ~= 'none' and kind ~= 'hash' then redis.call('DEL', KEYS[1]) end
local found = redis.call('HMGET', KEYS[1], 'faults', 'open_until', 'opened', 'times')
local function bounded(text, most)
  local number = tonumber(text) or 0
  return number >= 0 and number <= most and math.floor(number) or 0
end
local faults, opened, times = bounded(found[1], MOST_FAULTS), bounded(found[3], MOST_FAULTS), bounded(found[4], 1e9)
local open_until = bounded(found[2], now + LONGEST_MS)
local function status(changed)
  local state = opened == 0 and 'closed' or (now < open_until and 'open' or 'half_open')
  return {{ state, math.max(0, open_until - now), faults, times, changed }}
end
"""
SHOW = STATE + "return status(0)"
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
return status(changed)
"""
)
ANSWER = (
    STATE
    + """
local changed = opened > 0 and 1 or 0
faults, open_until, opened = 0, 0, 0
redis.call('HSET', KEYS[1], 'faults', 0, 'open_until', 0, 'opened', 0)
redis.call('DEL', KEYS[2])
return status(changed)
"""
)
# Takes the right to send the one probe. A mark that we have not written, or that outlives a probe, is deleted.
TAKE_PROBE = f"""
local left = redis.call('PTTL', KEYS[2])
if left == -1 or left > {PROBE_MS} then redis.call('DEL', KEYS[2]) end
return redis.call('SET', KEYS[2], 1, 'NX', 'PX', {PROBE_MS}) and 1 or 0
"""
RELEASE = "return redis.call('DEL', KEYS[1], KEYS[2])"


class CircuitBreaker:
    """Decides whether a request may leave, and learns from its outcome.

    Only `state` and `release` raise when Redis is away. All else then takes the circuit for closed.
    """

    def __init__(self, redis: Redis, *, host: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.host = host
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}
        self._keys = [f"execution:breaker:{host}", f"execution:breaker:{host}:probe"]
        self._monotonic = monotonic
        self._known = CLOSED
        self._known_until = 0.0

    def lets_pass(self, lane: Lane, *, is_read: bool) -> bool:
        """Whether a request may leave now. Half open: one read at a time goes first, as a probe."""
        circuit = self._current()
        if lane in EXITS or circuit.state is CircuitState.CLOSED:
            return True
        if circuit.state is CircuitState.OPEN or not is_read:
            return False
        return self._may_probe()

    def answered(self) -> None:
        """Note that the exchange has answered, be it with a refusal."""
        # Without faults there is nothing to take back: the usual answer costs nothing.
        if self._known.faults or self._known.state is not CircuitState.CLOSED:
            self._run("answer")

    def failed(self) -> None:
        """Note that the exchange has not answered."""
        self._run("fault", FAULTS_TO_OPEN, FIRST_OPEN_MS, LONGEST_OPEN_MS)

    def state(self) -> Circuit:
        """Return the circuit as all processes share it.

        Raises:
            RedisError: Redis does not answer.

        """
        return _circuit(self._scripts["show"](keys=self._keys))

    def release(self) -> None:
        """Close the circuit because an operator asked for it. The next faults open it again.

        Raises:
            RedisError: Redis does not answer; nothing was changed.

        """
        self._scripts["release"](keys=self._keys)
        self._known_until = 0.0

    def _current(self) -> Circuit:
        if self._monotonic() >= self._known_until:
            self._run("show")
        return self._known

    def _may_probe(self) -> bool:
        try:
            return bool(self._scripts["take_probe"](keys=self._keys))
        except RedisError:
            return True

    def _run(self, name: str, *arguments: int) -> None:
        try:
            answer: StateAnswer = self._scripts[name](keys=self._keys, args=arguments)
        except RedisError:
            # The shared state is unknown: the host is tried, and the limiter's backstop stops entries anyway.
            self._learn(CLOSED)
            return
        self._learn(_circuit(answer))
        if answer[4]:
            log.warning("circuit_changed", host=self.host, state=self._known.state.value, faults=self._known.faults)

    def _learn(self, circuit: Circuit) -> None:
        self._known, self._known_until = circuit, self._monotonic() + CACHED_SECONDS


SCRIPTS = {"show": SHOW, "fault": FAULT, "answer": ANSWER, "take_probe": TAKE_PROBE, "release": RELEASE}
CLOSED = Circuit(state=CircuitState.CLOSED, probe_due_seconds=0.0, faults=0, times_opened=0)


def _circuit(answer: StateAnswer) -> Circuit:
    state, due_ms, faults, times, _ = answer
    return Circuit(
        state=CircuitState(state.decode()), probe_due_seconds=due_ms / 1000, faults=faults, times_opened=times
    )
