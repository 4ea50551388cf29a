"""What `make run` and `make demo` read from the environment: the service's settings, and where the stack listens."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_urlsafe
from typing import Self

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from execution_project.env import PAPER_KEY, PAPER_SECRET, Environment, Mode
from execution_project.live_profile import profile_problems
from local_stack.processes import EXCHANGE_SECRETS, without
from local_stack.server import free_port
from local_stack.supervisor import StackError

REDIS_SETTINGS = ("redis_url", "redis_host", "redis_port", "redis_db", "redis_password")

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".local"


class LocalEnvironment(BaseSettings):
    """The settings that only the local stack has."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True)

    flower_port: int = Field(5555, ge=0, le=65535)
    paper_exchange_port: int = Field(8700, ge=0, le=65535)
    demo_decisions: int = Field(3, ge=0, le=1000)
    state_dir: str = ""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The service's settings and the stack's together, with what follows from both."""

    service: Environment
    local: LocalEnvironment

    @classmethod
    def read(cls) -> Self:
        """Read the environment and `.env`; raises pydantic.ValidationError for what contradicts itself."""
        return cls(service=Environment(), local=LocalEnvironment())

    def for_demo(self) -> Self:
        """Return these settings on free ports of loopback with a paper exchange of our own, whose price we may move."""
        own = {
            "host": "127.0.0.1",
            "port": 0,
            "binance_base_url": "",
            "binance_stream_url": "",
            # It asks as anybody on this machine may in paper mode.
            "execution_api_key": SecretStr(""),
            "paper_api_key": SecretStr(PAPER_KEY),
            "paper_api_secret": SecretStr(PAPER_SECRET),
        }
        return type(self)(service=self.service.model_copy(update=own), local=self.local)

    def is_given(self, *names: str) -> bool:
        """Whether the user set one of these settings of the service to something."""
        service = self.service
        return any(name in service.model_fields_set and _text(getattr(service, name)) != "" for name in names)

    @property
    def has_free_ports(self) -> bool:
        return self.service.port == 0

    @property
    def is_paper(self) -> bool:
        return self.service.mode is Mode.PAPER

    @property
    def starts_paper_exchange(self) -> bool:
        return self.is_paper and not self.is_given("binance_base_url")

    @property
    def starts_risk_safety(self) -> bool:
        return not self.is_given("risk_safety_service_url")

    @property
    def given_database_url(self) -> str:
        return self.service.database_url.get_secret_value() if self.is_given("database_url") else ""

    @property
    def given_owner(self) -> dict[str, str]:
        """The owner's address and password beside a given DATABASE_URL."""
        if not self.given_database_url:
            return {}
        return {
            "database_owner_url": self.service.database_owner_url.get_secret_value(),
            "database_owner_password": self.service.database_owner_password.get_secret_value(),
        }

    @property
    def given_redis_url(self) -> str:
        return self.service.redis if self.is_given(*REDIS_SETTINGS) else ""

    @property
    def paper_keys(self) -> dict[str, str]:
        """The key pair for the paper exchange: its public one for ours. Real keys never reach a child in paper mode."""
        if not self.is_paper:
            return {}
        own = {"PAPER_API_KEY": PAPER_KEY, "PAPER_API_SECRET": PAPER_SECRET}
        given = {"PAPER_API_KEY": self.service.exchange_key, "PAPER_API_SECRET": self.service.exchange_secret}
        public = {"BINANCE_API_KEY": PAPER_KEY, "BINANCE_API_SECRET": PAPER_SECRET}
        return {**without(*EXCHANGE_SECRETS), **public, **(own if self.starts_paper_exchange else given)}

    def refuse_doubles(self) -> None:
        """Refuse to start doubles of real servers, or weak values, beside real money.

        Raises:
            StackError: live mode, and something is missing or weak; the message names each, one a line.

        """
        if self.service.mode is not Mode.LIVE:
            return
        # The stack makes a strong one where none is given.
        made = {} if self.service.secret_key.get_secret_value() else {"secret_key": SecretStr(token_urlsafe(50))}
        problems = profile_problems(self.service.model_copy(update=made))
        lines = [*self._doubles(), *(f"{one.code}: {one.sentence}" for one in problems if one.is_error)]
        if lines:
            raise StackError("EXECUTION_MODE=live does not start so:\n  " + "\n  ".join(lines))

    def _doubles(self) -> Iterator[str]:
        if not self.given_database_url:
            yield "execution.E030: DATABASE_URL is not set, and the local stack's PostgreSQL asks for no password"
        if not self.given_redis_url:
            yield "execution.E031: REDIS_URL is not set, and the local stack's Valkey asks for no password"
        if self.starts_risk_safety:
            yield "execution.E032: RISK_SAFETY_SERVICE_URL is not set, and the stand-in's emergency stop judges nothing"

    def choose_port(self, wanted: int) -> int:
        return free_port() if self.has_free_ports or wanted == 0 else wanted


def _text(value: object) -> object:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
