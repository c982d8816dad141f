"""Passwords: what one must be, and bcrypt by way of streamlit-authenticator's `Hasher`.

The rule: a sign-in costs one bcrypt of the same cost whoever asks, so that time tells nobody which names exist. The
cost is not a setting: no environment can make it cheap.
"""

from __future__ import annotations

import functools
import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

from domain.errors import AccountError

LEAST_COST = 12
LEAST_CHARACTERS, MOST_BYTES, LEAST_DIFFERENT = 12, 72, 6
_HASH = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_ROWS = ("qwertyuiopasdfghjklzxcvbnm", "qwertzuiopasdfghjklyxcvbnm", "azertyuiopqsdfghjklmwxcvbn", "1234567890")
_COMMON = frozenset(
    {
        "password",
        "passwordpassword",
        "passwort",
        "changeme",
        "changemenow",
        "letmein",
        "letmeinletmein",
        "iloveyou",
        "administrator",
        "welcome",
        "correcthorsebatterystaple",
        "candlestick",
        "candlestickdesk",
        "etrade",
    }
)


class Passwords:
    """Hashes and compares. `least_cost`: the bcrypt cost below which no hash is believed."""

    least_cost = LEAST_COST

    def hashed(self, password: str, name: str = "") -> str:
        """The hash to keep; AccountError for a password that is too weak or too long."""
        check(password, name)
        return self._hash(password)

    def fits(self, password: str, hash_: str) -> bool:
        """Whether it is that password. One that could never be hashed (past 72 bytes) costs the same work."""
        sound = _sound(password)
        return bool(_hasher().check_pw(password if sound else "-", hash_)) and sound

    def decoy(self, cost: int) -> str:
        """A hash that no password fits, and that costs as much to compare with as any other of this cost."""
        return f"$2b${max(cost, self.least_cost):02}${'.' * 53}"

    def _hash(self, password: str) -> str:
        return str(_hasher().hash(password))


@functools.cache
def _hasher() -> Any:
    """The library's class from its own file: importing the package whole draws all of Streamlit into the engine."""
    package = importlib.util.find_spec("streamlit_authenticator")
    if package is None or package.origin is None:
        raise AccountError("streamlit-authenticator is not installed: pip install -r requirements.txt")
    path = Path(package.origin).parent / "utilities" / "hasher.py"
    spec = importlib.util.spec_from_file_location("streamlit_authenticator_hasher", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Hasher


def cost_of(hash_: str) -> int:
    """The bcrypt cost of a hash; 0 for what is none, such as a password in the clear."""
    found = _HASH.fullmatch(hash_)
    return int(found[1]) if found else 0


def check(password: str, name: str = "") -> None:
    """AccountError names the rule a password breaks."""
    if len(password) < LEAST_CHARACTERS:
        raise AccountError(f"a password has at least {LEAST_CHARACTERS} characters: four random words do well")
    if not _sound(password):
        raise AccountError(f"a password has at most {MOST_BYTES} bytes, all of them printable")
    plain = re.sub(r"[^a-z0-9]", "", password.casefold())
    letters = re.sub(r"[^a-z]", "", plain)
    if len(set(password)) < LEAST_DIFFERENT or letters in _COMMON or _follows(plain) or _row(letters or plain):
        raise AccountError("this password is among the first that are tried: choose four random words instead")
    if name and len(name) > 2 and name.casefold() in password.casefold():
        raise AccountError("a password may not contain the name it belongs to")


def _sound(password: str) -> bool:
    try:
        return password.isprintable() and len(password.encode()) <= MOST_BYTES
    except UnicodeEncodeError:  # half a character, as only JSON can say it
        return False


def _follows(text: str) -> bool:
    """abcdef, 987654: most characters are the one before, a step on."""
    steps = [ord(b) - ord(a) for a, b in pairwise(text)]
    return bool(steps) and max(steps.count(1), steps.count(-1), steps.count(0)) > 0.6 * len(steps)


def _row(text: str) -> bool:
    return len(text) > 4 and any(text in row * 3 or text[::-1] in row * 3 for row in _ROWS)
