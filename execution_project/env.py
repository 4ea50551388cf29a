"""The one door to the environment: every setting, typed, checked and explained, read once at start."""

import ipaddress
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from execution_project.networks import networks

PAPER_KEY = "paper"
PAPER_SECRET = "paper-secret"  # noqa: S105 -- the public key pair of the paper exchange, worthless elsewhere
MINIMUM_API_KEY_LENGTH = 16


class Mode(StrEnum):
    """Which exchange the same code trades on."""

    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


REST_URLS = {Mode.TESTNET: "https://demo-fapi.binance.com", Mode.LIVE: "https://fapi.binance.com"}
STREAM_URLS = {Mode.TESTNET: "wss://fstream.binancefuture.com", Mode.LIVE: "wss://fstream.binance.com"}

# Which setting is the hard ceiling of which policy key.
CEILINGS = {
    "risk.max_leverage": "hard_max_leverage",
    "risk.max_order_notional_usd": "hard_max_order_notional_usd",
    "risk.max_symbol_exposure_usd": "hard_max_symbol_exposure_usd",
    "risk.max_total_exposure_usd": "hard_max_total_exposure_usd",
    "risk.max_open_risk_usd": "hard_max_open_risk_usd",
    "risk.max_daily_loss_usd": "hard_max_daily_loss_usd",
    "risk.max_daily_drawdown_usd": "hard_max_daily_drawdown_usd",
    "risk.max_positions": "hard_max_positions",
    "risk.max_entries_per_minute": "hard_max_entries_per_minute",
    "execution.max_sl_distance_pct": "hard_max_stop_distance_pct",
    "execution.max_slippage_pct": "hard_max_slippage_pct",
}


