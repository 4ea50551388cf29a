"""The stand-in for the risk-safety service as a child process, with its doors as methods."""

import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import requests

from local_stack.server import tethered
from tests.support.unmeasured import unmeasured_environment

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 20.0
ADDRESS = re.compile(r"http://\S+")


class RiskSafetyStandIn:
    """Context manager around `python -m local_stack.risk_safety` on a free port."""

    def __init__(self, redis_url: str) -> None:
        self._redis_url = redis_url
        self._process: subprocess.Popen[str] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    def __enter__(self) -> Self:
        self._start("0")
        return self

    def _start(self, port: str) -> None:
        command = [sys.executable, "-m", "local_stack.risk_safety", "--port", port]
        env = {**unmeasured_environment(), "REDIS_URL": self._redis_url}
        self._process = subprocess.Popen(tethered(command), cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
        self.url = self._read_url(self._process)

    def kill(self) -> None:
        """End the process without letting it clean up; `start_again` brings it back at its place."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start_again(self) -> None:
        self._start(self.url.rpartition(":")[2])

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def trip(self, reason: str) -> None:
        """Trip the emergency stop: HTTP answers CRITICAL and `ess.tripped` is published."""
        self._post("/api/risk/ess/override", {"new_state": "CRITICAL", "reason": reason})

    def restore(self) -> None:
        """Arm the emergency stop again and answer normally."""
        self.answer_normally()
        self._post("/api/risk/ess/reset", {})

    def change_policy(self, key: str, value: str) -> None:
        """Change a policy value: HTTP answers it, and `policy.updated` is published."""
        self._post("/api/policy/update", {"key": key, "value": value})

    def answer(self, body: Any, *, status: int = 200) -> None:
        """Answer every call of the neighbour's API with this."""
        self._post("/stand-in/behaviour", {"status": status, "body": body})

    def delay(self, seconds: float) -> None:
        self._post("/stand-in/behaviour", {"delay_ms": seconds * 1000})

    def answer_normally(self) -> None:
        self._post("/stand-in/behaviour", {})

    def _post(self, path: str, body: dict[str, Any]) -> None:
        answer = self._session.post(self.url + path, json=body, timeout=10)
        if answer.status_code != 200:
            raise AssertionError(f"POST {path}: {answer.status_code} {answer.text}")

    @staticmethod
    def _read_url(process: "subprocess.Popen[str]") -> str:
        deadline = time.monotonic() + START_SECONDS
        while process.stdout and process.poll() is None and time.monotonic() < deadline:
            readable, _, _ = select.select([process.stdout], [], [], 0.1)
            found = ADDRESS.search(process.stdout.readline()) if readable else None
            if found:
                return found.group()
        process.kill()
        raise AssertionError("the stand-in risk-safety service did not start")
