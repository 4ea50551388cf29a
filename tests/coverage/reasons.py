"""Why a line or branch of these functions is not run by any measured process, by file and function."""

REASONS: dict[tuple[str, str], str] = {
    ("trades/late_corrections.py", "_correct"): (
        "Another process opens the trade again between the reading of its income and the lock, which no test can time."
    ),
    ("orders/submit.py", "approved_entry"): "No approved request is without a quantity: the database refuses one.",
    (
        "protection/market_close.py",
        "Closing._log_refused",
    ): "Another process settles the close between its refusal and this line.",
    ("signals/envelope.py", "parse_json"): "The recursion limit costs the trace function; its tests hold the answer.",
    ("adapters/binance/order_parameters.py", "_condition"): "No plan has a stop or target without a price; mypy asks.",
    ("adapters/binance/stream_events.py", "read_event"): "The recursion limit costs the trace function, as in wire.py.",
}
NONE_GIVEN = "no reason given"


def reason_for(path: str, function: str) -> str:
    """Return the reason for what is left of a function, or NONE_GIVEN."""
    return REASONS.get((path, function), NONE_GIVEN)
