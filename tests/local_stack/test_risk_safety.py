"""The stand-in speaks the neighbour's API and publishes what the neighbour publishes."""

import json
import subprocess
from collections.abc import Iterator
from signal import SIGTERM
from typing import Any

import pytest
import redis
import requests

from local_stack.server import end_process, spawn
from local_stack.valkey import start_valkey
from tests.local_stack.helpers import PYTHON, ROOT


class StandIn:
    def __init__(self, url: str, bus: "redis.Redis") -> None:
        self.url, self.bus = url, bus

    def get(self, path: str) -> Any:
        return requests.get(self.url + path, timeout=5).json()

    def post(self, path: str, body: object) -> tuple[int, Any]:
        answer = requests.post(self.url + path, json=body, timeout=5)
        return answer.status_code, answer.json()

    def published(self, event_type: str) -> list[dict[str, str]]:
        entries: Any = self.bus.xrange(f"quantum:stream:{event_type}")
        return [entry for _, entry in entries]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    valkey = start_valkey(tmp_path_factory.mktemp("valkey") / "data", durable=False)
    command = [PYTHON, "-m", "local_stack.risk_safety", "--port", "0", "--redis-url", valkey.url]
    process = spawn(command, output=subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    yield process.stdout.readline().split()[-1].decode(), valkey.url
    end_process(process, SIGTERM, 5)
    valkey.stop()


@pytest.fixture
def stand_in(address: tuple[str, str]) -> Iterator[StandIn]:
    url, redis_url = address
    with redis.Redis.from_url(redis_url, decode_responses=True) as bus:
        bus.flushall()
        service = StandIn(url, bus)
        service.post("/stand-in/behaviour", {})
        service.post("/api/risk/ess/reset", {})
        yield service


def test_armed_and_quiet_at_first(stand_in: StandIn) -> None:
    status = stand_in.get("/api/risk/ess/status")
    assert (status["state"], status["can_execute"], status["trip_reason"]) == ("ARMED", True, None)
    assert stand_in.get("/health")["healthy"] is True
    assert stand_in.published("ess.tripped") == []


def test_critical_blocks_and_is_published(stand_in: StandIn) -> None:
    code, answer = stand_in.post("/api/risk/ess/override", {"new_state": "CRITICAL", "reason": "drill"})

    assert (code, answer) == (
        200,
        {"success": True, "old_state": "ARMED", "new_state": "CRITICAL", "reason": "drill"},
    )
    status = stand_in.get("/api/risk/ess/status")
    assert (status["state"], status["can_execute"], status["trip_reason"]) == ("CRITICAL", False, "drill")
    # It should be on the bus once, in the bus's wrapper.
    (entry,) = stand_in.published("ess.tripped")
    assert entry.keys() == {"event_type", "payload", "trace_id", "timestamp", "source"}
    assert json.loads(entry["payload"]).keys() == {"reason", "timestamp", "event_id"}

    stand_in.post("/api/risk/ess/reset", {})
    assert stand_in.get("/api/risk/ess/status")["can_execute"] is True


def test_what_it_says_is_published_also_when_its_connection_was_cut(stand_in: StandIn) -> None:
    trip = {"new_state": "CRITICAL", "reason": "drawdown"}
    stand_in.post("/api/risk/ess/override", trip)
    stand_in.bus.client_kill_filter(skipme=True)

    stand_in.post("/api/risk/ess/override", trip)

    assert len(stand_in.published("ess.tripped")) == 2


@pytest.mark.parametrize("state", ["NORMAL", "CAUTION"])
def test_other_states_do_not_block(stand_in: StandIn, state: str) -> None:
    stand_in.post("/api/risk/ess/override", {"new_state": state, "reason": ""})
    assert stand_in.get("/api/risk/ess/status")["can_execute"] is True
    assert stand_in.published("ess.tripped") == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/risk/ess/override", {"new_state": "TRIPPED"}),
        ("/api/risk/ess/override", ["CRITICAL"]),
        ("/api/policy/update", {"key": "execution.max_slippage_pct"}),
        ("/stand-in/behaviour", {"mood": "bad"}),
    ],
)
def test_what_makes_no_sense_is_refused(stand_in: StandIn, path: str, body: object) -> None:
    code, answer = stand_in.post(path, body)
    assert code == 400
    assert answer["detail"]


def test_policies_are_read_changed_and_announced(stand_in: StandIn) -> None:
    key = "execution.max_slippage_pct"
    old = stand_in.get(f"/api/policy/{key}")["value"]
    code, answer = stand_in.post("/api/policy/update", {"key": key, "value": 0.003})

    change = {"key": key, "old_value": old, "new_value": 0.003}
    assert (code, answer) == (200, {"success": True, **change})
    assert stand_in.get(f"/api/policy/{key}") == {"key": key, "value": 0.003}
    everything = stand_in.get("/api/policy")
    assert everything["policies"][key] == 0.003
    assert everything["count"] == len(everything["policies"])
    (entry,) = stand_in.published("policy.updated")
    assert {name: value for name, value in json.loads(entry["payload"]).items() if name != "timestamp"} == change
    # An unknown key should be null, not an error.
    assert stand_in.get("/api/policy/no.such") == {"key": "no.such", "value": None}


def test_misbehaves_on_demand_and_recovers(stand_in: StandIn) -> None:
    stand_in.post("/stand-in/behaviour", {"delay_ms": 30, "status": 503, "body": {"detail": "Service not ready"}})
    answer = requests.get(f"{stand_in.url}/api/risk/ess/status", timeout=5)
    assert (answer.status_code, answer.json()) == (503, {"detail": "Service not ready"})
    assert answer.elapsed.total_seconds() >= 0.03
    # Text is sent as it is: a neighbour can also answer what is not JSON.
    stand_in.post("/stand-in/behaviour", {"body": "<html>"})
    assert requests.get(f"{stand_in.url}/api/policy", timeout=5).text == "<html>"

    stand_in.post("/stand-in/behaviour", {})
    assert stand_in.get("/api/risk/ess/status")["can_execute"] is True


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "application/json", "Origin": "https://evil.example"}, 403),
        ({"Content-Type": "application/json", "Host": "evil.example"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/api/risk/ess/override", "/api/risk/ess/reset", "/api/policy/update"])
def test_a_web_page_changes_nothing(stand_in: StandIn, path: str, headers: dict[str, str], status: int) -> None:
    body = b'{"new_state": "CRITICAL", "reason": "a page", "key": "execution.max_slippage_pct", "value": 0.05}'

    answer = requests.post(f"{stand_in.url}{path}", data=body, headers=headers, timeout=5, proxies={"http": ""})

    assert (answer.status_code, list(answer.json())) == (status, ["detail"])
    assert stand_in.get("/api/risk/ess/status")["state"] == "ARMED"
    assert stand_in.published("policy.updated") == []
