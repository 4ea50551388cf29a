"""No secret leaves the settings: a marker is planted in each, and everything that others can read is searched."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from celery import Celery

from execution_project.broker_names import CONTROL_EXCHANGE, KEY_PREFIX
from tests.security import planted as places
from tests.security.planted import ADMIN, ADMIN_PASSWORD, MARKERS, Planted, found_in
from tests.support.stack import is_running
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

SYMBOL = "BTCUSDT"
API = (
    *("/", "/docs", "/docs?script", "/schema", "/metrics", "/health", "/health/ready", "/health/live"),
    *("/api/execution/positions", "/api/execution/trades", "/api/execution/events", "/api/execution/metrics"),
    *("/api/execution/kill-switch", "/nowhere", "/api/execution/trades/none", "/api/execution/trades?limit=x"),
)
FLOWER = (
    *("/", "/workers", "/workers?refresh=1", "/workers?json=1", "/tasks", "/tasks/datatable?draw=1", "/broker"),
    *("/metrics", "/healthcheck", "/api/workers?refresh=1", "/api/tasks", "/api/task/types", "/nowhere"),
    *("/api/queues/length", "/worker/orders@nowhere", "/task/none", "/api/task/info/none", "/logout"),
)
CHANGES = (
    *("/api/worker/shutdown/all", "/api/worker/pool/restart/all", "/api/worker/pool/grow/all", "/api/task/revoke/none"),
    *("/api/task/async-apply/execution.tasks.read_events", "/api/task/send-task/execution.tasks.read_events"),
    *("/api/task/timeout/execution.tasks.place_order", "/api/worker/queue/cancel-consumer/all", "/metrics", "/"),
)


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[Planted]:
    """A service that has traded, refused, failed and served every page before it is searched."""
    with places.planted_service(tmp_path_factory.mktemp("planted")) as running:
        running.stack.decide([SYMBOL])
        eventually(lambda: _is_open(running), within=60, what="a trade is open", every=0.2)
        yield running


def _is_open(running: Planted) -> bool:
    return running.stack.rows("SELECT count(*) FROM execution_trade WHERE state = 'OPEN'") == [(1,)]


def listen_key(service: Planted) -> str:
    """Return the key under which others can hear the account's events."""
    headers = {"X-MBX-APIKEY": MARKERS["PAPER_API_KEY"]}
    answer = service.stranger.post(f"{service.stack.paper.url}/fapi/v1/listenKey", headers=headers, timeout=5)
    key: str = answer.json()["listenKey"]
    return key


# Remote control


def celery_of_a_stranger(service: Planted) -> Celery:
    """Return an application of a client that can write to the broker and knows what our things are called there."""
    app = Celery("stranger", broker=service.redis_url, set_as_current=False)
    app.conf.update(broker_transport_options={"global_keyprefix": KEY_PREFIX}, control_exchange=CONTROL_EXCHANGE)
    return app


@pytest.mark.parametrize("question", ["conf", "stats", "ping", "active", "registered", "active_queues", "report"])
def test_no_worker_answers_questions_over_the_broker(service: Planted, question: str) -> None:
    inspect = celery_of_a_stranger(service).control.inspect(timeout=1.5)

    assert getattr(inspect, question)() is None


@pytest.mark.parametrize("order", ["shutdown", "pool_shrink", "cancel_consumer", "revoke", "time_limit"])
def test_no_worker_obeys_orders_over_the_broker(service: Planted, order: str) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "pool_shrink": {"n": 1},
        "cancel_consumer": {"queue": "protect"},
        "revoke": {"task_id": "any", "terminate": True},
        "time_limit": {"task_name": "execution.tasks.place_order", "soft": 1, "hard": 1},
    }

    answer = celery_of_a_stranger(service).control.broadcast(
        order, arguments=arguments.get(order), reply=True, timeout=1.5
    )

    assert answer == []
    assert {is_running(process.pid) for process in service.stack.processes.values()} == {True}


@pytest.mark.parametrize("command", [("inspect", "conf"), ("report",), ("status",)])
def test_celery_s_own_commands_show_no_secret(service: Planted, command: tuple[str, ...]) -> None:
    result = service.manage("-m", "celery", "--app=execution_project", *command)

    assert found_in(result.stdout + result.stderr) == []


def test_settings_that_celery_could_show_hold_no_secret(service: Planted) -> None:
    """Should remote control ever be switched on: this is what `inspect conf` would answer."""
    code = """
from execution_project.celery import app
print(app.conf.humanize(with_defaults=True), app.conf.table(with_defaults=True))
"""

    result = service.manage("-c", code)

    assert result.returncode == 0, result.stderr
    assert "task_acks_late" in result.stdout
    assert found_in(result.stdout + result.stderr) == []


def test_objects_that_hold_secrets_do_not_print_them(service: Planted) -> None:
    code = """
from execution_project.env import environment
from execution_project.celery import app
import django; django.setup()
from execution import wiring
env = environment()
redis = wiring.bus_redis_client()
ours = (wiring.exchange(), redis, redis.connection_pool, wiring.event_bus(), wiring.stack(), wiring.risk_safety())
for thing in (env, env.model_dump(), env.model_dump_json(), dict(env), vars(env), *ours, app.conf, app.connection()):
    print(repr(thing), str(thing))
"""

    result = service.manage("-c", code)

    assert result.returncode == 0, result.stderr
    assert found_in(result.stdout + result.stderr) == []


# Flower


