"""What can be chosen when the exchange starts; the command line fills it."""

from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Self


@dataclass(frozen=True, kw_only=True)
class AccountConfig:
    """An account; with a public key (PEM of RSA or Ed25519) requests are signed by its private key, not the secret."""

    key: str
    secret: str
    balance: Decimal
    public_key: str = ""
    # The wallet is in credits (BNFCR) instead of USDT.
    credits: bool = False


@dataclass(frozen=True, kw_only=True)
class ReplayConfig:
    """A symbol that follows a file of recorded prices."""

    symbol: str
    file: Path


class SwitchError(ValueError):
    """A switch, or a value of one, that does not exist."""


_BOOLEANS: Final = {"true": True, "false": False}
# What the switches that are texts can say.
CHOICES: Final = {
    "reducing": ("refuse_2022", "refuse_4118", "trim"),
    "close_without_position": ("expire", "reject"),
}


@dataclass(frozen=True, kw_only=True)
class Switches:
    """What Binance's public pages leave open: each assumption and its other ways, as docs/paper-exchange.md tells.

    A switch is a boolean, or a text out of a closed list.
    """

    # What happens to a reduce-only order when resting ones already cover the position.
    reducing: str = "refuse_2022"
    # Whether orders that come from triggers are held to that as well; those of closePosition never are.
    reducing_at_trigger: bool = False
    # Whether the minimum notional spares the closing side of hedge mode, which carries no reduceOnly.
    hedge_close_spared: bool = True
    # How a closePosition order ends that finds no position at its trigger.
    close_without_position: str = "expire"
    # Whether countdownCancelAll cancels conditional orders too.
    countdown_conditional: bool = False
    # Whether leverageBracket of one symbol is a bare object instead of a list.
    bracket_bare: bool = False
    # Whether a user stream whose key stands in the path, so without `events`, connects and says nothing.
    user_path_silent: bool = False
    # Whether openAlgoOrders lists a conditional order that hangs in TRIGGERING.
    stuck_listed: bool = True
    # Whether what closePosition closes is held against the largest MARKET quantity.
    close_position_limited: bool = True
    # Whether position risk control refuses conditional orders when they are placed, not only when they trigger.
    control_conditional: bool = True
    # Whether timeInForce of a contract that takes RPI orders names RPI.
    rpi_in_times: bool = True
    # Whether assetIndex has a row for credits (BNFCR).
    credits_listed: bool = True

    def changed(self, name: str, value: object) -> Self:
        """Return the switches with one of them set; a text for a boolean is read as on the command line."""
        before: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        if name not in before:
            raise SwitchError(f"there is no switch {name}; there are {', '.join(sorted(before))}")
        wanted = _BOOLEANS.get(str(value).lower()) if isinstance(before[name], bool) else value
        if wanted is None:
            raise SwitchError(f"{name} must be true or false")
        if name in CHOICES and wanted not in CHOICES[name]:
            raise SwitchError(f"{name} must be one of {', '.join(CHOICES[name])}")
        changes: dict[str, Any] = {name: wanted}
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of one exchange; money in USDT, times in milliseconds."""

    host: str = "127.0.0.1"
    port: int = 8700
    seed: int = 7
    limits: bool = True
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
    switches: Switches = field(default_factory=Switches)
    accounts: tuple[AccountConfig, ...] = field(
        default=(AccountConfig(key="paper", secret="paper-secret", balance=Decimal(10_000)),)  # noqa: S106 - the published paper key
    )
