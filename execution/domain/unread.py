"""Names in an order that no field reads: which was meant, and whether it may change the order.

A producer on the bus may send fields of its own. What closes, reduces, tests, limits or protects is none of them, in
whatever spelling: an order that is carried out without it is another order than the one that was sent.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from execution.domain import bounds
from execution.domain.trading import DIRECTIONS

# How the words of a name begin, and words that are too short for that.
BEGINNINGS = (
    *("clos", "reduc", "exit", "flat", "unwind", "liquidat", "cut", "decreas", "increas", "scale", "cancel", "replac"),
    *("dry", "test", "simul", "paper", "sandbox", "preview", "valid", "shadow", "skip", "ignor", "disabl", "noop"),
    *("limit", "ordertype", "timeinforce", "postonly", "maker", "expir", "iceberg", "only", "trigger", "activat"),
    *("stop", "profit", "target", "trail", "callback", "protect", "bracket", "breakeven", "take", "hedge", "execinst"),
    *("price", "side", "action", "direction", "positionside", "leverage", "margin", "quantity", "amount", "notional"),
)
WHOLE_WORDS = frozenset(
    {"sl", "tp", "be", "qty", "size", "type", "tif", "gtc", "gtd", "gtx", "ioc", "fok", "ttl", "oco", "exec"}
    | {"buy", "sell", "long", "short", "hold", "add", "post"}
)
# In a name that is written without a break.
ANYWHERE = (
    *("close", "closing", "reduc", "flatten", "dryrun", "testnet", "simulat", "limit", "price", "ordertype"),
    *("stoploss", "takeprofit", "target", "trail", "trigger", "protect", "leverage", "quantity", "qty"),
)
# Facts about the market or the model, although their names have such words.
HARMLESS = frozenset({"ensembleconfidence", "modeltype", "signaltype"}) | {
    f"{kind}price" for kind in ("current", "mark", "index", "last", "signal", "predicted", "reference", "close")
}
# They say something where they are false: `execute: false`.
CONSENTS = ("execut", "enabl", "active", "live", "trade", "trading", "send", "submit", "place", "real")
# Which way: what repeats the side changes nothing.
SIDES = frozenset({"side", "action", "direction", "positionside", "orderside"})
# Words about the whole order, where they are texts.
VERBS = frozenset({"signal", "intent", "decision", "command", "cmd", "operation", "op", "order", "trade", "position"})
TYPES = frozenset({"type", "ordertype", "kind", "orderkind"})
# Values that give an order another meaning, whatever the field is called.
DEEDS = re.compile(r"(close|exit|flat|flatten|reduce|cancel|unwind|cover|liquidate|dryrun|test|paper|simulat)\w{0,12}")
# Objects in which clients of exchanges put such fields.
WRAPPERS = frozenset(
    {"params", "options", "flags", "extra", "config", "instructions", "orderparams", "execution", "order"}
)
# A misspelt name is compared with those of the fields and these.
DANGEROUS = ("reduce_only", "close_position", "dry_run", "order_type", "time_in_force", "post_only", "position_side")
# Fields whose misspelling is only a note that is lost.
NOTES = frozenset(
    {"model", "strategy", "meta_strategy", "regime", "confidence", "metadata", "requested_by", "timestamp"}
)
EMPTY = frozenset({"", "none", "null", "nil"})
NO = EMPTY | {"0", "false", "no", "off", "n", "f"}
NEAR, VERY_NEAR = 0.7, 0.8


@dataclass(frozen=True, kw_only=True)
class ReadFields:
    """The fields of an order that are read.

    `known`: their names. `side`: its side as it was sent. `limit`: whether it has a limit price.
    """

    known: frozenset[str]
    side: object
    limit: bool


def letters(name: str) -> str:
    """Return a name without its spelling: `reduceOnly`, `REDUCE-ONLY` and `reduce only` are one."""
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", name)).casefold()


def nearest(name: str, known: Iterable[str], *, cutoff: float = NEAR) -> str | None:
    """Return the known name that is most like this one, or None when none is."""
    spelt = {letters(each): each for each in sorted(known)}
    found = get_close_matches(letters(name), spelt, n=1, cutoff=cutoff)
    return spelt[found[0]] if found else None


def not_known(name: str, known: Iterable[str]) -> str:
    """Return the rule that an unknown field breaks, with the name that was probably meant."""
    meant = nearest(name, known)
    return f"is not known; did you mean {meant}?" if meant else "is not known"


def not_read(payload: Mapping[str, object], fields: ReadFields) -> Iterator[tuple[str, str]]:
    """Yield each field that is not read and may change what the order means, with the rule that it breaks."""
    for name, value in payload.items():
        if name in fields.known:
            continue
        if isinstance(value, Mapping) and letters(name) in WRAPPERS:
            inside = ReadFields(known=frozenset(), side=fields.side, limit=fields.limit)
            yield from ((f"{name}.{inner}", rule) for inner, rule in not_read(value, inside))
        elif rule := _broken_rule(name, value, fields):
            yield name, rule


def _broken_rule(name: str, value: object, fields: ReadFields) -> str | None:
    spelt, word = letters(name), _word(value)
    if spelt in SIDES or (spelt in VERBS and (word in DIRECTIONS or DEEDS.fullmatch(letters(word)))):
        return None if word in EMPTY else _side_rule(word, fields)
    if spelt in TYPES and isinstance(value, str):
        return None if word in EMPTY else _type_rule(word, fields)
    changes = _refuses_consent(value) if _is_consent(name) else _changes_the_meaning(name, value, fields)
    return f"{not_known(name, fields.known)}; it may change what the order means" if changes else None


def _side_rule(word: str, fields: ReadFields) -> str | None:
    if word == "both" or (word in DIRECTIONS and DIRECTIONS[word] is DIRECTIONS.get(_word(fields.side))):
        return None
    return f"contradicts side: {word[:40]!r} is not {_word(fields.side)[:40]!r}"


def _type_rule(word: str, fields: ReadFields) -> str | None:
    expected = "limit" if fields.limit else "market"
    if word == expected:
        return None
    return f"must be {expected}: an order with{'' if fields.limit else 'out'} a price is a {expected} order"


def _is_consent(name: str) -> bool:
    return any(word.startswith(CONSENTS) for word in _words(name)) and not _has_a_dangerous_word(name)


def _refuses_consent(value: object) -> bool:
    """Whether a field that would consent refuses. A text that is no answer is compared with the deeds."""
    if isinstance(value, str):
        return _word(value) in NO - EMPTY or _is_zero(value) or _is_a_deed(value)
    return value is not None and not value and not isinstance(value, list | Mapping)


def _changes_the_meaning(name: str, value: object, fields: ReadFields) -> bool:
    if _is_empty(value) or letters(name) in HARMLESS:
        return False
    if letters(name) in WRAPPERS or _has_a_dangerous_word(name) or _is_a_deed(value):
        return True
    return nearest(name, (fields.known - NOTES) | {*DANGEROUS}, cutoff=VERY_NEAR) is not None


def _has_a_dangerous_word(name: str) -> bool:
    named = any(word in WHOLE_WORDS or word.startswith(BEGINNINGS) for word in _words(name))
    return named or any(part in letters(name) for part in ANYWHERE)


def _is_a_deed(value: object) -> bool:
    return isinstance(value, str) and DEEDS.fullmatch(letters(value)) is not None


def _words(name: str) -> list[str]:
    """Return the words of a name: `closePosition`, `close_position` and `close.position` have two."""
    broken = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", unicodedata.normalize("NFKC", name))
    return [word.casefold() for word in re.split(r"[\W_]+", broken) if word]


def _is_empty(value: object) -> bool:
    if isinstance(value, str):
        return _word(value) in NO or _is_zero(value)
    return not value


def _is_zero(text: str) -> bool:
    try:
        return bounds.number_of(text) == 0
    except ValueError:
        return False


def _word(value: object) -> str:
    return value.strip().casefold() if isinstance(value, str) else "" if value is None else str(value).casefold()
