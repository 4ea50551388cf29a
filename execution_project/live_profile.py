"""What live trading demands of the settings beyond what contradicts itself: no demo doubles, no weak values.

Each rule has an id and one sentence. Django's system checks show them (`manage.py check`), every process refuses to
start on an error, and `make run` asks before it starts anything. What only a neighbour's answer can show, whether
PostgreSQL asked for the password and whether risk-safety is the stand-in, is asked in `execution/checks.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from pydantic import SecretStr

from execution_project.addresses import is_internal_door, is_loopback, parse_address
from execution_project.env import Environment, Mode, ProcessRole
from execution_project.redis_address import RedisAddress
from execution_project.store_urls import (
    has_client_certificate,
    host_of_database_url,
    password_of_database_url,
)
from execution_project.strength import KEY_BITS, PASSWORD_BITS, is_weak

# Below it Django itself warns (security.W009).
SHORTEST_SECRET_KEY = 50
# The policy's own value for "no limit".
NO_DAILY_LOSS_LIMIT = Decimal(1_000_000_000)
MAKE_ONE = 'make one: python -c "import secrets; print(secrets.token_urlsafe(50))"'


@dataclass(frozen=True, kw_only=True)
class ProfileProblem:
    """One broken rule. `is_error`: nothing starts; otherwise it is a warning that an operator may have chosen."""

    code: str
    sentence: str
    is_error: bool = True


def profile_problems(env: Environment, *, debug: bool = False) -> list[ProfileProblem]:
    """Return every rule that this process's settings break, each once."""
    found = [*_neighbour(env)]
    if env.mode is Mode.LIVE:
        found += [*_live_secrets(env), *_live_limits(env), *_live_database(env), *_live_redis(env), *_live_choices(env)]
        found += _live_event_keys(env)
        if debug:
            found.append(_error("E020", "DEBUG must be off: its error pages show settings and code"))
    elif env.mode is not Mode.PAPER and env.process_role is ProcessRole.ALL and not env.secret_key.get_secret_value():
        found.append(_error("E003", "SECRET_KEY is not set: sign-ins would end with every restart"))
    return found


def _neighbour(env: Environment) -> Iterator[ProfileProblem]:
    host = parse_address(env.risk_safety_service_url, schemes=("http", "https")).host
    if env.mode is Mode.LIVE and "risk_safety_service_url" not in env.model_fields_set:
        yield _error(
            "E014", "RISK_SAFETY_SERVICE_URL is not set: live mode needs the service that holds the emergency stop"
        )
    if is_internal_door(host):
        yield _error("E015", "RISK_SAFETY_SERVICE_URL is a link-local or metadata address, which is no service")


def _live_secrets(env: Environment) -> Iterator[ProfileProblem]:
    if env.process_role is not ProcessRole.ALL:
        return
    key = env.secret_key.get_secret_value()
    if not key:
        yield _error("E003", "SECRET_KEY is not set: sign-ins would end with every restart")
    elif len(key) < SHORTEST_SECRET_KEY or is_weak(key, KEY_BITS):
        yield _error("E010", f"SECRET_KEY is weak: it needs {SHORTEST_SECRET_KEY} random characters; {MAKE_ONE}")
    if is_weak(env.execution_api_key.get_secret_value(), KEY_BITS):
        yield _error("E011", f"EXECUTION_API_KEY is weak: a client that guesses it trades; {MAKE_ONE}")
    if {host.strip() for host in env.allowed_hosts.split(",")} & {"*", ".", ""}:
        yield _error(
            "E012", "ALLOWED_HOSTS must name the hosts: a web page elsewhere could call us by a name of its own"
        )


def _live_limits(env: Environment) -> Iterator[ProfileProblem]:
    given = "hard_max_daily_loss_usd" in env.model_fields_set
    if not given or env.hard_max_daily_loss_usd >= NO_DAILY_LOSS_LIMIT:
        yield _error(
            "E013",
            "HARD_MAX_DAILY_LOSS_USD is not set, or is no limit: live mode needs a daily loss at which entries end",
        )


def _live_database(env: Environment) -> Iterator[ProfileProblem]:
    yield from _live_database_url("DATABASE", env.database_url, env.database_password)
    if env.database_owner_url.get_secret_value():
        yield from _live_database_url("DATABASE_OWNER", env.database_owner_url, env.database_owner_password)


def _live_database_url(name: str, address: SecretStr, apart: SecretStr) -> Iterator[ProfileProblem]:
    url = address.get_secret_value()
    host = host_of_database_url(url)
    password = password_of_database_url(url) or apart.get_secret_value()
    if not needs_password(url):
        return
    if not password:
        yield _error("E016", f"{name}_URL has no password, nor is {name}_PASSWORD set, for {_where(host)}")
    elif is_weak(password, PASSWORD_BITS):
        yield _error("E017", f"the password of {name}_URL is weak: a client that guesses it changes the books")


def needs_password(url: str) -> bool:
    """Whether PostgreSQL knows its client by a password only: over a socket the kernel names the client."""
    host = host_of_database_url(url)
    return bool(host) and not host.startswith("/") and not has_client_certificate(url)


def _live_redis(env: Environment) -> Iterator[ProfileProblem]:
    for name, address in env.redis_addresses.items():
        yield from _live_redis_address(name, address)


def _live_redis_address(name: str, address: RedisAddress) -> Iterator[ProfileProblem]:
    host, password = address.host, address.password
    if not password and host and not is_loopback(host):
        yield _error("E018", f"{name} has no password for {_where(host)}: a client that writes to it trades")
    elif not password and host:
        yield _warning("W018", f"{name} has no password: every process of this machine can trade")
    elif password and is_weak(password, PASSWORD_BITS):
        yield _error("E019", f"the password of {name} is weak: a client that guesses it trades")


def _live_event_keys(env: Environment) -> Iterator[ProfileProblem]:
    keys = {f"{key_id} of EVENT_SIGNING_KEYS": key.secret for key_id, key in env.event_keys.items()}
    for name, secret in {**keys, "EVENT_OWN_KEY_SECRET": env.event_own_key_secret}.items():
        value = secret.get_secret_value()
        if value and is_weak(value, KEY_BITS):
            yield _error("E034", f"{name} is weak: a client that guesses it sends orders; {MAKE_ONE}")


def _live_choices(env: Environment) -> Iterator[ProfileProblem]:
    """Warn of what the settings allow and an operator should know."""
    if not env.binance_key_check:
        yield _warning("W020", "BINANCE_KEY_CHECK is off: a key that may withdraw would be used")
    if env.ess_silence == "open":
        yield _warning("W021", "ESS_FAIL_MODE=open: while risk-safety is silent, entries pass")
    if env.log_level == "DEBUG":
        yield _warning("W022", "LOG_LEVEL=DEBUG: libraries write much that should not be kept")


def _where(host: str) -> str:
    return "this machine (trust authentication)" if is_loopback(host) else host


def _error(code: str, sentence: str) -> ProfileProblem:
    return ProfileProblem(code=f"execution.{code}", sentence=sentence)


def _warning(code: str, sentence: str) -> ProfileProblem:
    return ProfileProblem(code=f"execution.{code}", sentence=sentence, is_error=False)
