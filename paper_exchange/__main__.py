"""Command line of the paper exchange: `python -m paper_exchange --help`."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import uvloop

from paper_exchange.config import (
    LISTINGS,
    UNIFORM,
    VENUE,
    AccountConfig,
    Config,
    ReplayConfig,
)
from paper_exchange.core.assumptions import AssumptionError, Assumptions, assume
from paper_exchange.core.margin_assets import COINS
from paper_exchange.core.replay import ReplayError
from paper_exchange.http.keys import check_key
from paper_exchange.server import PaperServer
from paper_exchange.store import StoreError

# What the account 'paper' has beside USDT when it trades the venue's listing.
DEFAULT_COINS: Final = (("USDC", Decimal(5_000)), ("BTC", Decimal("0.1")))


def parser() -> argparse.ArgumentParser:
    defaults = Config()
    found = argparse.ArgumentParser(
        prog="python -m paper_exchange",
        description="A Binance-compatible USDⓈ-M Futures exchange with synthetic prices. "
        "The account with key 'paper' and secret 'paper-secret' always exists.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = found.add_argument
    add("--host", default=defaults.host, help="address to listen on")
    add("--port", type=int, default=defaults.port, help="port to listen on; 0 takes a free one")
    add("--seed", type=int, default=defaults.seed, help="seed of prices, books and chances")
    add("--balance", type=_amount, default=Decimal(10_000), help="USDT that the account 'paper' starts with")
    add("--account", action="append", type=_account, default=[], metavar="KEY:SECRET:USDT", help="a further account")
    add(
        "--account-key",
        action="append",
        type=_keyed_account,
        default=[],
        metavar="KEY:FILE:USDT",
        help="a further account whose requests are signed by the private key to this public one (PEM, RSA or Ed25519)",
    )
    add(
        "--coin",
        action="append",
        type=_coin,
        default=None,
        metavar="ASSET=AMOUNT",
        help="what the account 'paper' has in another asset than USDT, instead of 5000 USDC and 0.1 BTC; "
        "with --listing uniform it starts without",
    )
    add(
        "--listing",
        choices=LISTINGS,
        default=defaults.listing,
        help="contracts as they stand on the venue, or contracts in USDT that are nearly alike",
    )
    add(
        "--min-notional",
        type=_amount,
        default=None,
        help="smallest order notional in USDT, of the uniform listing only (5 when not given)",
    )
    add("--extra-symbols", type=int, default=defaults.extra_symbols, help="further contracts: X0001USDT and so on")
    add("--delivery-fee", type=_amount, default=None, help="fee rate of a delivery; the taker's when not given")
    add("--latency-ms", type=int, default=defaults.latency_ms, help="delay of every answer")
    add("--latency-jitter-ms", type=int, default=defaults.latency_jitter_ms, help="mean of a random part of the delay")
    add("--maker-fee", type=_amount, default=defaults.maker_rate, help="fee rate of resting orders")
    add("--taker-fee", type=_amount, default=defaults.taker_rate, help="fee rate of taking orders")
    add(
        "--fill-probability",
        type=float,
        default=defaults.fill_probability,
        help="chance that a resting order fills when the price only touches it",
    )
    add(
        "--queue-position",
        action=argparse.BooleanOptionalAction,
        default=defaults.queue_position,
        help="let a touched order wait until the volume before it on its level has traded; else it fills at once",
    )
    add(
        "--replay",
        action="append",
        type=_replay,
        default=[],
        metavar="SYMBOL=FILE",
        help="let a symbol follow a kline or aggTrades file (.csv or .zip) of Binance's public data",
    )
    add("--replay-speed", type=float, default=defaults.replay_speed, help="how much faster than real time files play")
    add(
        "--mirror",
        type=_stream_root,
        default="",
        metavar="URL",
        help="follow the public streams at this ws:// or wss:// root",
    )
    add("--step-ms", type=int, default=defaults.step_ms, help="time between two price steps")
    add("--volatility", type=float, default=defaults.volatility, help="factor on the price movement")
    add("--static-prices", action="store_true", help="prices move only by the control API")
    add("--stream-life-s", type=int, default=defaults.stream_life_s, help="age at which a stream connection is cut")
    add("--legacy-streams", action="store_true", help="serve all streams on paths without /public, /market, /private")
    add("--state-file", default="", metavar="PATH", help="keep the state here, through restarts and crashes")
    add(
        "--assume",
        action="append",
        type=_assumption,
        default=[],
        metavar="NAME=VALUE",
        help="set a switch where the public documentation is silent; a saved state keeps its own unless one is given; "
        "docs/paper-exchange.md lists them",
    )
    add("--credits", action="store_true", help="the account 'paper' has its balance in credits (BNFCR), not in USDT")
    add("--no-limits", action="store_true", help="count requests and orders but never refuse them for it")
    return found


def config_of(options: argparse.Namespace) -> Config:
    usual = DEFAULT_COINS if options.listing == VENUE else ()
    coins = usual if options.coin is None else tuple(options.coin)
    paper = AccountConfig(
        key="paper",
        secret="paper-secret",  # noqa: S106 - published
        balance=options.balance,
        coins=coins,
        credits=options.credits,
    )
    return Config(
        host=options.host.strip("[]"),
        port=options.port,
        seed=options.seed,
        limits=not options.no_limits,
        listing=options.listing,
        min_notional=Config.min_notional if options.min_notional is None else options.min_notional,
        delivery_rate=options.delivery_fee,
        extra_symbols=options.extra_symbols,
        latency_ms=options.latency_ms,
        latency_jitter_ms=options.latency_jitter_ms,
        maker_rate=options.maker_fee,
        taker_rate=options.taker_fee,
        fill_probability=options.fill_probability,
        queue_position=options.queue_position,
        replays=tuple(options.replay),
        replay_speed=options.replay_speed,
        mirror=options.mirror,
        static_prices=options.static_prices,
        step_ms=options.step_ms,
        stream_life_s=options.stream_life_s,
        legacy_streams=options.legacy_streams,
        state_file=options.state_file,
        volatility=options.volatility,
        assumptions=assume(Assumptions(), dict(options.assume)),
        accounts=(paper, *options.account, *options.account_key),
    )


def spare_pauses() -> None:
    """Exclude the past from garbage collection: scanning 100 000 orders and fills takes 0.3 s.

    Small young generations keep each remaining pause at a few milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1_000, 3, 100_000)


