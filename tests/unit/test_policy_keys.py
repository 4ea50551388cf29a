from dataclasses import FrozenInstanceError
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.domain.policy import KEYS, Policy, PolicyKey, PolicyValueError, parse_policy_value

# Key, default, smallest and largest value: the contract with whoever changes the policy.
TABLE = """
    execution.max_slippage_pct        0.005  0      0.05
    execution.min_sl_distance_pct     0.001  0      0.05
    execution.max_sl_distance_pct     0.10   0.001  0.5
    execution.min_tp_distance_pct     0.001  0      0.05
    execution.max_tp_distance_pct     0.50   0.001  10
    execution.min_sl_buffer_pct       0.001  0      0.01
    execution.sl_adjustment_buffer_pct 0.001 0      0.01
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
    risk.max_positions                30     0      100
    risk.global_min_confidence        0      0      1
    risk.max_order_notional_usd       10000  0      10000000
    risk.max_symbol_exposure_usd      1000000    0  100000000
    risk.max_total_exposure_usd       10000000   0  1000000000
    risk.max_entries_per_minute       1200   0      100000
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
    "raw",
    [
        None,
        True,
        False,
        [],
        {},
        "",
        "half",
        "0,5",
        b"1",
        "NaN",
        "sNaN",
        "Infinity",
        "-inf",
        float("nan"),
        float("inf"),
        "1_0",
        "\u0661",
    ],
)
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
