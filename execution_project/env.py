"""The one door to the environment: every setting, typed, checked and explained, read once at start."""

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import StrEnum
from functools import cache
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from execution_project.addresses import (
    ServiceAddress,
    as_ip,
    is_loopback,
    parse_address,
    peer_is_this_machine,
    peer_may_be_any_service,
)
from execution_project.event_keys import NAME, SHORTEST_SECRET, EventKey, parse_event_keys
from execution_project.networks import networks
from execution_project.redis_address import ENCRYPTED, TLS_FILES, RedisAddress, check_tls_files, read_redis
from execution_project.secret_files import SecretFileError, SecretFiles
from execution_project.store_urls import (
    check_database_url,
    check_owner_url,
    password_of_database_url,
)

PAPER_KEY = "paper"
PAPER_SECRET = "paper-secret"  # noqa: S105 -- the public key pair of the paper exchange, worthless elsewhere
MINIMUM_API_KEY_LENGTH = 16
DEFAULT_DATABASE_URL = "postgresql://execution@127.0.0.1:5432/execution"
REDIS_URLS = ("redis_url", "redis_bus_url", "redis_broker_url", "redis_state_url")
DATABASE_URLS = ("database_url", "database_owner_url")
URLS_WITH_PASSWORDS = frozenset({*DATABASE_URLS, *REDIS_URLS})
# The id of a refusal, beside those of the system checks (execution/checks.py).
SETTINGS_REFUSED = "execution.E000"


class Mode(StrEnum):
    """Which exchange the same code trades on."""

    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


class ProcessRole(StrEnum):
    """Which secrets a process needs: none that it does not need reaches it (local stack and docker-compose.yml)."""

    # The web process, commands of an operator, and a service that is started by hand.
    ALL = "all"
    # Signs requests to the exchange: the workers of orders, monitor and protection, and the user-data stream.
    TRADE = "trade"
    # Neither signs requests nor answers callers: bridge, beat, Flower, migration.
    SUPPORT = "support"


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


