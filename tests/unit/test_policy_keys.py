from dataclasses import FrozenInstanceError
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.policy import (
    KEYS,
    Policy,
    PolicyKey,
    PolicyValueError,
    capped,
    loosens,
    parse_policy_value,
)

# Key, default, smallest and largest value: the contract with whoever changes the policy.
TABLE = """
    execution.max_slippage_pct        0.005  0      0.05
    execution.min_sl_distance_pct     0.001  0      0.05
    execution.max_sl_distance_pct     0.10   0.001  0.5
    execution.min_tp_distance_pct     0.001  0      0.05
    execution.max_tp_distance_pct     0.50   0.001  10
    execution.min_sl_buffer_pct       0.001  0      0.01
    execution.sl_adjustment_buffer_pct 0.001 0      0.01
    execution.stop_overdue_ticks      2      0      1000
    execution.stop_overdue_pct        0.0002 0      0.01
    execution.stop_overdue_sec        2      0.5    60
    execution.stop_unavailable        1      0      2
    execution.symbol_release_sec      30     5      86400
    execution.default_sl_pct          0.025  0      0.5
    execution.default_tp_pct          0.06   0.001  0.9
    execution.default_trailing_pct    0      0      0.2
    execution.default_time_exit_sec   0      0      31536000
    execution.limit_entry_max_age_sec 3600  0     31536000
    execution.no_entry_before_end_hours 24 0     2160
    execution.close_before_end_hours  0      0      720
    execution.break_even              0      0      1
    execution.break_even_buffer_pct   0.001  0      0.02
    execution.allow_no_stop           0      0      1
    execution.max_order_retries       3      1      5
    execution.retry_backoff_base_sec  0.2    0      5
    execution.max_retry_backoff_sec   2      0      10
    risk.max_leverage                 20     1      125
    risk.max_positions                30     0      10000
    risk.global_min_confidence        0      0      1
    risk.max_order_notional_usd       10000  0      10000000
    risk.max_symbol_exposure_usd      1000000    0  100000000
    risk.max_total_exposure_usd       10000000   0  1000000000
    risk.max_entries_per_minute       1200   0      100000
    risk.max_open_risk_usd            1000000000 0  1000000000
    risk.max_daily_loss_usd           1000000000 0  1000000000
    risk.max_daily_drawdown_usd       1000000000 0  1000000000
    risk.look_alike_window_sec        0      0      3600
    risk.stop_out_pause_sec           0      0      86400
    risk.max_mark_deviation_pct       0.05   0      1
    risk.maintenance_margin_pct       0.005  0      0.1
    risk.sizing_mode                  0      0      2
    risk.equity_fraction_per_trade    0.02   0      10
    risk.risk_per_trade_usd           10     0      1000000
    risk.taker_fee_pct                0.0005 0      0.01
    risk.stop_slippage_pct            0.001  0      0.05
"""
ROWS = [tuple(line.split()) for line in TABLE.strip().splitlines()]
SLIPPAGE = "execution.max_slippage_pct"
a_key = st.sampled_from(list(KEYS.values()))


def test_every_key_has_its_default_and_bounds() -> None:
    actual = {(key.name, key.default, key.minimum, key.maximum) for key in KEYS.values()}

    assert actual == {(name, *map(Decimal, numbers)) for name, *numbers in ROWS}


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_bounds_are_inclusive_and_end_there(key: PolicyKey) -> None:
    # It should take both bounds as they are
    assert parse_policy_value(key.name, str(key.minimum)) == key.minimum
    assert parse_policy_value(key.name, key.maximum) == key.maximum
    # It should refuse what lies just outside
    for outside in (key.minimum - Decimal("0.0001"), key.maximum + Decimal("0.0001")):
        with pytest.raises(PolicyValueError, match="POLICY_VALUE_OUT_OF_BOUNDS"):
            parse_policy_value(key.name, outside)


def test_a_float_is_read_through_its_text() -> None:
    assert parse_policy_value(SLIPPAGE, 0.003) == Decimal("0.003")
    assert parse_policy_value("risk.max_leverage", 7) == 7


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(PolicyValueError, match=r"^POLICY_KEY_UNKNOWN: key=rl\.min_confidence$"):
        parse_policy_value("rl.min_confidence", 0.5)


@pytest.mark.parametrize(
    "raw", ["1_000", "\u0665", "\uff15", "0.\u0665", pytest.param(10**5000, id="huge"), "1 000", "0x10"]
)
def test_only_ascii_digits_are_numbers(raw: object) -> None:
    with pytest.raises(PolicyValueError, match="POLICY_VALUE_NOT_A_NUMBER"):
        parse_policy_value("risk.max_order_notional_usd", raw)


