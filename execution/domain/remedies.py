"""What would have to be different for a refused decision to pass, one sentence a reason code."""

import re
from collections.abc import Mapping

from execution.domain.reasons import Reason

NUMBERS = re.compile(r"expected(?P<sign><=|>=|<|>|=)(?P<bound>\S+) actual=(?P<actual>\S+)")
SIGNS = {"<=": "at most", ">=": "at least", "<": "less than", ">": "more than", "=": "within"}
R = Reason
REMEDIES: Mapping[Reason, str] = {
    R.MALFORMED_ENVELOPE: "The stream entry would have to be an event of its stream, in UTF-8.",
    R.MALFORMED_PAYLOAD: "The payload would have to be a JSON object without NaN, Infinity and NUL.",
    R.PAYLOAD_TOO_LARGE: "The payload would have to be 64 KiB at most.",
    R.INVALID_FIELD: "The named field would have to keep its rule.",
    R.UNSTORABLE: "The named value would have to be one that can be stored and calculated with.",
    R.IDENTITY_REUSED: "The decision would need an identity of its own: another decision came first under this one.",
    R.DELIVERY_LIMIT: "The named error would have to end; then the dead letter can be replayed.",
    R.SECRET_WRONG: "The alert would have to carry the secret of its webhook.",
    R.VERB_NOT_ALLOWED: "The webhook would have to be made anew with this verb allowed.",
    R.SIGNATURE_MISSING: "The producer would have to sign its events.",
    R.SIGNATURE_INVALID: "The signature would have to be that of exactly this entry on this stream.",
    R.SIGNATURE_KEY_UNKNOWN: "EVENT_SIGNING_KEYS would have to name the producer's key.",
    R.SIGNATURE_STREAM_NOT_ALLOWED: "EVENT_SIGNING_KEYS would have to allow the key for events of this type.",
    R.SIGNATURE_EXPIRED: "The entry would have to arrive soon after it was signed, and the clocks agree.",
    R.SIGNATURE_REPLAYED: "Each signature counts once: a new decision would need a new one.",
    R.ESS_BLOCKED: "The emergency stop would have to permit entries.",
    R.KILL_SWITCH_ENGAGED: "An operator would have to release the kill switch.",
    R.SIGNAL_TOO_OLD: "The decision would have to arrive sooner, or SIGNAL_MAX_AGE_SEC be longer.",
    R.UNKNOWN_SYMBOL: "The exchange would have to list the symbol.",
    R.SYMBOL_NOT_TRADING: "The exchange would have to trade the symbol.",
    R.SYMBOL_ENDS: "The contract would have to have longer to live.",
    R.SYMBOL_NOT_ALLOWED: "SYMBOLS_ALLOWED and SYMBOLS_DENIED would have to let the symbol through.",
    R.SLIPPAGE_EXCEEDS_LIMIT: "The book would have to be nearer to the planned price, or the order smaller.",
    R.BOOK_TOO_THIN: "The book would have to hold more, or the order be smaller.",
    R.EQUITY_UNKNOWN: "The account would have to show its equity, by which the entry is sized.",
    R.ATR_UNAVAILABLE: "The exchange would have to show enough candles without a gap, or the exits be prices.",
    R.QUOTE_ASSET_UNPRICED: "The exchange's index would have to price the quote asset.",
    R.CONFIDENCE_BELOW_LIMIT: "The model would have to be surer, or risk.global_min_confidence lower.",
    R.LEVERAGE_EXCEEDS_LIMIT: "The decision would have to ask for less leverage, or risk.max_leverage allow it.",
    R.LEVERAGE_MISMATCH: "The exchange would have to set the leverage that is asked for.",
    R.MARGIN_TYPE_MISMATCH: "The symbol's margin type would have to be BINANCE_MARGIN_TYPE.",
    R.POSITION_MODE_MISMATCH: "The account would have to be in BINANCE_POSITION_MODE.",
    R.KEY_MAY_WITHDRAW: "The API key would have to be one that may not withdraw.",
    R.KEY_MAY_TRANSFER: "The API key would have to be one that may not transfer.",
    R.KEY_NOT_IP_RESTRICTED: "The API key would have to be restricted to this service's address.",
    R.KEY_MAY_NOT_TRADE_FUTURES: "The API key would have to be allowed to trade futures.",
    R.ACCOUNT_MAY_NOT_TRADE: "The exchange would have to let the account trade.",
    R.NOTIONAL_EXCEEDS_LIMIT: "The order would have to be smaller, or risk.max_order_notional_usd larger.",
    R.PRICE_OUT_OF_BOUNDS: "The limit price would have to lie within the exchange's bounds.",
    R.PRICE_BEYOND_COLLAR: "The price to pay would have to be nearer to the mark price.",
    R.POSITIONS_EXCEED_LIMIT: "A position would have to close first, or risk.max_positions be larger.",
    R.SYMBOL_EXPOSURE_EXCEEDS_LIMIT: "Less would have to be open in the symbol, or the order be smaller.",
    R.TOTAL_EXPOSURE_EXCEEDS_LIMIT: "Less would have to be open, or the order be smaller.",
    R.ENTRIES_EXCEED_RATE: "Fewer entries would have to be approved in the minute before it.",
    R.OPEN_RISK_EXCEEDS_LIMIT: "The stops would have to risk less: this order's smaller size or nearer stop does that.",
    R.DAILY_LOSS_EXCEEDS_LIMIT: "Today's loss and the open stops would have to add up to less.",
    R.DRAWDOWN_EXCEEDS_LIMIT: "Today's result would have to be nearer to its best.",
    R.LOOK_ALIKE_DECISION: "It would have to differ from the one before, or come after risk.look_alike_window_sec.",
    R.SYMBOL_PAUSED_AFTER_STOP: "The pause after the symbol's last stop would have to be over.",
    R.STOP_ON_WRONG_SIDE: "The stop would have to lie on the losing side of the entry.",
    R.STOP_REQUIRED: "The decision would have to bring a stop, or the policy a default for one.",
    R.STOP_TOO_FAR: "The stop would have to be nearer to the entry, or execution.max_sl_distance_pct larger.",
    R.STOP_BEYOND_LIQUIDATION: "The stop would have to be nearer, or the leverage lower.",
    R.TARGET_ON_WRONG_SIDE: "The target would have to lie on the winning side of the entry.",
    R.TRAILING_OUT_OF_BOUNDS: "The trailing stop's distance would have to lie within the exchange's bounds.",
    R.QUANTITY_BELOW_MINIMUM: "The order would have to be larger.",
    R.QUANTITY_ABOVE_MAXIMUM: "The order would have to be smaller.",
    R.EXITS_NOT_PLACEABLE: "Fewer exit orders would have to be enough: a smaller size or fewer targets do that.",
    R.NOTIONAL_BELOW_MINIMUM: "The order would have to be worth more.",
    R.OPEN_TRADE_EXISTS: "The symbol's open trade would have to end first.",
    R.ENTRY_UNSETTLED: "Evidence would have to settle the symbol's earlier entry first.",
    R.POLICY_CHANGED: "The policy would have to stay as it was at the approval.",
    R.POLICY_UNUSABLE: "The stored policy value would have to be repaired (`./service quarantine`).",
    R.MARKET_DATA_UNAVAILABLE: "The book would have to show a price.",
    R.ACCOUNT_LEASED_BY_OTHERS: "The other stack would have to stop trading this account.",
    R.FOREIGN_ORDERS: "The unknown orders under our prefix would have to be explained or cancelled.",
    R.POSITION_NOT_OURS: "The other client's position in the symbol would have to end, or be adopted.",
    R.EXCHANGE_REJECTED: "The exchange would have to accept the order: its code and message name why it did not.",
    R.POST_ONLY_WOULD_TAKE: "The limit price would have to stay behind the best price of the other side.",
    R.FOK_NOT_FILLABLE: "The book would have to hold all of the order at its limit.",
    R.OUTCOME_UNKNOWN: "The exchange's answer would have to arrive.",
    R.ABSENCE_PROVEN: "The order would have to reach the exchange.",
    R.ENDED_UNSEEN: "The order would have to fill while the exchange still keeps it.",
    R.WRITTEN_OFF: "The exchange would have to have the position: an operator has written it off.",
    R.ENTRY_ENDED_WITHOUT_FILL: "The market would have to reach the entry's price.",
    R.ENTRY_EXPIRED: "The market would have to reach the entry's price sooner, or the entry rest for longer.",
    R.RATE_LIMIT_WAIT_EXCEEDED: "The rate limit would have to have room in time.",
    R.CIRCUIT_OPEN: "The line to the exchange would have to work.",
    R.SENT_TOO_LATE: "The process would have to run without standing still.",
}


def remedy(code: str, reason: str) -> str:
    """Return what would have to be different, with bound and value where the reason has them.

    Empty for a code without a remedy.
    """
    if code not in REMEDIES:
        return ""
    found = NUMBERS.search(reason)
    if found is None:
        return REMEDIES[Reason(code)]
    bound = f"{SIGNS[found['sign']]} {found['bound']}"
    return f"{REMEDIES[Reason(code)]} The rule asks for {bound}, and the value was {found['actual']}."