class Environment(BaseSettings):
    """Settings of one process. Contradictions refuse to start, with the names of the settings and the rule."""

    # A refusal is printed and logged; the settings that it refuses hold passwords and keys.
    model_config = SettingsConfigDict(
        env_file=".env", extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True
    )

    # Mode and keys
    execution_mode: Mode = Mode.PAPER
    use_binance_testnet: bool | None = None
    live_trading_confirmed: bool = False
    binance_api_key: str = ""
    binance_api_secret: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("BINANCE_API_SECRET", "BINANCE_SECRET_KEY")
    )
    binance_testnet_api_key: str = ""
    binance_testnet_api_secret: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("BINANCE_TESTNET_API_SECRET", "BINANCE_TESTNET_SECRET_KEY")
    )
    binance_base_url: str = ""
    binance_stream_url: str = ""
    binance_recv_window_ms: int = Field(3000, ge=500, le=5000)
    binance_timeout_seconds: float = Field(5.0, gt=0, le=30)
    binance_rate_limit_rpm: int = Field(1200, ge=60)
    binance_position_mode: Literal["any", "one-way", "hedge"] = "any"
    binance_margin_type: Literal["any", "CROSSED", "ISOLATED"] = "any"
    binance_key_check: bool = True

    user_stream_keepalive_seconds: int = Field(1500, ge=1, le=3300)
    user_stream_renewal_seconds: int = Field(82_800, ge=1, le=86_000)
    user_stream_patience_seconds: float = Field(5.0, ge=0.5, le=60)
    user_stream_ping_seconds: float = Field(15.0, ge=0.5, le=180)

    # Stores and neighbours
    database_url: str = "postgresql://execution@127.0.0.1:5432/execution"
    redis_url: str = ""
    redis_host: str = "localhost"
    redis_port: int = 6379
    redis_db: int = 0
    redis_password: SecretStr = SecretStr("")
    risk_safety_service_url: str = "http://localhost:8003"
    ess_timeout_seconds: float = Field(1.0, gt=0, le=5)
    ess_fail_mode: Literal["open", "closed"] = "open"
    ess_trip_hold_seconds: int = Field(900, ge=0)
    ess_trip_action: Literal["none", "cancel_entries", "flatten"] = "none"
    policy_refresh_seconds: int = Field(60, ge=1)

    # Web
    host: str = "127.0.0.1"
    port: int = 8002
    allowed_hosts: str = "localhost,127.0.0.1,[::1]"
    public_url: str = ""
    trusted_proxies: str = ""
    secret_key: SecretStr = SecretStr("")
    execution_api_key: SecretStr = SecretStr("")
    order_answer_seconds: float = Field(5.0, ge=0, le=30)

    # Trading
    position_monitor_interval_sec: int = Field(10, ge=1, le=300)
    signal_max_age_sec: int = Field(60, ge=1)
    max_unprotected_seconds: float = Field(5.0, gt=0)
    external_positions: Literal["ignore", "protect", "adopt"] = "ignore"
    symbols_allowed: str = ""
    symbols_denied: str = ""

    # Hard ceilings: what no policy value passes
    hard_max_leverage: int = Field(50, ge=1, le=125)
    hard_max_order_notional_usd: Decimal = Field(Decimal(100_000), ge=0, le=10_000_000)
    hard_max_symbol_exposure_usd: Decimal = Field(Decimal(1_000_000), ge=0, le=100_000_000)
    hard_max_total_exposure_usd: Decimal = Field(Decimal(10_000_000), ge=0, le=1_000_000_000)
    hard_max_open_risk_usd: Decimal = Field(Decimal(100_000), ge=0, le=1_000_000_000)
    hard_max_daily_loss_usd: Decimal = Field(Decimal(100_000), ge=0, le=1_000_000_000)
    hard_max_daily_drawdown_usd: Decimal = Field(Decimal(100_000), ge=0, le=1_000_000_000)
    hard_max_positions: int = Field(100, ge=0, le=10_000)
    hard_max_entries_per_minute: int = Field(1200, ge=0, le=100_000)
    hard_max_stop_distance_pct: Decimal = Field(Decimal("0.25"), ge=Decimal("0.001"), le=Decimal("0.5"))
    hard_max_slippage_pct: Decimal = Field(Decimal("0.02"), ge=0, le=Decimal("0.05"))
    hard_stop_required: bool = True

    # Retention; 0 keeps for ever
    retention_events_days: int = Field(30, ge=0)
    retention_requests_days: int = Field(365, ge=0)
    retention_trades_days: int = Field(0, ge=0)

    # Processes
    log_level: str = "INFO"
    log_format: Literal["console", "json"] = "console"
    celery_visibility_timeout_seconds: int = Field(60, ge=1)
    celery_task_time_limit_seconds: int = Field(45, ge=1)
    celery_db_reuse_max: int = Field(10**9, ge=0)
    # For tests that prove what becomes of a decision when a process dies: execution/crash_points.py.
    crash_point: str = ""

    @field_validator("execution_mode", mode="before")
    @classmethod
    def read_mode(cls, value: object) -> object:
        """Read the mode in any case: the neighbours write it in capitals."""
        return value.lower() if isinstance(value, str) else value

    @model_validator(mode="after")
    def refuse_contradictions(self) -> Self:
        self._check_mode()
        self._check_keys()
        self._check_urls()
        self._check_api_key()
        self._check_front()
        return self

    def _check_mode(self) -> None:
        if self.use_binance_testnet and self.mode is not Mode.TESTNET:
            raise ValueError(f"USE_BINANCE_TESTNET=true contradicts EXECUTION_MODE={self.mode}")
        if self.use_binance_testnet is False and self.mode is Mode.TESTNET:
            raise ValueError("USE_BINANCE_TESTNET=false contradicts EXECUTION_MODE=testnet")
        if self.mode is Mode.LIVE and not self.live_trading_confirmed:
            raise ValueError("EXECUTION_MODE=live needs LIVE_TRADING_CONFIRMED=true as a second, explicit switch")
        if self.crash_point and self.mode is not Mode.PAPER:
            raise ValueError(f"CRASH_POINT is for tests in EXECUTION_MODE=paper only, not for {self.mode}")

    def _check_keys(self) -> None:
        if self.mode is Mode.PAPER:
            return
        if not self.exchange_key or not self.exchange_secret:
            raise ValueError(f"EXECUTION_MODE={self.mode} needs the API key and secret of that exchange")
        if self.exchange_key == PAPER_KEY:
            raise ValueError(f"EXECUTION_MODE={self.mode} cannot use the key of the paper exchange")
        if self.mode is Mode.LIVE and self.exchange_key == self.binance_testnet_api_key:
            raise ValueError("BINANCE_API_KEY equals BINANCE_TESTNET_API_KEY: a testnet key cannot trade live")

    def _check_urls(self) -> None:
        for name, url in (("BINANCE_BASE_URL", self.binance_base_url), ("BINANCE_STREAM_URL", self.binance_stream_url)):
            if url and self.mode is not Mode.PAPER:
                raise ValueError(f"{name} is for EXECUTION_MODE=paper only; {self.mode} has its fixed address")
            if url and not is_loopback(urlsplit(url).hostname or ""):
                raise ValueError(f"{name} must be a loopback address, so that paper orders never leave the machine")

    def _check_api_key(self) -> None:
        key = self.execution_api_key.get_secret_value()
        if self.api_key_required and not key:
            raise ValueError("EXECUTION_API_KEY is required unless EXECUTION_MODE=paper and HOST is a loopback address")
        if key and len(key) < MINIMUM_API_KEY_LENGTH:
            raise ValueError(f"EXECUTION_API_KEY must have at least {MINIMUM_API_KEY_LENGTH} characters")

    def _check_front(self) -> None:
        if self.public_url:
            parts = urlsplit(self.public_url)
            if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
                raise ValueError("PUBLIC_URL must be scheme and host alone, such as https://desk.example.org")
            if parts.username is not None or "*" in parts.hostname:
                raise ValueError("PUBLIC_URL must name one host, without a user")
        try:
            trusted = networks(self.trusted_proxies)
        except ValueError as error:
            raise ValueError(f"TRUSTED_PROXIES must be addresses or networks, separated by commas: {error}") from None
        if any(network.prefixlen == 0 for network in trusted):
            raise ValueError("TRUSTED_PROXIES must not be every address: anybody could then claim to be anybody")

    @property
    def hosts(self) -> list[str]:
        """Host names under which the web process may be called: ALLOWED_HOSTS and the one of PUBLIC_URL."""
        public = urlsplit(self.public_url).hostname
        named = [host.strip() for host in self.allowed_hosts.split(",") if host.strip()]
        return [*named, *([public] if public else [])]

    @property
    def mode(self) -> Mode:
        """EXECUTION_MODE, or testnet when only the specification's USE_BINANCE_TESTNET=true was given."""
        if self.use_binance_testnet and "execution_mode" not in self.model_fields_set:
            return Mode.TESTNET
        return self.execution_mode

    @property
    def exchange_key(self) -> str:
        if self.mode is Mode.TESTNET:
            return self.binance_testnet_api_key or self.binance_api_key
        return self.binance_api_key or (PAPER_KEY if self.mode is Mode.PAPER else "")

    @property
    def exchange_secret(self) -> str:
        own = self.binance_api_secret.get_secret_value()
        if self.mode is Mode.TESTNET:
            return self.binance_testnet_api_secret.get_secret_value() or own
        return own or (PAPER_SECRET if self.mode is Mode.PAPER else "")

    @property
    def exchange_url(self) -> str:
        return REST_URLS.get(self.mode) or self.binance_base_url.rstrip("/") or "http://127.0.0.1:8700"

    @property
    def stream_url(self) -> str:
        return STREAM_URLS.get(self.mode) or self.binance_stream_url.rstrip("/") or "ws://127.0.0.1:8700"

    @property
    def redis(self) -> str:
        """REDIS_URL, or one made of REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_PASSWORD."""
        if self.redis_url:
            return self.redis_url
        password = self.redis_password.get_secret_value()
        login = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{login}{self.redis_host}:{self.redis_port}/{self.redis_db}"

    @property
    def policy_ceilings(self) -> Mapping[str, Decimal]:
        """The hard ceilings by the policy key that each of them caps."""
        ceilings = {key: Decimal(getattr(self, name)) for key, name in CEILINGS.items()}
        return ceilings | ({"execution.allow_no_stop": Decimal(0)} if self.hard_stop_required else {})

    @property
    def api_key_required(self) -> bool:
        return self.mode is not Mode.PAPER or not is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@cache
def environment() -> Environment:
    """Return the settings of this process.

    Raises:
        pydantic.ValidationError: a setting is malformed or contradicts another one; the message names it.

    """
    return Environment()
