r"""One parser for the addresses of neighbours: what was checked is, character by character, what the clients use.

URL libraries disagree about odd addresses: for `http://evil.example\@127.0.0.1` one names the host before the
backslash, another the one behind the at sign. So everything that two of them could read differently is refused here,
and the clients get the address that this module has written anew. What a host name resolves to is checked at connect,
by the rules at the end.
"""

import ipaddress
import re
from dataclasses import dataclass

ADDRESS = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>/.*)?",
    re.ASCII,
)
LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
# The last label of a name must not look like a number: some libraries read 127.1, 0x7f.1 or 2130706433 as an address.
NUMERIC = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
LONGEST = 200
HIGHEST_PORT = 65_535
# Where clouds keep the credentials of a machine, beside the link-local addresses.
METADATA = frozenset({"100.100.100.200", "fd00:ec2::254"})
METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, kw_only=True)
class ServiceAddress:
    """Scheme, host, port and path of a neighbour; nothing else can be part of one."""

    scheme: str
    host: str
    port: int | None = None
    path: str = ""

    @property
    def url(self) -> str:
        """The address as the clients get it, without a slash at its end."""
        port = "" if self.port is None else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}{self.path}"


def parse_address(text: str, *, schemes: tuple[str, ...]) -> ServiceAddress:
    """Read an address.

    Raises:
        ValueError: it is not plainly `scheme://host[:port][/path]`; the message does not repeat what was given.

    """
    match = ADDRESS.fullmatch(text) if len(text) <= LONGEST else None
    if match is None or match["scheme"] not in schemes:
        raise ValueError(
            f"must be {' or '.join(f'{scheme}://' for scheme in schemes)}host[:port][/path] and nothing more"
        )
    path = match["path"] or ""
    if not PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ValueError("must have a path of letters, digits and . _ ~ - only")
    port = int(match["port"]) if match["port"] else None
    if port is not None and not 0 < port <= HIGHEST_PORT:
        raise ValueError(f"must have a port from 1 to {HIGHEST_PORT}")
    return ServiceAddress(scheme=match["scheme"], host=_host(match["host"]), port=port, path=path.rstrip("/"))


def _host(text: str) -> str:
    if text.startswith("["):
        return f"[{_ip_address(text[1:-1], ipaddress.IPv6Address)}]"
    labels = text.split(".")
    if not all(LABEL.fullmatch(label) for label in labels):
        raise ValueError("must have a host name of plain labels, without a dot at its end")
    return str(_ip_address(text, ipaddress.IPv4Address)) if NUMERIC.fullmatch(labels[-1]) else text.lower()


def _ip_address(text: str, kind: type[IpAddress]) -> IpAddress:
    try:
        address = kind(text)
    except ValueError:
        address = None
    # An IPv4 address in IPv6 form is a second name of the same host.
    if address is None or getattr(address, "ipv4_mapped", None):
        raise ValueError("must have an IP address in its usual form, such as 127.0.0.1 or [::1]")
    return address


def in_url(host: str) -> str:
    """Return a host as it stands in a URL or before a port: an IPv6 address in brackets."""
    bare = host.strip("[]")
    return f"[{bare}]" if ":" in bare else bare


def callable_host(host: str) -> str:
    """Return where a server is called on this machine that listens on `host`: every address is none to call."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host.strip("[]"), in_url(host))  # nosec B104


def is_loopback(host: str) -> bool:
    """Whether a host name or address can only mean this machine."""
    if host == "localhost":
        return True
    address = as_ip(host)
    return address is not None and address.is_loopback


def is_internal_door(host: str) -> bool:
    """Whether a host is no service's address: link-local (a cloud's credentials), unspecified or multicast."""
    address = as_ip(host)
    if address is None:
        return host in METADATA_NAMES
    return address.is_link_local or address.is_unspecified or address.is_multicast or str(address) in METADATA


def as_ip(host: str) -> IpAddress | None:
    """Return the IP address that a host is written as, an IPv4 one out of its IPv6 form; None for a name."""
    try:
        return unmapped(ipaddress.ip_address(host.strip("[]").partition("%")[0]))
    except ValueError:
        return None


def unmapped(address: IpAddress) -> IpAddress:
    """Return the IPv4 address that an IPv6 one only wraps; any other as it is."""
    return getattr(address, "ipv4_mapped", None) or address


def peer_may_be_any_service(peer: str) -> bool:
    """Rule for connections to neighbours: any peer that can be a service."""
    return not is_internal_door(peer)


def peer_is_this_machine(peer: str) -> bool:
    """Rule for connections to the paper exchange: whatever a name resolves to, the other end is on this machine."""
    address = as_ip(peer)
    return address is not None and address.is_loopback