@pytest.mark.parametrize("page", FLOWER)
def test_flower_asks_for_a_sign_in_and_shows_no_secret(service: Planted, page: str) -> None:
    for headers in (
        {},
        {"Authorization": "Basic !"},
        {"Authorization": "Basic d2F0Y2hlcjp4"},
        {"Authorization": "Bearer x"},
    ):
        refused = service.stranger.get(service.flower_url + page, headers=headers, timeout=10)
        assert refused.status_code == 401
        assert found_in(refused.text) == []

    shown = service.flower.get(service.flower_url + page, timeout=20)

    assert shown.status_code != 401
    assert found_in(shown.text + str(shown.headers)) == []


@pytest.mark.parametrize("address", CHANGES)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_flower_changes_nothing(service: Planted, address: str, method: str) -> None:
    for client, status in ((service.stranger, 401), (service.flower, 405)):
        answer = client.request(method, service.flower_url + address, json={"args": []}, timeout=10)

        assert answer.status_code == status
        assert found_in(answer.text) == []


def test_flower_shows_workers_and_tasks_from_their_events(service: Planted) -> None:
    def all_workers() -> bool:
        rows = service.flower.get(f"{service.flower_url}/workers?json=1", timeout=10).json()["data"]
        return {row["hostname"].partition("@")[0] for row in rows if row["status"]} >= {
            *("orders", "monitor", "protect", "bridge"),
        }

    eventually(all_workers, within=30, what="Flower has heard from every worker", every=0.5)
    assert service.flower.get(f"{service.flower_url}/api/tasks?limit=5", timeout=10).json()


# Pages and errors


@pytest.mark.parametrize("page", API)
def test_no_answer_of_the_api_holds_a_secret(service: Planted, page: str) -> None:
    for client in (service.api, service.stranger):
        for method in ("GET", "POST", "DELETE"):
            answer = client.request(method, service.web_url + page, data="{", timeout=20)
            assert found_in(answer.text + str(answer.headers)) == [], (method, page)


def test_no_page_of_the_admin_holds_a_secret(service: Planted) -> None:
    made = service.manage("manage.py", "ensure_admin", f"--username={ADMIN}", "--password-stdin", input=ADMIN_PASSWORD)
    assert made.returncode == 0, made.stderr
    browser = signed_in(service)
    seen: dict[str, str] = {}
    waiting = ["/admin/"]
    while waiting and len(seen) < 120:
        page = waiting.pop(0)
        seen[page] = browser.get(service.web_url + page, timeout=20).text
        links = re.findall(r'href="(/admin/[^"#]*)"', seen[page])
        waiting += [link for link in dict.fromkeys(links) if link not in {*seen, *waiting} and "logout" not in link]

    assert len(seen) > 20
    assert {page: found for page, text in seen.items() if (found := found_in(text))} == {}


def signed_in(service: Planted) -> requests.Session:
    browser = service.stranger
    page = browser.get(f"{service.web_url}/admin/login/", timeout=20).text
    [token] = set(re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page))
    form = {"csrfmiddlewaretoken": token, "username": ADMIN, "password": ADMIN_PASSWORD, "next": "/admin/"}
    answer = browser.post(
        f"{service.web_url}/admin/login/", data=form, headers={"Referer": service.web_url}, timeout=20
    )
    assert answer.history, "the sign-in was refused"
    return browser


def test_a_broken_database_and_redis_give_no_secret_away(service: Planted) -> None:
    """What libraries say of servers that cannot be reached names hosts, never passwords."""
    nowhere = {
        "DATABASE_URL": service.stack.database_url.replace("@127.0.0.1:", "@127.0.0.1:1"),
        "REDIS_URL": f"redis://{MARKERS['REDIS_URL']}:{MARKERS['REDIS_URL']}@127.0.0.1:9/0",
    }
    settings = service.stack.settings
    service.stack.settings = {**settings, **nowhere}
    try:
        asked = [
            service.manage("manage.py", "explain", "0b0e4b06-3c5e-4e57-8a5f-0f6f6a0f2c11"),
            service.manage("-m", "celery", "--app=execution_project", "inspect", "ping"),
        ]
    finally:
        service.stack.settings = settings

    for result in asked:
        assert found_in(result.stdout + result.stderr) == []


# Where it is stored


def test_no_command_line_holds_a_secret(service: Planted) -> None:
    lines = places.every_command_line()

    assert "execution_project" in lines
    assert found_in(lines, also=(listen_key(service),)) == []


def test_no_log_holds_a_secret_at_debug(service: Planted) -> None:
    log = places.every_log(service)

    # It should really have logged at that level.
    assert "debug" in log.lower()
    assert found_in(log, also=(listen_key(service),)) == []
    # It should show no signature either: with it and the log's parameters an order could be sent again.
    assert re.search(r"signature=[0-9a-f]{16}", log) is None


def test_the_database_holds_no_secret(service: Planted) -> None:
    rows = places.everything_in_the_database(service)

    assert SYMBOL in rows
    assert found_in(rows, also=(listen_key(service),)) == []


def test_redis_holds_no_secret(service: Planted) -> None:
    values = places.everything_in_redis(service)

    assert "quantum:stream:" in values
    assert found_in(values, also=(listen_key(service),)) == []


def test_logs_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    from local_stack.server import private_file, private_folder  # noqa: PLC0415 -- one use

    folder, old = tmp_path / "state", tmp_path / "state" / "old.log"
    folder.mkdir(mode=0o755)
    old.touch(mode=0o644)
    private_folder(folder)
    for name in ("old.log", "new.log"):
        with private_file(folder / name) as log:
            log.write(b"line")

    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_trading_went_on(service: Planted) -> None:
    [(stops,)] = service.stack.rows(
        "SELECT count(*) FROM execution_order WHERE purpose = 'STOP' AND state IN ('ACCEPTED', 'TRIGGERED')"
    )

    assert _is_open(service)
    assert stops == 1
