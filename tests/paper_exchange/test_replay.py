"""Recorded prices: each one is visited in its order, whatever the speed, also after a restart in between."""

import pickle
import zipfile
from pathlib import Path

import pytest

from paper_exchange.config import Config, ReplayConfig
from paper_exchange.core.clock import SteppedClock
from paper_exchange.core.replay import ReplayError, ReplayPath
from paper_exchange.core.symbols import build_symbols
from tests.paper_exchange.trader import D, Trader

BTC = build_symbols(D(5))["BTCUSDT"]
START = 1_780_000_000_000
KLINES = f"""open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_volume,taker_quote,ignore
{START},50000,50200,49900,50100,1,{START + 59_999},1,1,1,1,0
{START + 60_000},50100,50150,48000,48100.04,1,{START + 119_999},1,1,1,1,0
"""
TRADES = f"""1,50000.1,0.5,1,1,{START},true
2,49999.9,0.5,2,2,{START + 100},false
3,50010.0,0.5,3,3,{START + 5000},true
"""


def written(folder: Path, text: str, name: str = "prices.csv") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def lasts(path: ReplayPath, seconds: float) -> list[D]:
    return [last for last, _ in path.steps(seconds)]


def test_candles_are_walked_through_their_four_prices(tmp_path: Path) -> None:
    path = ReplayPath(BTC, written(tmp_path, KLINES), 1)
    assert lasts(path, 0) == [D(50000)]
    # A candle that rose has seen its low first.
    assert lasts(path, 30) == [D(49900), D(50200)]
    assert lasts(path, 29.9) == [D(50100)]
    # The next one fell: high first; the close is put on the tick grid.
    assert lasts(path, 600) == [D(50100), D(50150), D(48000), D("48100.0")]
    assert lasts(path, 600) == []


def test_trades_at_ten_times_the_speed(tmp_path: Path) -> None:
    path = ReplayPath(BTC, written(tmp_path, TRADES), 10)
    assert lasts(path, 0) == [D("50000.1")]
    assert lasts(path, 0.1) == [D("49999.9")]
    assert lasts(path, 0.4) == [D("50010.0")]


def test_zipped_file_with_microseconds(tmp_path: Path) -> None:
    text = TRADES.replace(str(START), f"{START}000").replace(str(START + 100), f"{START + 100}000")
    file = tmp_path / "prices.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("prices.csv", text.replace(str(START + 5000), f"{START + 5000}000"))
    assert lasts(ReplayPath(BTC, file, 1), 6) == [D("50000.1"), D("49999.9"), D("50010.0")]


def test_saved_path_goes_on_where_it_was(tmp_path: Path) -> None:
    path = ReplayPath(BTC, written(tmp_path, KLINES), 1)
    lasts(path, 30)
    again = pickle.loads(pickle.dumps(path))  # noqa: S301 - written a moment ago
    assert lasts(again, 600) == lasts(path, 600) == [D(50100), D(50100), D(50150), D(48000), D("48100.0")]


@pytest.mark.parametrize("text", ["", "a,b\n", "1,2,3\n", "1,x,0.5,1,1,1780000000000,true\n"])
def test_files_that_hold_no_prices(tmp_path: Path, text: str) -> None:
    with pytest.raises(ReplayError, match="prices"):
        ReplayPath(BTC, written(tmp_path, text), 1)


def test_symbol_that_is_not_listed(tmp_path: Path) -> None:
    replay = ReplayConfig(symbol="NOPEUSDT", file=written(tmp_path, TRADES))
    with pytest.raises(ReplayError, match="NOPEUSDT is not listed"):
        Trader(Config(replays=(replay,)), SteppedClock(1_790_000_000_000))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match="cannot be read"):
        ReplayPath(BTC, tmp_path / "nothing.csv", 1)


def test_orders_fill_at_what_the_recording_passes_within_one_step(tmp_path: Path) -> None:
    replay = ReplayConfig(symbol="BTCUSDT", file=written(tmp_path, KLINES))
    trader = Trader(Config(replays=(replay,), replay_speed=60), SteppedClock(1_790_000_000_000))
    low, high = trader.bid("0.010", "48500"), trader.ask("0.010", "50180")

    trader.clock.advance(2000)
    trader.exchange.step()

    # It should have met the high of the first candle and the low of the second, though it ended elsewhere.
    assert (low.status, low.average_price) == ("FILLED", D(48500))
    assert (high.status, high.average_price) == ("FILLED", D(50180))
    assert trader.market.last == D("48100.0")
    trader.check_identity()
