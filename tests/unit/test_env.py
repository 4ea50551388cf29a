import os
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from execution_project.addresses import is_loopback
from execution_project.env import Environment, Mode, environment

ROOT = Path(__file__).resolve().parents[2]
API_KEY = "an-api-key-of-24-letters"
TESTNET = {"EXECUTION_MODE": "testnet", "EXECUTION_API_KEY": API_KEY}
TESTNET_KEYS = {"BINANCE_TESTNET_API_KEY": "tk", "BINANCE_TESTNET_API_SECRET": "ts"}
LIVE = {"EXECUTION_MODE": "live", "LIVE_TRADING_CONFIRMED": "true", "EXECUTION_API_KEY": API_KEY}
LIVE_KEYS = {"BINANCE_API_KEY": "lk", "BINANCE_API_SECRET": "ls"}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        monkeypatch.delenv(name)


@pytest.fixture
def setenv(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def built(monkeypatch: pytest.MonkeyPatch, *settings: dict[str, str]) -> Environment:
    """Read an environment that has these settings and nothing else, not even a file."""
    for group in settings:
        for name, value in group.items():
            monkeypatch.setenv(name, value)
    return Environment(_env_file=None)


def refused(monkeypatch: pytest.MonkeyPatch, *settings: dict[str, str]) -> str:
    """Read an environment that must be refused; return the reasons."""
    with pytest.raises(ValidationError) as caught:
        built(monkeypatch, *settings)
    return "; ".join(error["msg"] for error in caught.value.errors())


def test_with_nothing_set_it_trades_on_paper_on_this_machine(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv)

    assert env.mode is Mode.PAPER
    assert (env.exchange_url, env.stream_url) == ("http://127.0.0.1:8700", "ws://127.0.0.1:8700")
    assert (env.exchange_key, env.exchange_secret) == ("paper", "paper-secret")
    assert (env.host, env.port, env.redis) == ("127.0.0.1", 8002, "redis://localhost:6379/0")
    assert env.api_key_required is False


def test_the_defaults_of_the_specification(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv)

    assert env.binance_rate_limit_rpm == 1200
    assert env.position_monitor_interval_sec == 10
    assert env.risk_safety_service_url == "http://localhost:8003"
    assert env.ess_fail_mode == "open"
    assert env.log_level == "INFO"


# Modes


def test_testnet_has_its_own_addresses_and_keys(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv, TESTNET, TESTNET_KEYS, LIVE_KEYS)

    assert env.mode is Mode.TESTNET
    assert env.exchange_url == "https://demo-fapi.binance.com"
    assert env.stream_url == "wss://fstream.binancefuture.com"
    # It should not touch the live keys that lie beside
    assert (env.exchange_key, env.exchange_secret) == ("tk", "ts")


def test_live_has_its_own_addresses_and_keys(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv, LIVE, LIVE_KEYS, TESTNET_KEYS)

    assert env.mode is Mode.LIVE
    assert (env.exchange_url, env.stream_url) == ("https://fapi.binance.com", "wss://fstream.binance.com")
    assert (env.exchange_key, env.exchange_secret) == ("lk", "ls")


def test_the_specifications_switch_alone_means_testnet(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv, {"USE_BINANCE_TESTNET": "true", "EXECUTION_API_KEY": API_KEY}, TESTNET_KEYS)

    assert env.mode is Mode.TESTNET


@pytest.mark.parametrize("mode", [{}, {"EXECUTION_MODE": "paper"}])
def test_no_testnet_alone_is_still_paper(setenv: pytest.MonkeyPatch, mode: dict[str, str]) -> None:
    # It should never be live by a switch that only says what it is not
    assert built(setenv, {"USE_BINANCE_TESTNET": "false"}, mode).mode is Mode.PAPER


@pytest.mark.parametrize("name", ["BINANCE_SECRET_KEY", "BINANCE_API_SECRET"])
def test_both_spellings_of_the_secret(setenv: pytest.MonkeyPatch, name: str) -> None:
    assert built(setenv, LIVE, {"BINANCE_API_KEY": "lk", name: "by-its-name"}).exchange_secret == "by-its-name"


@pytest.mark.parametrize("name", ["BINANCE_TESTNET_SECRET_KEY", "BINANCE_TESTNET_API_SECRET"])
def test_both_spellings_of_the_testnet_secret(setenv: pytest.MonkeyPatch, name: str) -> None:
    env = built(setenv, TESTNET, {"BINANCE_TESTNET_API_KEY": "tk", name: "by-its-name"})

    assert env.exchange_secret == "by-its-name"


def test_testnet_keys_may_stand_in_the_only_names(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv, TESTNET, {"BINANCE_API_KEY": "k", "BINANCE_API_SECRET": "s"})

    assert (env.exchange_key, env.exchange_secret) == ("k", "s")


# Contradictions


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"EXECUTION_MODE": "paper", "USE_BINANCE_TESTNET": "true"}, "contradicts EXECUTION_MODE=paper"),
        (LIVE | LIVE_KEYS | {"USE_BINANCE_TESTNET": "true"}, "contradicts EXECUTION_MODE=live"),
        (TESTNET | TESTNET_KEYS | {"USE_BINANCE_TESTNET": "false"}, "contradicts EXECUTION_MODE=testnet"),
        (LIVE_KEYS | {"EXECUTION_MODE": "live", "EXECUTION_API_KEY": API_KEY}, "LIVE_TRADING_CONFIRMED=true"),
        (LIVE | LIVE_KEYS | {"LIVE_TRADING_CONFIRMED": "false"}, "LIVE_TRADING_CONFIRMED=true"),
        (LIVE, "needs the API key and secret"),
        (LIVE | TESTNET_KEYS, "needs the API key and secret"),
        (LIVE | {"BINANCE_API_KEY": "lk"}, "needs the API key and secret"),
        (TESTNET, "needs the API key and secret"),
        (TESTNET | {"BINANCE_TESTNET_API_KEY": "tk"}, "needs the API key and secret"),
        (LIVE | {"BINANCE_API_KEY": "paper", "BINANCE_API_SECRET": "x"}, "cannot use the key of the paper exchange"),
        (TESTNET | {"BINANCE_API_KEY": "paper", "BINANCE_API_SECRET": "x"}, "cannot use the key of the paper exchange"),
        (LIVE | LIVE_KEYS | {"BINANCE_TESTNET_API_KEY": "lk"}, "a testnet key cannot trade live"),
        (TESTNET_KEYS | {"EXECUTION_MODE": "testnet"}, "EXECUTION_API_KEY is required"),
        (LIVE_KEYS | {"EXECUTION_MODE": "live", "LIVE_TRADING_CONFIRMED": "1"}, "EXECUTION_API_KEY is required"),
        (LIVE | LIVE_KEYS | {"CRASH_POINT": "ENTRY_WRITTEN"}, "CRASH_POINT is for tests in EXECUTION_MODE=paper only"),
        (TESTNET | TESTNET_KEYS | {"CRASH_POINT": "ENTRY_WRITTEN"}, "CRASH_POINT is for tests"),
        ({"HOST": "0.0.0.0"}, "EXECUTION_API_KEY is required"),
        ({"HOST": "::"}, "EXECUTION_API_KEY is required"),
        ({"HOST": ""}, "EXECUTION_API_KEY is required"),
        ({"EXECUTION_API_KEY": "fifteen-letters"}, "EXECUTION_API_KEY must have at least 16 characters"),
    ],
)
def test_contradictions_refuse_to_start(setenv: pytest.MonkeyPatch, settings: dict[str, str], reason: str) -> None:
    assert reason in refused(setenv, settings)


