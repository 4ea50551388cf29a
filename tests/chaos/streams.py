"""The names on the bus, as the neighbours know them."""

PREFIX = "quantum:stream:"
# What we read there; everything else under the prefix is ours.
INCOMING = frozenset({"ai.decision.made", "signal.execute", "ess.tripped", "policy.updated", "model.promoted"})
