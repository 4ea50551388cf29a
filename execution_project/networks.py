"""Addresses and networks as settings and headers spell them."""

import ipaddress
from collections.abc import Sequence

from execution_project.addresses import unmapped

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(text: str) -> tuple[Network, ...]:
    """Read addresses and networks, separated by commas.

    Raises:
        ValueError: one of them is neither; the message names it.

    """
    return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())


def is_within(address: str, trusted: Sequence[Network]) -> bool:
    """Whether an address as the socket or a header spells it lies in one of the networks."""
    try:
        found = unmapped(ipaddress.ip_address(address.strip()))
    except ValueError:
        return False
    return any(found in network for network in trusted)
