"""The paper exchange as a child process, with its control API as methods; shared by all test suites."""

import contextlib
import ctypes
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import requests

from tests.support.unmeasured import unmeasured_environment

Value = TypeVar("Value")
_ROOT: Final = Path(__file__).resolve().parents[2]
_READY: Final = "paper exchange ready on "
_START_TIMEOUT_S: Final = 20.0
_STOP_TIMEOUT_S: Final = 5.0
_PR_SET_PDEATHSIG: Final = 1


def _die_with_parent() -> None:
    """Ask Linux to kill the child when its parent dies; elsewhere nothing happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(probe: Callable[[], Value | None], timeout_s: float = 5.0, *, what: str = "condition") -> Value:
    """Poll until `probe` returns something true, and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = probe()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what} not met within {timeout_s} s")


class PaperExchange:
    """Context manager around `python -m paper_exchange`; further options are command-line arguments.

    Prices stand still by default, so that tests decide when they move.
    """

    key: Final = "paper"
    secret: Final = "paper-secret"

    def __init__(self, *options: str, static_prices: bool = True, limits: bool = False) -> None:
        self._options = [*options]
        if static_prices:
            # Whoever sets a price finds filled what it touches.
            self._options += ["--static-prices", "--no-queue-position"]
        if not limits:
            self._options.append("--no-limits")
        self._process: subprocess.Popen[str] | None = None
        self._session = requests.Session()
        self._session.trust_env = False
        self.url = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def stream_url(self) -> str:
        """Root of the WebSocket streams."""
        return self.url.replace("http://", "ws://", 1)

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError("the paper exchange is not running")
        return self._process.pid

    def start(self) -> None:
        port = [] if "--port" in self._options else ["--port", "0"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "paper_exchange", *port, *self._options],
            cwd=_ROOT,
            env={**unmeasured_environment(), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one prctl call, nothing that could take a lock
        )
        self.url = self._read_url()

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()

    def restart(self, *options: str, limits: bool = False) -> None:
        """Start it again at its place with other options; without a state file it begins anew."""
        self.stop()
        self._options = [*options, *([] if limits else ["--no-limits"])]
        self.start()

    def kill(self) -> None:
        """End the process without letting it clean up."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def start_again(self) -> None:
        """Start it at its place with its options after a kill; without a state file it begins anew."""
        if "--port" not in self._options:
            self._options += ["--port", self.url.rpartition(":")[2]]
        self.start()

    def set_price(self, symbol: str, price: str, *, mark: str | None = None, hold: bool = True) -> None:
        """Set last and mark price at once, the mark elsewhere if told; they stay there unless `hold` is false."""
        self.control("POST", "price", {"symbol": symbol, "price": price, "mark": mark, "hold": hold})

    def freeze(self, *, frozen: bool = True) -> None:
        self.control("POST", "prices/freeze", {"frozen": frozen})

    def ledger(self, since: int = 0) -> dict[str, list[dict[str, Any]]]:
        """Requests after a sequence number, and all orders, algo_orders, fills and balances."""
        ledger: dict[str, list[dict[str, Any]]] = self.control("GET", f"ledger?since={since}")
        return ledger

    def clear_ledger(self) -> None:
        self.control("DELETE", "ledger")

    def summary(self, key: str = key) -> dict[str, Any]:
        summary: dict[str, Any] = self.control("GET", f"summary?key={key}")
        return summary

    def add_account(self, key: str, secret: str, balance: str = "10000") -> None:
        self.control("POST", "accounts", {"key": key, "secret": secret, "balance": balance})

    def add_fault(self, **fault: Any) -> dict[str, Any]:
        """Inject a fault: path, action, and optionally id, method, key, match, count, probability, ms, status ..."""
        added: dict[str, Any] = self.control("POST", "faults", fault)
        return added

    def clear_faults(self) -> None:
        self.control("DELETE", "faults")

    def reset(self) -> None:
        self.control("POST", "reset")

    def control(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Call the control API and return its JSON; any refusal is an error of the test."""
        answer = self._session.request(method, f"{self.url}/paper/{path}", json=body, timeout=10)
        if answer.status_code != 200:
            raise AssertionError(f"{method} /paper/{path}: {answer.status_code} {answer.text}")
        return answer.json()

    def _read_url(self) -> str:
        process = self._process
        if process is None or process.stdout is None:
            raise RuntimeError("the paper exchange is not running")
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            readable, _, _ = select.select([process.stdout], [], [], 0.1)
            line = process.stdout.readline() if readable else ""
            if line.startswith(_READY):
                return line.removeprefix(_READY).strip()
            if process.poll() is not None:
                break
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        raise AssertionError("the paper exchange did not start")
