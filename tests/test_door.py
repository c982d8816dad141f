"""desk/door.py: where the desk may be reached from, and what it says where it may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import streamlit as st

from desk.door import OPEN_HERE, Door, check, is_loopback
from domain.errors import SettingsError

HERE = Door("127.0.0.1", hosts=("localhost", "127.0.0.1"))
PROXIED = replace(HERE, public_url="https://desk.example.com", hosts=("localhost", "desk.example.com"))
WITH_TLS = replace(HERE, address="0.0.0.0", tls=True, hosts=("desk.local",))


def test_the_settings_that_ship_open_for_this_machine_and_say_so() -> None:
    assert check(Door.of(st.get_option), accounts=False) == OPEN_HERE


@pytest.mark.parametrize(
    ("door", "accounts"),
    [(HERE, True), (replace(HERE, address="::1"), True), (PROXIED, True), (WITH_TLS, True)],
    ids=["here", "here by IPv6", "behind a proxy", "with a certificate"],
)
def test_a_desk_that_asks_people_to_sign_in_opens(door: Door, accounts: bool) -> None:
    assert check(door, accounts=accounts) == ""


@pytest.mark.parametrize(
    ("door", "accounts", "said"),
    [
        (replace(HERE, address="0.0.0.0"), False, "reached at 0.0.0.0 and has no account: `make owner`"),
        (replace(HERE, address=""), False, "every address of this machine and has no account"),
        (replace(HERE, address="192.168.1.5"), False, "has no account"),
        (WITH_TLS, False, "has no account"),
        (PROXIED, False, "reached at https://desk.example.com and has no account"),
        (replace(HERE, address="0.0.0.0"), True, "without encryption.*PUBLIC_URL=https"),
        (replace(HERE, address="my-laptop.lan"), True, "without encryption"),
        (replace(PROXIED, address="0.0.0.0"), True, "listens in the clear on 0.0.0.0 too"),
        (replace(PROXIED, hosts=("localhost",)), True, "allowedHosts does not name desk.example.com"),
        (replace(HERE, hosts=()), False, "server.allowedHosts must list the names"),
        (replace(HERE, hosts=("*",)), True, "server.allowedHosts must list the names"),
        (replace(HERE, cors=False), False, "server.enableCORS"),
        (replace(HERE, xsrf=False), True, "server.enableXsrfProtection"),
        (replace(HERE, agent=True), True, "server.enableAgentApi"),
    ],
)
def test_a_door_left_open_is_refused_with_the_cure(door: Door, accounts: bool, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        check(door, accounts=accounts)


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("localhost", True),
        ("LOCALHOST", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:192.0.2.1", False),
        ("0.0.0.0", False),
        ("::", False),
        ("", False),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("2130706433", False),
    ],
)
def test_only_this_machine_is_this_machine(address: str, here: bool) -> None:
    assert is_loopback(address) is here


def test_cookies_ask_for_https_where_browsers_come_by_it() -> None:
    assert [door.secure for door in (HERE, PROXIED, WITH_TLS)] == [False, True, True]
