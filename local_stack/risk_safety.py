"""A stand-in for the neighbouring risk-safety service: it answers and publishes as that does, and it judges nothing.

The local stack and the tests run it where the real neighbour is missing (`RISK_SAFETY_SERVICE_URL` names that). Its
state is in memory and changes only by its own API: nothing here watches losses. `POST /stand-in/behaviour` is a door
for tests and does not exist at the real neighbour.

    REDIS_URL=redis://127.0.0.1:6379/0 python -m local_stack.risk_safety --port 8003
"""

import argparse
import asyncio
import json
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import redis.asyncio as redis
import uvloop
from aiohttp import web

from execution_project.addresses import in_url
from execution_project.redis_address import TLS_FILES, read_redis
from local_stack.bus import STREAM_LENGTH, Field, connect, stream_key, utc_now, wrapped
from local_stack.server import listen_on

OVERRIDE_STATES = ("NORMAL", "CAUTION", "CRITICAL")
ARMED, CRITICAL = "ARMED", "CRITICAL"
DEFAULT_POLICIES: dict[str, Any] = {
    "execution.max_slippage_pct": 0.005,
    "execution.max_order_retries": 3,
    "execution.retry_backoff_base_sec": 0.5,
    "execution.max_retry_backoff_sec": 10.0,
    "execution.sl_adjustment_buffer_pct": 0.001,
    "execution.max_sl_distance_pct": 0.10,
    "execution.max_tp_distance_pct": 0.50,
}

log = logging.getLogger("risk-safety")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(kw_only=True)
class Behaviour:
    """What a test asked the API to do instead of answering; the empty behaviour is the normal answer."""

    delay_ms: float = 0
    status: int | None = None
    body: Any = None

    @property
    def replaces_answer(self) -> bool:
        return self.status is not None or self.body is not None


@dataclass(kw_only=True)
class Service:
    """The emergency stop and the policies, in memory, and the bus that hears of their changes."""

    bus: "redis.Redis"
    state: str = ARMED
    trip_time: str | None = None
    trip_reason: str | None = None
    trip_count: int = 0
    reset_count: int = 0
    policies: dict[str, Any] = field(default_factory=lambda: dict(DEFAULT_POLICIES))
    behaviour: Behaviour = field(default_factory=Behaviour)

    def status(self) -> dict[str, Any]:
        return {
            "state": self.state,
            "can_execute": self.state != CRITICAL,
            "trip_time": self.trip_time,
            "trip_reason": self.trip_reason,
            "cooldown_start": None,
            "metrics": {"daily_drawdown_pct": 0.0, "open_loss_pct": 0.0, "execution_errors": 0, "last_updated": None},
            "statistics": {"trip_count": self.trip_count, "reset_count": self.reset_count},
        }

    def enter(self, state: str, reason: str | None) -> str:
        """Change the state and return the old one."""
        old, self.state = self.state, state
        self.trip_time, self.trip_reason = (utc_now(), reason) if state == CRITICAL else (None, None)
        return old

    async def publish(self, event_type: str, payload: dict[str, Any]) -> None:
        """Publish, or log: as at the neighbour, a bus that is away does not undo the change."""
        key, entry = stream_key(event_type), wrapped(event_type, payload, source="risk-safety")
        try:
            await self._append(key, entry)
        except redis.RedisError:
            log.exception("could not publish %s", event_type)

    async def _append(self, key: str, entry: dict[Field, Field]) -> None:
        """Append to a stream; a connection that a restart of Redis has cut is found dead by its next use only."""
        try:
            await self.bus.xadd(key, entry, maxlen=STREAM_LENGTH, approximate=True)
        except redis.ConnectionError:
            # Should the first have arrived all the same, the second is a repeat of the same event.
            await self.bus.xadd(key, entry, maxlen=STREAM_LENGTH, approximate=True)


SERVICE = web.AppKey("service", Service)


