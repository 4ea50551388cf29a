"""Settings that somebody has made and nobody reads: misspelt ones, and those of the service that this one replaces."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, cast

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from execution_project.env import Environment, Mode
from execution_project.secret_files import SUFFIX

# What the specification names and nothing here reads, with what does that work now.
REPLACED = {
    "SQLITE_DB_PATH": "the books are in PostgreSQL: DATABASE_URL",
    "EVENT_BUS_TYPE": "the bus is Redis Streams: REDIS_URL or REDIS_BUS_URL",
    "EVENT_RETENTION_HOURS": "a stream keeps about 10,000 entries, and GET /api/execution/events what was published",
    "MAX_CONCURRENT_ORDERS": "the policy limits entries: risk.max_positions and risk.max_entries_per_minute",
    "ORDER_TIMEOUT_SEC": "BINANCE_TIMEOUT_SECONDS is for one call to the exchange, ORDER_ANSWER_SECONDS for the answer",
    "LOG_DIR": "processes write to their standard output; the local stack keeps that in .local/logs",
    "BINANCE_RATE_LIMIT_BURST": "the exchange's own limits are kept, and BINANCE_RATE_LIMIT_RPM",
    "SERVICE_NAME": "the service is called execution in events, logs and health",
}
# Ways in which other programs say that no real money is meant.
NO_REAL_MONEY = ("BINANCE_TESTNET", "BINANCE_USE_TESTNET", "QT_PAPER_TRADING", "PAPER_TRADING", "TESTNET", "DRY_RUN")
YES = frozenset({"1", "true", "yes", "on"})
# A name that begins so is meant for us. Other programs of the machine use REDIS_, LOG_ and the like.
PREFIXES = (
    *("BINANCE_", "EXECUTION_", "ESS_", "HARD_", "USER_STREAM_", "SIGNAL_", "RISK_SAFETY_", "POLICY_", "ORDER_"),
    *("PAPER_", "POSITION_", "LIVE_TRADING_", "EXTERNAL_", "ENTRY_", "PROTECT"),
)
# Read by the local stack, by docker-compose.yml and by the start scripts, not by the service.
READ_ELSEWHERE = frozenset({"FLOWER_PORT", "PAPER_EXCHANGE_PORT", "DEMO_DECISIONS", "STATE_DIR"})
NEAR, VERY_NEAR = 0.8, 0.88


@dataclass(frozen=True, kw_only=True)
class Unread:
    """One setting that is not read: its name, and a sentence that says what to do."""

    name: str
    sentence: str
    is_error: bool = False


def given_settings() -> dict[str, str]:
    """Return all names and values of the environment and of `.env`, whoever they are meant for."""
    sources = (DotEnvSettingsSource(Environment), EnvSettingsSource(Environment))
    return {name.upper(): value or "" for source in sources for name, value in cast("Any", source).env_vars.items()}


def unread_settings(given: Mapping[str, str], mode: Mode) -> Iterator[Unread]:
    """Yield the settings that look like ours and are not read, by name."""
    known = known_settings()
    for name in sorted({name for name, value in given.items() if value} - known - READ_ELSEWHERE):
        if name in REPLACED:
            yield Unread(name=name, sentence=f"{name} is not read: {REPLACED[name]}")
        elif name in NO_REAL_MONEY:
            yield _no_real_money(name, given[name], mode)
        elif name.startswith(PREFIXES) or _is_misspelt(name, known):
            meant = get_close_matches(name, known, n=1, cutoff=NEAR)
            yield Unread(name=name, sentence=f"{name} is not read" + (f"; did you mean {meant[0]}?" if meant else ""))


def known_settings() -> frozenset[str]:
    """Return the names that the service reads, other spellings and files of secrets among them."""
    return frozenset(each for name in _names() for each in (name, name + SUFFIX))


def _names() -> Iterator[str]:
    for name, field in Environment.model_fields.items():
        yield name.upper()
        choices: Iterable[object] = getattr(field.validation_alias, "choices", ())
        yield from (str(choice).upper() for choice in choices)


def _no_real_money(name: str, value: str, mode: Mode) -> Unread:
    if mode is Mode.LIVE and value.strip().lower() in YES:
        return Unread(name=name, sentence=f"{name}={value} contradicts EXECUTION_MODE=live", is_error=True)
    return Unread(name=name, sentence=f"{name} is not read: EXECUTION_MODE says which exchange is traded on")


def _is_misspelt(name: str, known: frozenset[str]) -> bool:
    """Whether a name without one of our prefixes is all but one of ours, such as REDIS_ULR."""
    return bool(get_close_matches(name, known, n=1, cutoff=VERY_NEAR))
