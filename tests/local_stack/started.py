"""`make run` as a user starts it, beside whatever else runs on the machine."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from tests.local_stack.helpers import PYTHON, ROOT

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


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[Run]:
    """Start `make run` as a user does; stop it at the end as Ctrl-C does, if it still runs."""
    env = {name: value for name, value in os.environ.items() if name not in DECIDED}
    usual = {"PORT": "0", "DEMO_DECISIONS": "2", "LOG_LEVEL": "WARNING", "TMPDIR": str(folder)}
    output = folder / f"output-{uuid4().hex}"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [PYTHON, "-m", "local_stack", "run"],
            cwd=ROOT,
            env={**env, **usual, **settings},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Run(process=process, output=output)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(30)