class RefusedSettingsError(SystemExit):
    """The settings contradict each other. Python prints its lines and ends: a traceback would hide them."""


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
    process_role: ProcessRole = ProcessRole.ALL
    paper_api_key: SecretStr = SecretStr(PAPER_KEY)
    paper_api_secret: SecretStr = SecretStr(PAPER_SECRET)
    binance_api_key: SecretStr = SecretStr("")
    binance_api_secret: SecretStr = Field(
        SecretStr(""), validation_alias=AliasChoices("BINANCE_API_SECRET", "BINANCE_SECRET_KEY")
    )
    binance_testnet_api_key: SecretStr = SecretStr("")
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
    database_url: SecretStr = SecretStr(DEFAULT_DATABASE_URL)
    database_password: SecretStr = SecretStr("")
    database_owner_url: SecretStr = SecretStr("")
    database_owner_password: SecretStr = SecretStr("")
    redis_url: SecretStr = SecretStr("")
    redis_host: str = "localhost"
    redis_port: int = 6379
    redis_db: int = 0
    redis_password: SecretStr = SecretStr("")
    redis_bus_url: SecretStr = SecretStr("")
    redis_broker_url: SecretStr = SecretStr("")
    redis_state_url: SecretStr = SecretStr("")
    redis_tls_ca_file: str = ""
    redis_tls_cert_file: str = ""
    redis_tls_key_file: str = ""
    risk_safety_service_url: str = "http://localhost:8003"
    ess_timeout_seconds: float = Field(1.0, gt=0, le=5)
    ess_fail_mode: Literal["open", "closed"] = "open"
    ess_trip_hold_seconds: int = Field(900, ge=0)
    ess_trip_action: Literal["none", "cancel_entries", "flatten"] = "none"
    policy_refresh_seconds: int = Field(60, ge=1)
    event_signing_keys: SecretStr = SecretStr("")
    event_signature_max_age_sec: int = Field(300, ge=5, le=3600)
    event_own_key_id: str = ""
    event_own_key_secret: SecretStr = SecretStr("")

    # Web
    host: str = "127.0.0.1"
    port: int = Field(8002, ge=0, le=65535)
    allowed_hosts: str = "localhost,127.0.0.1,[::1]"
    public_url: str = ""
    trusted_proxies: str = ""
    secret_key: SecretStr = SecretStr("")
    execution_api_key: SecretStr = SecretStr("")
    flower_basic_auth: SecretStr = SecretStr("")
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
    chain_in_place: bool = True
    worker_alive_file: str = ""
    celery_db_reuse_max: int = Field(10**9, ge=0)
    # For tests that prove what becomes of a decision when a process dies: execution/crash_points.py.
    crash_point: str = ""

    @field_validator("execution_mode", mode="before")
    @classmethod
    def read_mode(cls, value: object) -> object:
        """Read the mode in any case: the neighbours write it in capitals."""
        return value.lower() if isinstance(value, str) else value

    @field_validator("host", "redis_host", mode="after")
    @classmethod
    def name_a_host(cls, value: str) -> str:
        """Read an IPv6 address with brackets or without."""
        host = value.strip().removeprefix("[").removesuffix("]")
        if ":" in host and as_ip(host) is None:
            raise ValueError("must be a host name or an IP address alone; the port is a setting of its own")
        return host

    @field_validator("log_level", mode="after")
    @classmethod
    def name_a_level(cls, value: str) -> str:
        if value.upper() not in logging.getLevelNamesMapping():
            raise ValueError("must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
        return value.upper()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 -- the framework's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read secrets from the files that `NAME_FILE` names, too."""
        files = SecretFiles(settings_cls, env_settings, dotenv_settings)
        return init_settings, files, env_settings, dotenv_settings

    @model_validator(mode="after")
    def refuse_contradictions(self) -> Self:
        """Refuse with every broken rule at once, one a line."""
        rules: tuple[Callable[[], None], ...] = (
            *(self._check_mode, self._check_keys, self._check_paper_key, self._check_base_url, self._check_stream_url),
            *(self._check_risk_safety_url, self._check_stores, self._check_api_key, self._check_front),
            *(self._check_event_keys, self._check_own_event_key, self._check_redis_tls),
        )
        if broken := [sentence for rule in rules if (sentence := _broken(rule))]:
            # Two rules may stumble over the same word.
            raise ValueError("\n".join(dict.fromkeys(broken)))
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
        if self.mode is Mode.PAPER or self.process_role is ProcessRole.SUPPORT:
            return
        if not self.exchange_key or not self.exchange_secret:
            raise ValueError(f"EXECUTION_MODE={self.mode} needs the API key and secret of that exchange")
        if self.exchange_key == PAPER_KEY:
            raise ValueError(f"EXECUTION_MODE={self.mode} cannot use the key of the paper exchange")
        if self.mode is Mode.LIVE and self.exchange_key == self.binance_testnet_api_key.get_secret_value():
            raise ValueError("BINANCE_API_KEY equals BINANCE_TESTNET_API_KEY: a testnet key cannot trade live")

    def _check_paper_key(self) -> None:
        real = {self.binance_api_key.get_secret_value(), self.binance_testnet_api_key.get_secret_value()}
        paper = self.paper_api_key.get_secret_value()
        if paper not in {"", PAPER_KEY} and paper in real:
            raise ValueError("PAPER_API_KEY equals a key of Binance: the paper exchange has keys of its own")

    def _check_base_url(self) -> None:
        self._check_paper_url("BINANCE_BASE_URL", self.binance_base_url, "http")

    def _check_stream_url(self) -> None:
        self._check_paper_url("BINANCE_STREAM_URL", self.binance_stream_url, "ws")

    def _check_paper_url(self, name: str, url: str, scheme: str) -> None:
        if url and self.mode is not Mode.PAPER:
            raise ValueError(f"{name} is for EXECUTION_MODE=paper only; {self.mode} has its fixed address")
        rule = f"{name} must be a loopback address, so that paper orders never leave the machine"
        try:
            host = parse_address(url, schemes=(scheme,)).host if url else "localhost"
        except ValueError as error:
            raise ValueError(f"{rule}; it {error}") from None
        if not is_loopback(host):
            raise ValueError(rule)

    def _check_risk_safety_url(self) -> None:
        try:
            parse_address(self.risk_safety_service_url, schemes=("http", "https"))
        except ValueError as error:
            raise ValueError(f"RISK_SAFETY_SERVICE_URL {error}") from None

    def _check_stores(self) -> None:
        for name in DATABASE_URLS:
            check_database_url(getattr(self, name).get_secret_value(), name=name.upper())
        check_owner_url(self.database_url.get_secret_value(), self.database_owner_url.get_secret_value())
        for name in REDIS_URLS:
            if url := getattr(self, name).get_secret_value():
                read_redis(url, name=name.upper(), files=self._redis_files)

    def _check_redis_tls(self) -> None:
        given = [TLS_FILES[word] for word in self._redis_files]
        addresses = self.redis_addresses.values()
        if given and not any(address.scheme == ENCRYPTED for address in addresses):
            raise ValueError(f"{given[0]} is set, and no address of Redis begins with rediss://: nothing is encrypted")
        for address in addresses:
            check_tls_files(address.tls)

    def _check_api_key(self) -> None:
        key = self.execution_api_key.get_secret_value()
        if self.api_key_required and not key and self.process_role is ProcessRole.ALL:
            raise ValueError("EXECUTION_API_KEY is required unless EXECUTION_MODE=paper and HOST is a loopback address")
        if key and len(key) < MINIMUM_API_KEY_LENGTH:
            raise ValueError(f"EXECUTION_API_KEY must have at least {MINIMUM_API_KEY_LENGTH} characters")

    def _check_event_keys(self) -> None:
        try:
            _ = self.event_keys
        except ValueError as error:
            raise ValueError(f"EVENT_SIGNING_KEYS {error}") from None

    def _check_own_event_key(self) -> None:
        secret = self.event_own_key_secret.get_secret_value()
        if secret and not NAME.fullmatch(self.event_own_key_id):
            raise ValueError("EVENT_OWN_KEY_SECRET needs EVENT_OWN_KEY_ID: 1 to 64 of A-Z a-z 0-9 . _ -")
        if secret and (len(secret) < SHORTEST_SECRET or not secret.isascii()):
            raise ValueError(f"EVENT_OWN_KEY_SECRET must have at least {SHORTEST_SECRET} ASCII characters")

    def _check_front(self) -> None:
        try:
            public = self._public
        except ValueError as error:
            raise ValueError(f"PUBLIC_URL {error}") from None
        if public and public.path:
            raise ValueError("PUBLIC_URL must be scheme and host alone, such as https://desk.example.org")
        try:
            trusted = networks(self.trusted_proxies)
        except ValueError as error:
            raise ValueError(f"TRUSTED_PROXIES must be addresses or networks, separated by commas: {error}") from None
        if any(network.prefixlen == 0 for network in trusted):
            raise ValueError("TRUSTED_PROXIES must not be every address: anybody could then claim to be anybody")

    @property
    def hosts(self) -> list[str]:
        """Host names under which the web process may be called: ALLOWED_HOSTS and the one of PUBLIC_URL."""
        named = [host.strip() for host in self.allowed_hosts.split(",") if host.strip()]
        return [*named, *([self._public.host] if self._public else [])]

    @property
    def origins(self) -> list[str]:
        """Pages whose forms the admin accepts besides its own host's: PUBLIC_URL."""
        return [self._public.url] if self._public else []

    @property
    def _public(self) -> ServiceAddress | None:
        return parse_address(self.public_url, schemes=("http", "https")) if self.public_url else None

    @property
    def mode(self) -> Mode:
        """EXECUTION_MODE, or testnet when only the specification's USE_BINANCE_TESTNET=true was given."""
        if self.use_binance_testnet and "execution_mode" not in self.model_fields_set:
            return Mode.TESTNET
        return self.execution_mode

    @property
    def exchange_key(self) -> str:
        """The key of the mode's own exchange; a real key never signs for the paper exchange."""
        if self.mode is Mode.PAPER:
            return self.paper_api_key.get_secret_value()
        own = self.binance_api_key.get_secret_value()
        testnet = self.binance_testnet_api_key.get_secret_value() if self.mode is Mode.TESTNET else ""
        return testnet or own

    @property
    def exchange_secret(self) -> str:
        if self.mode is Mode.PAPER:
            return self.paper_api_secret.get_secret_value()
        own = self.binance_api_secret.get_secret_value()
        testnet = self.binance_testnet_api_secret.get_secret_value() if self.mode is Mode.TESTNET else ""
        return testnet or own

    @property
    def exchange_url(self) -> str:
        return REST_URLS.get(self.mode) or _paper_url(self.binance_base_url or "http://127.0.0.1:8700", "http")

    @property
    def stream_url(self) -> str:
        return STREAM_URLS.get(self.mode) or _paper_url(self.binance_stream_url or "ws://127.0.0.1:8700", "ws")

    @property
    def risk_safety_url(self) -> str:
        return parse_address(self.risk_safety_service_url, schemes=("http", "https")).url

    @property
    def exchange_peer_rule(self) -> Callable[[str], bool]:
        """Which IP addresses the exchange's connections may end at, whatever a name resolves to."""
        return peer_is_this_machine if self.mode is Mode.PAPER else peer_may_be_any_service

    @property
    def redis(self) -> str:
        """REDIS_URL, or one made of REDIS_HOST, REDIS_PORT, REDIS_DB and REDIS_PASSWORD; TLS is said in it."""
        return self._redis_at("redis_url").url

    @property
    def redis_bus(self) -> str:
        """Where the streams of events are."""
        return self._redis_at("redis_bus_url").url

    @property
    def redis_broker(self) -> RedisAddress:
        """Where Celery's queues are."""
        return self._redis_at("redis_broker_url")

    @property
    def redis_state(self) -> str:
        """Where the state that all processes share is: limiter, breaker, settings cache, mirror of open trades."""
        return self._redis_at("redis_state_url").url

    @property
    def redis_addresses(self) -> dict[str, RedisAddress]:
        """Each address of Redis that is in use, by the setting that names it."""
        own = {name.upper(): self._redis_at(name) for name in REDIS_URLS[1:] if getattr(self, name).get_secret_value()}
        return own if len(own) == len(REDIS_URLS) - 1 else {"REDIS_URL": self._redis_at("redis_url"), **own}

    @property
    def redis_connections(self) -> dict[str, str]:
        """The same as what the clients get."""
        return {name: address.url for name, address in self.redis_addresses.items()}

    def _redis_at(self, name: str) -> RedisAddress:
        """Return the address of one of the settings; an empty one is where REDIS_URL is."""
        if url := getattr(self, name).get_secret_value():
            return read_redis(url, name=name.upper(), files=self._redis_files)
        if name != "redis_url":
            return self._redis_at("redis_url")
        host, password = self.redis_host, self.redis_password.get_secret_value()
        return RedisAddress(
            scheme="redis", host=host, port=self.redis_port, database=self.redis_db, password=password, tls={}
        )

    @property
    def _redis_files(self) -> dict[str, str]:
        """The files of TLS that are set, by redis-py's names."""
        named = {word: getattr(self, setting.lower()) for word, setting in TLS_FILES.items()}
        return {word: path for word, path in named.items() if path}

    @property
    def journal_kept_days(self) -> int | None:
        """The youngest age at which retention may remove lines of the journal, in days; None: it never may."""
        ages = [days for days in (self.retention_requests_days, self.retention_trades_days) if days]
        return min(ages, default=None)

    @property
    def ess_silence(self) -> Literal["open", "closed"]:
        """ESS_FAIL_MODE; in live mode silence refuses entries unless the setting was given."""
        if self.mode is Mode.LIVE and "ess_fail_mode" not in self.model_fields_set:
            return "closed"
        return self.ess_fail_mode

    @property
    def policy_ceilings(self) -> Mapping[str, Decimal]:
        """The hard ceilings by the policy key that each of them caps."""
        ceilings = {key: Decimal(getattr(self, name)) for key, name in CEILINGS.items()}
        return ceilings | ({"execution.allow_no_stop": Decimal(0)} if self.hard_stop_required else {})

    @property
    def event_keys(self) -> Mapping[str, EventKey]:
        """The keys of EVENT_SIGNING_KEYS by their ids; none: events need not be signed."""
        text = self.event_signing_keys.get_secret_value()
        return parse_event_keys(text) if text else {}

    @property
    def api_key_required(self) -> bool:
        return self.mode is not Mode.PAPER or not is_loopback(self.host)

    def secret_values(self) -> frozenset[str]:
        """Return every secret that this process holds, for what must never print one."""
        names = set(secret_names(type(self))) - URLS_WITH_PASSWORDS
        values = {getattr(self, name).get_secret_value() for name in names}
        of_events = {key.secret.get_secret_value() for key in self.event_keys.values()}
        return frozenset({*values, *passwords_of(self), *of_events} - {"", PAPER_KEY, PAPER_SECRET})


def secret_names(settings: type[BaseSettings]) -> tuple[str, ...]:
    return tuple(name for name, field in settings.model_fields.items() if field.annotation is SecretStr)


def passwords_of(env: Environment) -> set[str]:
    """Return the passwords inside of the stores' addresses."""
    of_redis = {address.password for address in env.redis_addresses.values()}
    of_database = {password_of_database_url(getattr(env, name).get_secret_value()) for name in DATABASE_URLS}
    return of_database | of_redis


def _paper_url(url: str, scheme: str) -> str:
    return parse_address(url, schemes=(scheme,)).url


def _broken(rule: Callable[[], None]) -> str:
    try:
        rule()
    except ValueError as error:
        return str(error)
    return ""


def describe_refusal(error: ValidationError | SecretFileError) -> list[str]:
    """Return the reasons of a refusal, one line each, without the values that were refused."""
    if isinstance(error, SecretFileError):
        return [str(error)]
    lines: list[str] = []
    for item in error.errors(include_input=False, include_context=False, include_url=False):
        name = ".".join(map(str, item["loc"])).upper()
        reasons = item["msg"].removeprefix("Value error, ").splitlines()
        lines += [f"{name} {reason}".strip() for reason in reasons]
    return lines


@cache
def environment() -> Environment:
    """Return the settings of this process.

    Raises:
        RefusedSettingsError: a setting is malformed or contradicts another; it ends the process, one line a rule.

    """
    try:
        return Environment()
    except (ValidationError, SecretFileError) as error:
        lines = "\n".join(f"{SETTINGS_REFUSED}: {line}" for line in describe_refusal(error))
        raise RefusedSettingsError(lines) from None