def test_a_value_has_no_more_decimals_than_the_database_keeps() -> None:
    assert parse_policy_value(SLIPPAGE, "0.0012345678901234567891") == Decimal("0.001234567890123457")


# Key, a value, a looser one, a tighter one; "off" of a key whose 0 is no limit at all is its loosest.
DIRECTIONS = """
    execution.max_slippage_pct          0.005  0.006  0.004
    execution.max_sl_distance_pct       0.10   0.11   0.09
    execution.max_tp_distance_pct       0.50   0.51   0.49
    execution.min_sl_buffer_pct         0.001  0.002  0
    execution.sl_adjustment_buffer_pct  0.001  0.002  0
    execution.default_sl_pct            0.025  0.026  0.024
    execution.default_sl_pct            0.025  0      0.001
    execution.default_trailing_pct      0.01   0      0.001
    execution.default_time_exit_sec     60     0      59
    execution.limit_entry_max_age_sec   60     0      59
    execution.no_entry_before_end_hours 24     23     25
    execution.break_even                0      0      1
    execution.break_even                1      0      1
    execution.break_even_buffer_pct     0.001  0      0.002
    execution.allow_no_stop             0      1      0
    risk.max_leverage                   20     21     19
    risk.max_positions                  30     31     29
    risk.global_min_confidence          0.5    0.4    0.6
    risk.max_order_notional_usd         10000  10001  9999
    risk.max_symbol_exposure_usd        10000  10001  9999
    risk.max_total_exposure_usd         10000  10001  9999
    risk.max_entries_per_minute         10     11     9
    risk.max_open_risk_usd              10     11     9
    risk.max_daily_loss_usd             10     11     9
    risk.max_daily_drawdown_usd         10     11     9
    execution.stop_overdue_ticks        2      3      1
    execution.stop_overdue_pct          0.0002 0.0003 0.0001
    execution.stop_overdue_sec          2      3      1
    execution.stop_unavailable          1      2      0
    execution.symbol_release_sec        30     29     31
    risk.look_alike_window_sec          60     59     61
    risk.stop_out_pause_sec             60     59     61
    risk.max_mark_deviation_pct         0.05   0.06   0.04
    risk.maintenance_margin_pct         0.005  0.004  0.006
    risk.equity_fraction_per_trade      0.02   0.03   0.01
    risk.risk_per_trade_usd             10     11     9
    risk.taker_fee_pct                  0.0005 0.0004 0.0006
    risk.stop_slippage_pct              0.001  0      0.002
"""
DIRECTION_ROWS = [tuple(line.split()) for line in DIRECTIONS.strip().splitlines()]
# A change of these has no order, or moves orders of positions that are open.
UNORDERED = {
    "execution.min_sl_distance_pct",
    "execution.min_tp_distance_pct",
    "execution.default_tp_pct",
    "execution.close_before_end_hours",
    "execution.max_order_retries",
    "execution.retry_backoff_base_sec",
    "execution.max_retry_backoff_sec",
    "risk.sizing_mode",
}


@pytest.mark.parametrize(("name", "value", "looser", "tighter"), DIRECTION_ROWS)
def test_each_key_loosens_one_way(name: str, value: str, looser: str, tighter: str) -> None:
    before, up, down = map(Decimal, (value, looser, tighter))

    assert loosens(name, before, up) is (before != up)
    assert not loosens(name, before, down)
    # It should hold what is looser than a ceiling at the ceiling, and leave alone what is not.
    assert capped(name, up, {name: before}) == before
    assert capped(name, down, {name: before}) == down


def test_no_key_is_without_a_direction() -> None:
    assert {row[0] for row in DIRECTION_ROWS} | UNORDERED == KEYS.keys()


@pytest.mark.parametrize("name", sorted(UNORDERED))
def test_any_change_of_a_key_without_an_order_counts_as_loosening(name: str) -> None:
    key = KEYS[name]

    assert loosens(name, key.minimum, key.maximum)
    assert loosens(name, key.maximum, key.minimum)
    assert not loosens(name, key.maximum, key.maximum)


@given(a_key, st.data())
def test_what_loosens_does_not_loosen_on_the_way_back(key: PolicyKey, data: st.DataObject) -> None:
    between = st.decimals(key.minimum, key.maximum, allow_nan=False)
    one, other = data.draw(between), data.draw(between)

    if key.name not in UNORDERED and one != other:
        assert loosens(key.name, one, other) is not loosens(key.name, other, one)