async def serve(config: Config) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with PaperServer(config) as server:
        spare_pauses()
        print(f"paper exchange ready on {server.url}", flush=True)  # noqa: T201 - the readiness line
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    options = parser().parse_args(arguments)
    if options.min_notional is not None and options.listing != UNIFORM:
        print("--min-notional belongs to --listing uniform: the venue's contracts have their own", file=sys.stderr)  # noqa: T201
        return 2
    config = config_of(options)
    try:
        uvloop.run(serve(config))
    except (StoreError, ReplayError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:
        print(f"cannot listen on {config.host}:{config.port}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _amount(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from error
    if not value.is_finite() or value < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount")
    return value


def _coin(text: str) -> tuple[str, Decimal]:
    asset, _, amount = text.partition("=")
    if asset not in COINS or not amount:
        raise argparse.ArgumentTypeError(f"a coin is ASSET=AMOUNT with one of {', '.join(COINS)}")
    return asset, _amount(amount)


def _assumption(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    try:
        assume(Assumptions(), {name: value})
    except AssumptionError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return name, value


def _replay(text: str) -> ReplayConfig:
    symbol, _, file = text.partition("=")
    if not (symbol and file):
        raise argparse.ArgumentTypeError("a replay is SYMBOL=FILE")
    return ReplayConfig(symbol=symbol.upper(), file=Path(file))


def _stream_root(text: str) -> str:
    if text and not text.startswith(("ws://", "wss://")):
        raise argparse.ArgumentTypeError("a stream root begins with ws:// or wss://")
    return text


def _account(text: str) -> AccountConfig:
    key, _, rest = text.partition(":")
    secret, _, balance = rest.rpartition(":")
    if not (key and secret and balance):
        raise argparse.ArgumentTypeError("an account is KEY:SECRET:USDT")
    return AccountConfig(key=key, secret=secret, balance=_amount(balance))


def _keyed_account(text: str) -> AccountConfig:
    key, _, rest = text.partition(":")
    file, _, balance = rest.rpartition(":")
    if not (key and file and balance):
        raise argparse.ArgumentTypeError("an account with a key is KEY:FILE:USDT")
    try:
        pem = Path(file).read_text()
        check_key(pem)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{file}: {error}") from error
    return AccountConfig(key=key, secret="", balance=_amount(balance), public_key=pem)


if __name__ == "__main__":
    sys.exit(main())
