"""Accounts in `.streamlit/secrets.toml`, in the shape streamlit-authenticator gives them:

    [credentials.usernames.ada]
    password = "$2b$12$…"            # python -m desk.accounts hash
    roles = ["trader"]               # viewer where there is none

The rule: hashes only, for its owner's eyes only. The file is read again when it changes; nothing is ever written to it.
"""

from __future__ import annotations

import os
import stat
import threading
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from desk.authority import Role
from desk.known import Account, check_name
from desk.passwords import cost_of
from domain.errors import AccountError, SettingsError

WHERE = Path(".streamlit/secrets.toml")
HASH_IT = "`python -m desk.accounts hash` makes the hash to write there"
MOST_COST = 15  # beyond it a sign-in takes seconds, on purpose or not


class Credentials:
    """The accounts of one such file; none where there is no file, or no credentials in it."""

    def __init__(self, path: Path, least_cost: int) -> None:
        self._path, self._least = path, least_cost
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] = ()
        self._kept: dict[str, Account] = {}

    def read(self) -> dict[str, Account]:
        """By name. SettingsError names what is wrong and the cure; then nobody comes in by this file."""
        with self._lock:
            try:
                found = self._path.stat()
            except FileNotFoundError:
                return {}
            except OSError as error:
                raise SettingsError(f"{self._path}: cannot be read ({error.strerror})") from None
            seen = (found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode)
            if seen != self._seen:
                self._kept, self._seen = self._parsed(found.st_mode), seen
            return self._kept

    def _parsed(self, mode: int) -> dict[str, Account]:
        self._seen = ()
        try:
            whole = tomllib.loads(self._path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            raise SettingsError(f"{self._path}: is not TOML that can be read") from None
        people = _table(_table(whole, "credentials", self._path), "usernames", self._path)
        if people and os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise SettingsError(f"{self._path}: others may read the accounts in it; chmod 600 {self._path}")
        return {a.name: a for a in (self._account(name, _table(people, name, self._path)) for name in people)}

    def _account(self, name: str, about: Mapping[str, Any]) -> Account:
        where = f"{self._path}: credentials.usernames.{name}"
        try:
            name = check_name(name)
        except AccountError as error:
            raise SettingsError(f"{where}: {error}") from None
        cost = cost_of(str(about.get("password", "")))
        if not cost:
            raise SettingsError(f"{where}: password is no bcrypt hash, and none lies here in the clear; {HASH_IT}")
        if not self._least <= cost <= MOST_COST:
            raise SettingsError(f"{where}: bcrypt cost {cost} is not {self._least} to {MOST_COST}; {HASH_IT}")
        return Account(name, _role(about.get("roles"), where), str(about["password"]), source=self._path.name)


def _role(told: object, where: str) -> Role:
    """The highest of the roles; viewer where none is told."""
    roles = list(Role)
    try:
        found = [Role(str(one)) for one in (told if isinstance(told, list) else [told or Role.VIEWER])]
    except ValueError:
        raise SettingsError(f"{where}: roles are {', '.join(roles)}: got {told!r}") from None
    return max(found, key=roles.index, default=Role.VIEWER)


def _table(whole: Mapping[str, Any], name: str, path: Path) -> Mapping[str, Any]:
    found = whole.get(name, {})
    if not isinstance(found, Mapping):
        raise SettingsError(f"{path}: {name} is not a table")
    return found