@pytest.mark.parametrize("name", ["BINANCE_BASE_URL", "BINANCE_STREAM_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "https://fapi.binance.com",
        "http://10.0.0.5:8700",
        "http://127.0.0.1@fapi.binance.com",
        "http://localhost.example.com",
        "localhost:8700",
        "http://0.0.0.0:8700",
        "paper",
    ],
)
def test_paper_orders_never_leave_the_machine(setenv: pytest.MonkeyPatch, name: str, url: str) -> None:
    assert f"{name} must be a loopback address" in refused(setenv, {name: url})


@pytest.mark.parametrize("name", ["BINANCE_BASE_URL", "BINANCE_STREAM_URL"])
@pytest.mark.parametrize("mode", [LIVE | LIVE_KEYS, TESTNET | TESTNET_KEYS])
def test_the_real_exchanges_have_fixed_addresses(setenv: pytest.MonkeyPatch, name: str, mode: dict[str, str]) -> None:
    assert f"{name} is for EXECUTION_MODE=paper only" in refused(setenv, mode, {name: "http://127.0.0.1:8700"})


def test_a_paper_exchange_elsewhere_on_this_machine(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv, {"BINANCE_BASE_URL": "http://localhost:9000/", "BINANCE_STREAM_URL": "ws://[::1]:9000"})

    assert (env.exchange_url, env.stream_url) == ("http://localhost:9000", "ws://[::1]:9000")


def test_an_open_host_with_an_api_key_starts(setenv: pytest.MonkeyPatch) -> None:
    assert built(setenv, {"HOST": "0.0.0.0", "EXECUTION_API_KEY": API_KEY}).api_key_required is True


