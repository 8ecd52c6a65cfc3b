"""Where a request comes from, and whether a key may be used from there (S-12)."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.types import Scope

from gateway_container.api.doors import Network
from gateway_container.api.headers import Headers
from gateway_container.api.problems import Problem

Address = IPv4Address | IPv6Address


def client_text(scope: Scope, headers: Headers, *, trust_proxy: bool) -> str:
    """The address as text: the peer, or the rightmost X-Forwarded-For entry, which our proxy wrote."""
    forwarded = headers.get(b"x-forwarded-for") if trust_proxy else None
    if forwarded is not None:
        return forwarded.rpartition(b",")[2].strip().decode("ascii", "replace")
    peer = scope.get("client")
    return str(peer[0]) if peer else ""


def parse_address(text: str) -> Address | None:
    """An address, or None. IPv4 inside IPv6 becomes IPv4, so that an allow-list means what it says."""
    try:
        address = ip_address(text.removeprefix("[").partition("]")[0])
    except ValueError:
        address = _without_port(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(text: str) -> Address | None:
    host, _, port = text.rpartition(":")
    try:
        return ip_address(host) if port.isdigit() and "." in host else None
    except ValueError:
        return None


def check_allowed(text: str, allow_list: Iterable[Network]) -> None:
    """Raise Problem unless the address lies in one of the networks."""
    address = parse_address(text)
    if address is None or not any(address in network for network in allow_list):
        raise Problem(
            "address-not-allowed", "This credential may not be used from your address; extend its allow-list."
        )


def is_loopback(text: str) -> bool:
    """True for this machine."""
    address = parse_address(text)
    return address is not None and address.is_loopback
