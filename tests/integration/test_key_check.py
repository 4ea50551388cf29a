"""In which modes the service asks what its API key may do."""

import os
import subprocess
import sys

import pytest

from tests.support.stack import ROOT

ASKS = "import django; django.setup(); from execution import wiring; print(wiring.setup_rules().checks_key)"
REMOTE = {"EXECUTION_API_KEY": "an-api-key-of-24-letters", "SECRET_KEY": "s" * 50}
LIVE = REMOTE | {
    "EXECUTION_MODE": "live",
    "LIVE_TRADING_CONFIRMED": "true",
    "BINANCE_API_KEY": "lk",
    "BINANCE_API_SECRET": "ls",
}
TESTNET = REMOTE | {"EXECUTION_MODE": "testnet", "BINANCE_TESTNET_API_KEY": "tk", "BINANCE_TESTNET_API_SECRET": "ts"}


@pytest.mark.parametrize(
    ("settings", "asks"),
    [
        pytest.param(LIVE, "True", id="live"),
        pytest.param(LIVE | {"BINANCE_KEY_CHECK": "false"}, "False", id="live-but-switched-off"),
        pytest.param(TESTNET, "False", id="testnet"),
        pytest.param({"EXECUTION_MODE": "paper"}, "False", id="paper"),
    ],
)
def test_a_live_key_is_asked_about_and_no_other(settings: dict[str, str], asks: str) -> None:
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    told = subprocess.run(
        (sys.executable, "-c", ASKS),
        cwd=ROOT,
        env=plain | {"DJANGO_SETTINGS_MODULE": "execution_project.settings"} | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert told.stdout.strip() == asks