@pytest.mark.parametrize(
    "setting",
    [
        {"EXECUTION_MODE": "real"},
        {"EXECUTION_MODE": ""},
        {"BINANCE_RECV_WINDOW_MS": "60000"},
        {"BINANCE_TIMEOUT_SECONDS": "0"},
        {"ESS_FAIL_MODE": "ajar"},
        {"ESS_TIMEOUT_SECONDS": "6"},
        {"BINANCE_RATE_LIMIT_RPM": "many"},
        {"POSITION_MONITOR_INTERVAL_SEC": "0"},
        {"LIVE_TRADING_CONFIRMED": "perhaps"},
    ],
)
def test_a_malformed_setting_refuses_to_start_by_its_name(setenv: pytest.MonkeyPatch, setting: dict[str, str]) -> None:
    with pytest.raises(ValidationError) as caught:
        built(setenv, setting)

    assert [str(error["loc"][0]).upper() for error in caught.value.errors()] == list(setting)


# The rest


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"REDIS_URL": "redis://elsewhere:1/2", "REDIS_HOST": "ignored"}, "redis://elsewhere:1/2"),
        ({"REDIS_HOST": "cache", "REDIS_PORT": "6380", "REDIS_DB": "3"}, "redis://cache:6380/3"),
        ({"REDIS_PASSWORD": "p@ss/word:1"}, "redis://:p%40ss%2Fword%3A1@localhost:6379/0"),
    ],
)
def test_redis_by_url_or_by_parts(setenv: pytest.MonkeyPatch, settings: dict[str, str], url: str) -> None:
    assert built(setenv, settings).redis == url


def test_secrets_do_not_show(setenv: pytest.MonkeyPatch) -> None:
    secrets = {"SECRET_KEY": "hidden-1", "REDIS_PASSWORD": "hidden-2", "EXECUTION_API_KEY": "hidden-3-and-longer"}

    env = built(setenv, LIVE, LIVE_KEYS | {"BINANCE_API_SECRET": "hidden-4"}, secrets)

    assert "hidden" not in f"{env!r} {env} {env.model_dump()}"


def test_a_refusal_does_not_show_secrets(setenv: pytest.MonkeyPatch) -> None:
    # Pydantic would print the first and the last of the settings
    for setting in ({"EXECUTION_API_KEY": "hidden"}, {"REDIS_PASSWORD": "hidden", "HOST": "0.0.0.0"}):
        with setenv.context() as alone, pytest.raises(ValidationError) as caught:
            built(alone, setting)
        assert "hidden" not in str(caught.value)


def test_unknown_settings_are_no_concern_of_ours(setenv: pytest.MonkeyPatch) -> None:
    assert built(setenv, {"SQLITE_DB_PATH": "data/trades.db", "PATH": "/bin"}).mode is Mode.PAPER


def test_the_environment_is_read_once(setenv: pytest.MonkeyPatch) -> None:
    first = environment()
    setenv.setenv("PORT", "9999")

    assert environment() is first


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("192.168.1.2", False),
        ("localhost.example.com", False),
        ("2130706433", False),
    ],
)
def test_hosts_that_can_only_mean_this_machine(host: str, *, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_nothing_else_reads_the_environment() -> None:
    reading = re.compile(r"os\.environ|os\.getenv|getenv\(")
    # Settings modules are named to Django and to pytest there, nothing is read.
    naming = {"execution_project/celery.py", "execution_project/wsgi.py"}
    files = [*ROOT.glob("execution/**/*.py"), *ROOT.glob("execution_project/**/*.py"), ROOT / "celeryconfig.py"]

    readers = {str(file.relative_to(ROOT)) for file in files if reading.search(file.read_text())}

    assert readers <= naming | {"execution_project/env.py"}


@pytest.mark.parametrize(
    "public",
    ["desk.example.org", "ftp://desk", "https://", "https://a/b", "https://a?b", "https://me@a", "https://*.a"],
)
def test_the_public_url_is_scheme_and_host(setenv: pytest.MonkeyPatch, public: str) -> None:
    assert "PUBLIC_URL must" in refused(setenv, {"PUBLIC_URL": public})


def test_the_public_url_is_a_host_that_may_be_called(setenv: pytest.MonkeyPatch) -> None:
    env = built(setenv, {"PUBLIC_URL": "https://desk.example.org:8443/", "ALLOWED_HOSTS": "a, b"})

    assert env.hosts == ["a", "b", "desk.example.org"]


@pytest.mark.parametrize("proxies", ["proxy.example.org", "10.0.0.1/8", "10.0.0.5;10.0.0.6", "0.0.0.0/0", "::/0"])
def test_trusted_proxies_are_some_addresses(setenv: pytest.MonkeyPatch, proxies: str) -> None:
    assert "TRUSTED_PROXIES must" in refused(setenv, {"TRUSTED_PROXIES": proxies})
