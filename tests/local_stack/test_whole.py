"""The whole local stack as a user starts it: healthy, signed in, trading its samples, and gone when one part dies."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis
import requests

from tests.local_stack.helpers import PYTHON, ROOT, descendants, is_alive
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(sys.platform != "linux", reason="it looks at processes through /proc"),
]
DECIDED = ("DATABASE_URL", "REDIS_URL", "RISK_SAFETY_SERVICE_URL", "BINANCE_BASE_URL", "BINANCE_STREAM_URL")


@dataclass(frozen=True, kw_only=True)
class Run:
    process: "subprocess.Popen[bytes]"
    output: Path

    def text(self) -> str:
        return self.output.read_text()

    def find(self, pattern: str) -> str:
        found = re.search(pattern, self.text())
        assert found is not None, pattern
        return found[1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    env = {name: value for name, value in os.environ.items() if name not in DECIDED}
    output = tmp_path / "output"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [PYTHON, "-m", "local_stack.run"],
            cwd=ROOT,
            env={**env, "PORT": "0", "DEMO_DECISIONS": "2", "LOG_LEVEL": "WARNING", "TMPDIR": str(tmp_path)},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    yield Run(process=process, output=output)
    if process.poll() is None:
        process.terminate()
        process.wait(30)


def test_starts_healthy_and_ends_when_a_part_dies(run: Run) -> None:
    eventually(lambda: "Sent 2 sample decisions" in run.text(), within=60, what="the stack is up")
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
