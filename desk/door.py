"""Where the desk may be reached from, decided before it opens.

The rule: without an account it opens for this machine alone. Reached from anywhere else it wants accounts, TLS or a
stated proxy that ends it, and the names it answers to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from domain.errors import SettingsError

CONFIG = ".streamlit/config.toml"
OPEN_HERE = "No account is set up: this desk opens for whoever sits at this machine. `make owner` makes it ask."


@dataclass(frozen=True, slots=True)
class Door:
    """How the server was told to listen. `address`: '' for every one; `public_url`: what people type, where a proxy
    stands in front and ends TLS; `hosts`: the names it answers to."""

    address: str
    tls: bool = False
    public_url: str = ""
    hosts: Sequence[str] = ()
    cors: bool = True
    xsrf: bool = True
    agent: bool = False

    @classmethod
    def of(cls, option: Callable[[str], Any], public_url: str = "") -> Door:
        """As Streamlit's options (`st.get_option`) have it."""
        return cls(
            address=str(option("server.address") or ""),
            tls=bool(option("server.sslCertFile") and option("server.sslKeyFile")),
            public_url=public_url,
            hosts=tuple(option("server.allowedHosts") or ()),
            cors=bool(option("server.enableCORS")),
            xsrf=bool(option("server.enableXsrfProtection")),
            agent=bool(option("server.enableAgentApi")),
        )

    @property
    def only_here(self) -> bool:
        """Whether nobody but this machine can reach it."""
        return is_loopback(self.address) and not self.public_url

    @property
    def secure(self) -> bool:
        """Whether browsers come by https, so that a cookie may ask for it."""
        return self.tls or bool(self.public_url)


def check(door: Door, *, accounts: bool) -> str:
    """What to say at the start ('' for nothing). SettingsError says why the desk does not open, and the cure."""
    if not (door.cors and door.xsrf) or door.agent:
        raise SettingsError(
            f"server.enableCORS and server.enableXsrfProtection stay on and server.enableAgentApi stays off: "
            f"another web site could press this desk's buttons. Mend {CONFIG} or the command line."
        )
    if not door.hosts or "*" in door.hosts:
        raise SettingsError(
            f"server.allowedHosts must list the names this desk answers to, without *: write them into {CONFIG}."
        )
    if door.only_here:
        return "" if accounts else OPEN_HERE
    where = door.public_url or f"{door.address or 'every address of this machine'}"
    if not accounts:
        raise SettingsError(
            f"the desk would be reached at {where} and has no account: `make owner` makes one; or listen on "
            f'127.0.0.1 alone (server.address = "127.0.0.1" in {CONFIG}, no PUBLIC_URL).'
        )
    if not door.secure:
        raise SettingsError(
            f"the desk would be reached at {where} without encryption, passwords readable on the way: put a proxy "
            "with TLS in front, listen on 127.0.0.1 and set PUBLIC_URL=https://…; or set server.sslCertFile and "
            "server.sslKeyFile."
        )
    if door.public_url and not is_loopback(door.address) and not door.tls:
        raise SettingsError(
            f"PUBLIC_URL says that a proxy ends TLS, yet the desk listens in the clear on {door.address or 'all'} too: "
            f'listen where only the proxy comes (server.address = "127.0.0.1" in {CONFIG}).'
        )
    if door.public_url and (urlsplit(door.public_url).hostname or "") not in door.hosts:
        raise SettingsError(
            f"server.allowedHosts does not name {urlsplit(door.public_url).hostname}, which PUBLIC_URL says people "
            f"type: add it in {CONFIG}."
        )
    return ""


def is_loopback(address: str) -> bool:
    """Whether only this machine can come from, or to, this address. A name other than localhost is not believed."""
    if address.casefold() == "localhost":
        return True
    try:
        found = ip_address(address.strip("[]"))
    except ValueError:
        return False
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback
