"""Which network addresses may be called on somebody's behalf: those of the public internet, and no others."""

from ipaddress import IPv6Address, ip_address


def is_public(text: str) -> bool:
    """Whether an IP address is one of the public internet; what cannot be read as one is not.

    Loopback, private, link-local (cloud metadata too), shared, reserved and multicast addresses are not, nor is an IPv6
    address that carries an IPv4 address inside (mapped, NAT64, 6to4, Teredo): it may lead to any of these.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.sixtofour or address.teredo):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