@web.middleware
async def misbehave(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Apply the test's behaviour to the neighbour's API, never to the door itself."""
    behaviour = request.app[SERVICE].behaviour
    if not request.path.startswith("/api/"):
        return await handler(request)
    if behaviour.delay_ms:
        await asyncio.sleep(behaviour.delay_ms / 1000)
    if not behaviour.replaces_answer:
        return await handler(request)
    body = behaviour.body if isinstance(behaviour.body, str) else json.dumps(behaviour.body)
    return web.Response(text=body, status=behaviour.status or 200, content_type="application/json")


@web.middleware
async def refuse_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let no web page change anything: a browser can be made to post, but not to claim that a form is JSON."""
    host = request.headers.get("Host", "")
    if request.headers.get("Origin", f"http://{host}") != f"http://{host}":
        return refuse("no other web page is answered", status=403)
    if not is_loopback(request.url.host):
        return refuse("call it by a loopback address or localhost", status=403)
    if request.method != "GET" and request.content_type != "application/json":
        return refuse("the body must be JSON and say so: Content-Type: application/json", status=415)
    return await handler(request)


def is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ip_address(host or "").is_loopback
    except ValueError:
        return False


async def ess_status(request: web.Request) -> web.Response:
    return web.json_response(request.app[SERVICE].status())


async def ess_override(request: web.Request) -> web.Response:
    service, wanted = request.app[SERVICE], await read_object(request)
    state, reason = wanted.get("new_state"), str(wanted.get("reason", ""))
    if state not in OVERRIDE_STATES:
        return refuse(f"Invalid state: {state}. Must be one of {', '.join(OVERRIDE_STATES)}")
    old = service.enter(state, reason)
    if state == CRITICAL:
        service.trip_count += 1
        await service.publish("ess.tripped", {"reason": reason, "timestamp": utc_now(), "event_id": str(uuid4())})
    return web.json_response({"success": True, "old_state": old, "new_state": state, "reason": reason})


async def ess_reset(request: web.Request) -> web.Response:
    service = request.app[SERVICE]
    old = service.enter(ARMED, None)
    service.reset_count += 1
    return web.json_response({"success": True, "old_state": old, "new_state": ARMED})


async def policy(request: web.Request) -> web.Response:
    key = request.match_info["key"]
    # An unknown key is no error at the neighbour: its value is null.
    return web.json_response({"key": key, "value": request.app[SERVICE].policies.get(key)})


async def policies(request: web.Request) -> web.Response:
    known = request.app[SERVICE].policies
    return web.json_response({"policies": known, "count": len(known)})


async def policy_update(request: web.Request) -> web.Response:
    service, wanted = request.app[SERVICE], await read_object(request)
    if not isinstance(wanted.get("key"), str) or "value" not in wanted:
        return refuse("key and value are required")
    key, new = wanted["key"], wanted["value"]
    old = service.policies.get(key)
    service.policies[key] = new
    change = {"key": key, "old_value": old, "new_value": new}
    await service.publish("policy.updated", {**change, "timestamp": utc_now()})
    return web.json_response({"success": True, **change})


async def health(_request: web.Request) -> web.Response:
    return web.json_response({"service": "risk-safety", "healthy": True, "stand_in": True})


async def behave(request: web.Request) -> web.Response:
    """Take `{"delay_ms", "status", "body"}`, each optional; `{}` returns to normal answers."""
    wanted = await read_object(request)
    unknown = wanted.keys() - {"delay_ms", "status", "body"}
    if unknown:
        return refuse(f"Unknown behaviour: {', '.join(sorted(unknown))}")
    request.app[SERVICE].behaviour = Behaviour(**wanted)
    return web.json_response({"success": True})


async def read_object(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except json.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise web.HTTPBadRequest(
            text=json.dumps({"detail": "a JSON object is required"}), content_type="application/json"
        )
    return body


def refuse(detail: str, status: int = 400) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


def application(redis_url: str) -> web.Application:
    app = web.Application(middlewares=[refuse_pages, misbehave])
    bus = connect(redis_url)
    app[SERVICE] = Service(bus=bus)
    app.router.add_get("/api/risk/ess/status", ess_status)
    app.router.add_post("/api/risk/ess/override", ess_override)
    app.router.add_post("/api/risk/ess/reset", ess_reset)
    app.router.add_get("/api/policy", policies)
    app.router.add_post("/api/policy/update", policy_update)
    app.router.add_get("/api/policy/{key}", policy)
    app.router.add_get("/health", health)
    app.router.add_post("/stand-in/behaviour", behave)

    async def close_bus(_app: web.Application) -> None:
        await bus.aclose()

    app.on_cleanup.append(close_bus)
    app.on_response_prepare.append(name_the_stand_in)
    return app


def redis_url(given: str) -> str:
    """Return the bus's address: as given, or from REDIS_URL, or from REDIS_HOST and its like.

    Raises:
        SystemExit: a command line that everybody can read holds a password.

    """
    if urlsplit(given).password:
        raise SystemExit("A command line can be read by everybody on the machine: give the URL as REDIS_URL.")
    if address := given or os.environ.get("REDIS_URL", ""):
        return with_tls(address)
    host, password = os.environ.get("REDIS_HOST", "127.0.0.1"), os.environ.get("REDIS_PASSWORD", "")
    login = f":{quote(password, safe='')}@" if password else ""
    return f"redis://{login}{in_url(host)}:{os.environ.get('REDIS_PORT', '6379')}/{os.environ.get('REDIS_DB', '0')}"


def with_tls(address: str) -> str:
    """Return the address with the files of TLS that the service's settings name; without `rediss://` there are none."""
    if not address.startswith("rediss:"):
        return address
    files = {word: found for word, name in TLS_FILES.items() if (found := os.environ.get(name, ""))}
    try:
        return read_redis(address, files=files).url
    except ValueError as error:
        raise SystemExit(str(error)) from None


async def name_the_stand_in(_request: web.Request, response: web.StreamResponse) -> None:
    """Say in every answer what answers: live trading does not take it for the emergency stop."""
    response.headers["X-Stand-In"] = "true"


def main() -> None:
    parser = argparse.ArgumentParser(description="Stand-in for the risk-safety service.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8003, help="0 takes a free port and prints it")
    parser.add_argument("--redis-url", default="", help="without a password; give one with a password as REDIS_URL")
    options = parser.parse_args()
    if os.environ.get("EXECUTION_MODE", "").lower() == "live":
        raise SystemExit("execution.E032: the stand-in's emergency stop judges nothing: it does not run in live mode")
    listener = listen_on(options.host, options.port)
    host, port = listener.getsockname()[:2]
    print(f"Stand-in risk-safety service on http://{in_url(host)}:{port}", flush=True)  # noqa: T201 - tells the free port
    web.run_app(
        application(redis_url(options.redis_url)),
        sock=listener,
        print=None,
        access_log=None,
        # Clients keep their connections; waiting for them would only delay the stop.
        shutdown_timeout=0.5,
        loop=uvloop.new_event_loop(),
    )


if __name__ == "__main__":
    main()
