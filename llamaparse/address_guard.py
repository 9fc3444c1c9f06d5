"""Which addresses may be connected to when a stranger names the URL (`source_url`, `callback_url`, `webhook_url`).

Refused, unless allow-listed: everything that IANA's registries of special-purpose addresses don't call globally
reachable, the clouds' metadata services, and IPv6 forms that carry such an IPv4 address. The check on a URL is an
early courtesy; what protects is the check on the very address that is then connected to (`llamaparse.transport`).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

import httpx

from domain.errors import BadSetting, OrderRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# https://www.iana.org/assignments/iana-ipv4-special-registry, spelled out: `ipaddress`'s own lists change with Python.
_REFUSED_V4: Final = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network, unspecified
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; Alibaba's metadata service
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's metadata and agent service, though it looks public
        "169.254.0.0/16",  # link-local; most clouds' metadata service
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_REFUSED_V6: Final = tuple(
    IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")

LONGEST_NAME: Final = 253
_HOST_NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", re.ASCII)
_NUMBER: Final = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)", re.ASCII)
"""What ends in a number is an address or nothing (https://url.spec.whatwg.org/#ends-in-a-number-checker): some
resolvers read one that is too large as a smaller one."""
_LOOPBACK: Final = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


def _embedded(address: Address) -> IPv4Address | None:
    """The IPv4 address that traffic to this IPv6 address ends at, if it is one of the forms that carry one."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def is_public(address: Address) -> bool:
    """Whether anyone on the internet could reach this address."""
    carried = _embedded(address)
    if carried is not None:
        return is_public(carried)
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _REFUSED_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _REFUSED_V6)


def _literal(host: str) -> Address | None:
    """The address that a host name spells, also as the C library reads it: ``127.1``, ``0x7f1``, ``2130706433``."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


class AddressGuard:
    """Says what may be reached.

    Args:
        allowed: host names, addresses and networks (CIDR) that may be reached though they are private.

    Raises:
        BadSetting: an entry is neither.
    """

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        names: set[str] = set()
        networks: list[Network] = []
        for entry in filter(None, (text.strip().lower().rstrip(".").strip("[]") for text in allowed)):
            try:
                networks.append(ip_network(entry, strict=False))
            except ValueError:
                if not _HOST_NAME.fullmatch(entry):
                    raise BadSetting(
                        f"PARSEGATE_PRIVATE_HOSTS: {entry!r} is not a host name, an address or a network"
                    ) from None
                names.add(entry)
        self._names = frozenset(names)
        self._networks = tuple(networks)

    def check_url(self, url: str) -> None:
        """Refuse what can be seen to be wrong without a look-up.

        Raises:
            OrderRefused: not an http or https URL, with a user name or password in it, or of a host that is private
                by its very spelling.
        """
        try:
            parsed = httpx.URL(url)
            # Only here is the name decoded, and what can't be is no name.
            _ = parsed.host
        except (httpx.InvalidURL, UnicodeError) as error:
            raise OrderRefused(f"the URL is malformed: {str(error)[:120]}") from None
        if parsed.scheme not in {"http", "https"}:
            raise OrderRefused("the URL must start with http:// or https://")
        if parsed.userinfo:
            raise OrderRefused("the URL must not hold a user name or password")
        if parsed.port is not None and not 0 < parsed.port < 65536:
            raise OrderRefused(f"the URL names port {parsed.port}, which does not exist")
        host = parsed.raw_host.decode("ascii").removesuffix(".")
        address = _literal(host)
        is_name = len(host) <= LONGEST_NAME and _HOST_NAME.fullmatch(host) and not _NUMBER.fullmatch(host)
        if address is None and not is_name:
            raise OrderRefused("the URL names no valid host")
        if host in self._names:
            return
        if host == "localhost" or host.endswith(".localhost"):
            refused = not any(self._allows(loopback) for loopback in _LOOPBACK)
        else:
            refused = address is not None and not self._allows(address)
        if refused:
            raise OrderRefused(self._sentence(host))

    def permitted(self, host: str, addresses: Sequence[str]) -> list[str]:
        """Those addresses of `host` that may be connected to, in their order.

        Raises:
            OrderRefused: none of them.
        """
        name = host.lower().removesuffix(".")
        if name in self._names:
            return list(addresses)
        good = [text for text in addresses if self._allows(ip_address(text))]
        if addresses and not good:
            raise OrderRefused(self._sentence(name))
        return good

    def _allows(self, address: Address) -> bool:
        # A zone (fe80::1%eth0) only ever stands with a link-local address, which is private.
        forms = [form for form in (address, _embedded(address)) if form is not None]
        return is_public(address) or any(form in network for form in forms for network in self._networks)

    @staticmethod
    def _sentence(host: str) -> str:
        return (
            f"the host {host} is private or reserved; an operator can allow it with the setting PARSEGATE_PRIVATE_HOSTS"
        )


def check_url(url: str, allowed: Sequence[str] = ()) -> None:
    """Refuse a URL of a stranger that is wrong or private by its spelling; see `AddressGuard.check_url`.

    Raises:
        OrderRefused: it is.
        BadSetting: an entry of `allowed` is malformed.
    """
    AddressGuard(allowed).check_url(url)
