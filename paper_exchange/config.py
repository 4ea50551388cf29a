"""What can be chosen when the exchange starts. The command line fills it."""

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final

from paper_exchange.core.assumptions import Assumptions

# Listings: contracts as the venue has them, or contracts in USDT that are nearly alike.
VENUE: Final = "venue"
UNIFORM: Final = "uniform"
LISTINGS: Final = (VENUE, UNIFORM)


@dataclass(frozen=True, kw_only=True)
class AccountConfig:
    """An account.

    With a public key (PEM of RSA or Ed25519) requests are signed by its private key, not the secret.
    """

    key: str
    secret: str
    balance: Decimal
    public_key: str = ""
    # Balances in other assets than USDT.
    coins: tuple[tuple[str, Decimal], ...] = ()
    # The wallet is in credits (BNFCR) instead of USDT.
    credits: bool = False


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """A symbol that follows a file of recorded prices."""

    symbol: str
    file: Path


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one exchange. Money in USDT, times in milliseconds."""

    host: str = "127.0.0.1"
    port: int = 8700
    seed: int = 7
    limits: bool = True
    listing: str = VENUE
    # Of the uniform listing.
    min_notional: Decimal = Decimal(5)
    extra_symbols: int = 0
    latency_ms: int = 0
    latency_jitter_ms: int = 0
    fill_probability: float = 1.0
    queue_position: bool = True
    replays: tuple[ReplayConfig, ...] = ()
    replay_speed: float = 1.0
    mirror: str = ""
    static_prices: bool = False
    step_ms: int = 250
    stream_life_s: int = 86_400
    legacy_streams: bool = False
    state_file: str = ""
    volatility: float = 1.0
    maker_rate: Decimal = Decimal("0.0002")
    taker_rate: Decimal = Decimal("0.0005")
    rpi_rate: Decimal = Decimal("0.00005")
    leverage: int = 20
    # Rate of the fee on what is delivered; None is the taker rate.
    delivery_rate: Decimal | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)
    accounts: tuple[AccountConfig, ...] = field(
        default=(AccountConfig(key="paper", secret="paper-secret", balance=Decimal(10_000)),)  # noqa: S106 - the published paper key
    )
