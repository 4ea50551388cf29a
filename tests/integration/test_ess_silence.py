"""A risk-safety service that is down, slow, dripping or flapping: judged as configured, counted, never waited for."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

import pytest
from django.core.cache import cache
from django.test import Client

from execution import wiring
from execution.adapters.risk_safety import HttpRiskSafety
from execution.domain.ports import RiskSafetyUnavailableError
from execution.models import EssStatus
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
BUDGET_SECONDS = 0.3
# Far above the budget, far below what any of the servers below would take.
LONGEST_SECONDS = 15.0
ANSWER = b'{"state":"ARMED","can_execute":true}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


@contextmanager
def server(answer: Callable[[socket.socket, Event], None]) -> Iterator[str]:
    """A neighbour that answers each connection as told, on a port of its own."""
    over = Event()
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(0.05)

    def serve() -> None:
        while not over.is_set():
            with suppress(OSError):
                caller, _ = listening.accept()
                with caller:
                    caller.recv(4096)
                    answer(caller, over)

    thread = Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        over.set()
        thread.join(10)
        listening.close()


def drips(caller: socket.socket, over: Event) -> None:
    """Send a byte now and then: each arrives within the library's time-out, all of them never."""
    body = ANSWER + b" " * 600
    caller.sendall(HEAD % len(body))
    for number in range(len(body)):
        if over.wait(0.1):
            return
        caller.sendall(body[number : number + 1])


def says_nothing(caller: socket.socket, over: Event) -> None:
    del caller
    over.wait(30)


def hangs_up(caller: socket.socket, over: Event) -> None:
    del over
    caller.sendall(HEAD % 500 + b'{"state"')


@pytest.mark.parametrize(("answer", "kind"), [(drips, "timeout"), (says_nothing, "timeout"), (hangs_up, "connection")])
def test_no_question_takes_longer_than_its_budget(answer: Callable[[socket.socket, Event], None], kind: str) -> None:
    with server(answer) as url:
        service = HttpRiskSafety(url, timeout_seconds=BUDGET_SECONDS)
        started = time.monotonic()
        with pytest.raises(RiskSafetyUnavailableError) as caught:
            service.ess()
        assert time.monotonic() - started < LONGEST_SECONDS

    assert caught.value.kind == kind


def test_nobody_there_is_counted_as_no_connection(desk: Desk) -> None:
    desk.risk_safety = HttpRiskSafety("http://127.0.0.1:9", timeout_seconds=BUDGET_SECONDS)

    assert desk.run(desk.decide(), until="check_ess") == "CLEARED"

    assert EssStatus.objects.get().failures == {"connection": 1}


def test_one_connection_serves_many_questions(desk: Desk) -> None:
    asked = [desk.risk_safety.ess().state for _ in range(3)]

    adapter = desk.risk_safety._session.get_adapter(desk.risk.url)
    [pool] = adapter.poolmanager.pools._container.values()  # type: ignore[attr-defined]  # requests hides its pools
    assert (asked, pool.num_connections, pool.num_requests) == (["ARMED"] * 3, 1, 3)


@pytest.mark.parametrize(("fail_mode", "state"), [("open", "CLEARED"), ("closed", "DENIED")])
def test_flapping_service_is_believed_whenever_it_answers_and_every_failure_is_counted(
    desk: Desk, fail_mode: str, state: str
) -> None:
    desk.fail_mode = fail_mode
    states = []
    for status, body in ((200, None), (500, {}), (200, None), (200, "<html>"), (200, [1]), (200, None), (503, {})):
        desk.risk.answer_normally()
        if body is not None:
            desk.risk.answer(body, status=status)
        states.append(desk.outcome(desk.decide(), until="check_ess"))

    cleared, silent = ("CLEARED", ""), (state, "ESS_BLOCKED" if state == "DENIED" else "")
    assert states == [cleared, silent, cleared, silent, silent, cleared, silent]
    known = EssStatus.objects.get()
    assert (known.failures, known.unanswered) == ({"status": 2, "not_json": 2}, 1)
    # A trip that is told in between is kept through the next silence.
    desk.risk.answer({"state": "TRIPPED", "can_execute": False})
    desk.run(desk.decide(), until="check_ess")
    desk.risk.answer("down", status=500)
    later = desk.decide()
    assert desk.outcome(later, until="check_ess") == ("DENIED", "ESS_BLOCKED")
    assert "state=TRIPPED" in desk.request(later).reason


@pytest.mark.parametrize(("fail_mode", "state"), [("open", "CLEARED"), ("closed", "DENIED")])
@pytest.mark.parametrize("kind", ["connection", "timeout", "status", "not_json"])
def test_each_way_to_fail_is_judged_as_configured_within_its_budget_and_shown_to_prometheus(
    desk: Desk, client: Client, monkeypatch: pytest.MonkeyPatch, kind: str, fail_mode: str, state: str
) -> None:
    for name in ("bus_redis_client", "state_redis_client", "health_redis_client", "limiter_redis_client"):
        monkeypatch.setattr(wiring, name, lambda: desk.redis)
    desk.fail_mode = fail_mode
    if kind == "connection":
        desk.risk_safety = HttpRiskSafety("http://127.0.0.1:9", timeout_seconds=BUDGET_SECONDS)
    elif kind == "timeout":
        desk.risk.delay(30)
    else:
        desk.risk.answer("<html>", status=500 if kind == "status" else 200)
    ids = [desk.decide("BTCUSDT"), desk.decide("ETHUSDT")]

    started = time.monotonic()
    states = [desk.run(request_id, until="check_ess") for request_id in ids]

    assert time.monotonic() - started < len(ids) * LONGEST_SECONDS
    assert states == [state, state]
    # What was shown a moment ago is shown again for a while.
    cache.clear()
    figures = client.get("/metrics").content.decode().splitlines()
    assert f'execution_ess_failures_total{{kind="{kind}"}} 2.0' in figures
    assert "execution_ess_unanswered 2.0" in figures
    assert not [line for line in figures if line.startswith("execution_ess_failures_total") and kind not in line]