@pytest.mark.parametrize("raw", [None, True, False, [], {}, "", "half", "0,5", b"1"])
def test_what_is_not_a_number_is_refused(raw: object) -> None:
    with pytest.raises(PolicyValueError, match="POLICY_VALUE_NOT_A_NUMBER"):
        parse_policy_value("risk.global_min_confidence", raw)


@pytest.mark.parametrize("raw", [Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), "1e999", -1])
def test_what_is_not_finite_or_far_out_is_refused(raw: object) -> None:
    with pytest.raises(PolicyValueError, match=r"POLICY_VALUE_OUT_OF_BOUNDS: key=risk\.global_min_confidence"):
        parse_policy_value("risk.global_min_confidence", raw)


@given(a_key, st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.integers()))
def test_any_value_is_in_bounds_or_refused(key: PolicyKey, raw: object) -> None:
    try:
        value = parse_policy_value(key.name, raw)
    except PolicyValueError:
        return
    assert key.minimum <= value <= key.maximum


@pytest.mark.parametrize("raw", ["0.5", 1.5, "1.0000001"])
def test_a_choice_has_nothing_between_its_values(raw: object) -> None:
    with pytest.raises(PolicyValueError, match=r"^POLICY_VALUE_NOT_WHOLE: key=risk\.sizing_mode"):
        parse_policy_value("risk.sizing_mode", raw)
    assert parse_policy_value("risk.sizing_mode", 2.0) == 2


def test_a_policy_falls_back_on_the_default() -> None:
    policy = Policy(values={SLIPPAGE: Decimal("0.003")}, version=4)

    assert policy[SLIPPAGE] == Decimal("0.003")
    assert policy["risk.max_leverage"] == 20
    # It should not invent a value for a key that nobody knows
    with pytest.raises(KeyError):
        policy["risk.unheard_of"]


def test_the_keys_cannot_be_changed_at_run_time() -> None:
    with pytest.raises(TypeError):
        KEYS[SLIPPAGE] = KEYS["risk.max_leverage"]  # type: ignore[index]
    with pytest.raises(FrozenInstanceError):
        KEYS[SLIPPAGE].default = Decimal(1)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (True, "True"),
        (None, "None"),
        ([1], "[1]"),
        ({"a": 1}, "{'a': 1}"),
        ("many", "'many'"),
        ("x" * 98, f"'{'x' * 98}'"),
        ("x" * 99, f"'{'x' * 99}..."),
        pytest.param(10**5000, "a int of too many digits", id="endless"),
    ],
)
def test_a_value_that_is_no_number_is_refused_and_shown_in_part(raw: object, shown: str) -> None:
    with pytest.raises(PolicyValueError) as caught:
        parse_policy_value("risk.max_leverage", raw)

    assert str(caught.value) == f"POLICY_VALUE_NOT_A_NUMBER: key=risk.max_leverage value={shown}"


@pytest.mark.parametrize(("raw", "value"), [(0.003, "0.003"), ("0.003", "0.003"), (1e-05, "0.00001"), (0, "0")])
def test_a_value_keeps_the_digits_that_were_written(raw: object, value: str) -> None:
    assert parse_policy_value("execution.max_slippage_pct", raw) == Decimal(value)


def test_the_same_value_loosens_nothing() -> None:
    loosened = {name for name, key in KEYS.items() if loosens(name, key.minimum, key.minimum)}

    assert loosened == set()


@pytest.mark.parametrize(("before", "after", "looser"), [("0", "5", False), ("5", "0", True), ("5", "6", None)])
def test_where_zero_is_off_it_is_the_loosest(before: str, after: str, looser: bool | None) -> None:  # noqa: FBT001
    keys = [name for name, key in KEYS.items() if key.zero_is_off]
    assert keys
    for name in keys:
        expected = KEYS[name].looser.name == "HIGHER" if looser is None else looser
        assert loosens(name, Decimal(before), Decimal(after)) is expected, name


def test_a_key_without_a_ceiling_has_none() -> None:
    assert capped("risk.max_leverage", Decimal(50), {}) == 50
    assert capped("risk.max_leverage", Decimal(50), {"risk.max_leverage": Decimal(20)}) == 20
    assert capped("risk.max_leverage", Decimal(10), {"risk.max_leverage": Decimal(20)}) == 10
