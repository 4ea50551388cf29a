"""The whole local stack as a user starts it: healthy, signed in, trading its samples, and gone when one part dies."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import requests
from binance.um_futures import UMFutures

from execution_project.env import PAPER_KEY, PAPER_SECRET
from tests.local_stack.helpers import ROOT, descendants, is_alive
from tests.local_stack.started import DECIDED, Run, running
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="it looks at processes through /proc"),
]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with running(tmp_path) as started:
        yield started


def test_starts_healthy_and_ends_when_a_part_dies(run: Run) -> None:
    eventually(lambda: "Sent 2 sample decisions" in run.text(), within=120, what="the stack is up")
    service = run.find(r"Service +(\S+)/health")

    # It should be healthy before it says that it is up.
    assert requests.get(f"{service}/health", timeout=5).status_code == 200
    # Flower should want the password that was printed, and take it.
    flower, password = run.find(r"Flower +(\S+)"), run.find(r"Flower .*password (\S+)")
    assert requests.get(f"{flower}/api/workers", timeout=5).status_code == 401
    assert requests.get(f"{flower}/api/workers", auth=("admin", password), timeout=5).status_code == 200
    # So should the admin.
    assert sign_in(service, run.find(r"Admin .*password (\S+)"))
    # The samples should become open trades.
    with closing(redis.Redis.from_url(run.find(r"Valkey +(redis://\S+)"))) as bus:
        eventually(lambda: bus.xlen("quantum:stream:trade.opened") == 2, within=30, what="two trades are open")

    family = descendants(run.process.pid)
    os.kill(next(pid for pid in family if is_gunicorn_master(pid)), signal.SIGKILL)
    # It should stop as a whole, name the part, and leave nothing.
    assert run.process.wait(30) == 1
    assert "web was ended by signal 9" in run.text()
    assert not any(map(is_alive, family))


def test_three_days_in_a_row_one_of_them_killed(tmp_path: Path) -> None:
    days = {"STATE_DIR": str(tmp_path / "state")}
    with running(tmp_path, **days) as first:
        assert held_by(first, positions=2) == on_exchange(first)
    with running(tmp_path, **days, DEMO_DECISIONS="3") as second:
        # The samples for symbols that are held already are refused, the third is free.
        held = held_by(second, positions=3)
        assert held == on_exchange(second)
        family = descendants(second.process.pid)
        second.process.kill()
        second.process.wait(10)
        eventually(lambda: not any(map(is_alive, family)), within=30, what="all ended with their parent")
    with running(tmp_path, **days, DEMO_DECISIONS="0") as third:
        assert held_by(third, positions=3) == held == on_exchange(third)
        # An operator's commands should find this stack: explain a trade, close what is open.
        trade = ask(third, "GET", "trades?limit=1")["trades"][0]
        assert trade["symbol"] in command(days, "explain", trade["trade_id"])
        assert "flatten" in command(days, "kill_switch", "flatten", "--reason", "the end of the third day")
        eventually(lambda: on_exchange(third) == {}, within=30, what="the exchange is flat")
        eventually(lambda: ask(third, "GET", "trades")["closed_trades"] == 3, within=30, what="all trades are closed")
        # It should have nothing locked.
        command(days, "kill_switch", "released", "--reason", "a new day")
        order = {"symbol": next(iter(held)), "side": "long", "quantity": str(held[next(iter(held))])}
        assert ask(third, "POST", "order", json=order)["status"] == "filled"


def command(days: dict[str, str], *words: str) -> str:
    """Run an operator's command as the documents write it."""
    env = {name: value for name, value in os.environ.items() if name not in DECIDED}
    ran = subprocess.run(
        ["./service", *words], cwd=ROOT, env=env | days, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def held_by(run: Run, *, positions: int) -> dict[str, Decimal]:
    """Wait until the service holds so many protected positions and is healthy; return quantities by symbol."""
    eventually(lambda: "Logs " in run.text(), within=150, what="the stack is up")
    eventually(lambda: len(protected(run)) == positions, within=60, what=f"{positions} protected positions")
    service = run.find(r"Service +(\S+)/health")
    eventually(lambda: is_well(service), within=60, what="health says OK")
    assert ask(run, "GET", "trades?status=pending_exit")["trades"] == []
    return protected(run)


def is_well(service: str) -> bool:
    assert requests.get(f"{service}/health", timeout=5).json()["reasons"] == []
    return True


def protected(run: Run) -> dict[str, Decimal]:
    held = ask(run, "GET", "positions")["positions"]
    return {each["symbol"]: Decimal(str(each["quantity"])) for each in held if each["has_tp_sl"]}


def on_exchange(run: Run) -> dict[str, Decimal]:
    exchange = UMFutures(key=PAPER_KEY, secret=PAPER_SECRET, base_url=run.find(r"Paper exchange +(\S+)"), timeout=10)
    risks = exchange.get_position_risk()
    return {each["symbol"]: Decimal(each["positionAmt"]) for each in risks if Decimal(each["positionAmt"])}


def ask(run: Run, method: str, path: str, **body: object) -> dict[str, Any]:
    service = run.find(r"Service +(\S+)/health")
    answer: dict[str, Any] = requests.request(method, f"{service}/api/execution/{path}", timeout=30, **body).json()  # type: ignore[arg-type]
    return answer


def sign_in(service: str, password: str) -> bool:
    with requests.Session() as browser:
        browser.get(f"{service}/admin/login/", timeout=10)
        form = {"username": "admin", "password": password, "csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        browser.post(f"{service}/admin/login/?next=/admin/", data=form, timeout=10)
        return "sessionid" in browser.cookies


def is_gunicorn_master(pid: int) -> bool:
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    return b"gunicorn" in command and b"gunicorn" not in Path(f"/proc/{parent}/cmdline").read_bytes()
