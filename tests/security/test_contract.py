"""Schemathesis with all its checks against the running API: what openapi.yml says is what is served, and refused."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local_stack.server import free_port
from tests.security.aftermath import Api, hold_position, trading_goes_on
from tests.support.stack import CeleryStack

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

KEY = "a-key-for-the-contract-test"
# Of each operation and phase; a night may take more.
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "25")
LONGEST_SECONDS = 900
PROGRAM = os.environ.get("SCHEMATHESIS") or shutil.which("schemathesis", path=str(Path(sys.executable).parent))


@pytest.fixture
def guarded(stack: CeleryStack) -> Iterator[Api]:
    """A web server that asks for a key, as outside of paper mode, and answers an order without waiting for it."""
    port = free_port()
    web = stack.programs["web"]
    bind = f"127.0.0.1:{port}"
    command = tuple(bind if word.startswith("127.0.0.1:") else word for word in web.command)
    env = {**web.env, "EXECUTION_API_KEY": KEY, "ORDER_ANSWER_SECONDS": "0.01"}
    program = replace(web, name="web-guarded", command=command, env=env, ready_url=f"http://{bind}/health/live")
    stack.launch(program)
    api = replace(Api.of(stack), url=f"http://{bind}")
    api.session.headers["X-API-Key"] = KEY
    try:
        api.await_answer()
        yield api
    finally:
        # What was generated may have engaged it.
        api.call("POST", "/api/execution/kill-switch", json={"level": "released", "reason": "end of the test"})
        stack.kill("web-guarded")


@pytest.mark.skipif(PROGRAM is None, reason="schemathesis is not installed")
def test_the_api_keeps_its_schema(stack: CeleryStack, guarded: Api, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            # Without a list of checks all are made, but for what the file says.
            *(str(PROGRAM), "--config-file", "tests/security/schemathesis.toml"),
            *("run", "openapi.yml", "--url", guarded.url, "--header", f"X-API-Key: {KEY}"),
            *("--max-examples", EXAMPLES, "--continue-on-failure", "--no-color"),
            *("--generation-deterministic", "--request-timeout", "30"),
            *("--report-dir", str(tmp_path), "--suppress-health-check", "all"),
        ],
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    guarded.call("POST", "/api/execution/kill-switch", json={"level": "released", "reason": "the attack is over"})
    # What was generated may have closed everything that was open before.
    trading_goes_on(stack, hold_position(stack), restart=False)
