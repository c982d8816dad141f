"""Accounts for tests: the real ones over a file of their own, with a bcrypt that is cheap."""

from __future__ import annotations

from pathlib import Path

import bcrypt

from desk.accounts import Accounts
from desk.authority import Role
from desk.passwords import Passwords
from domain.clock import Clock
from etrade.vault import file_key

PASSWORD = "violet kettle march nine"
OTHER = "seven copper lanterns"


class QuickPasswords(Passwords):
    """The least cost bcrypt knows; and what each comparison cost, in order."""

    least_cost = 4

    def __init__(self) -> None:
        self.costs: list[int] = []

    def fits(self, password: str, hash_: str) -> bool:
        self.costs.append(int(hash_[4:6]))
        return super().fits(password, hash_)

    def _hash(self, password: str) -> str:
        return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def accounts_in(folder: Path, clock: Clock | None = None, passwords: Passwords | None = None) -> Accounts:
    """The accounts of this folder; again for another process, or after a restart."""
    return Accounts(
        f"sqlite:///{folder / 'accounts.db'}",
        clock,
        credentials=folder / "secrets.toml",
        passwords=passwords or QuickPasswords(),
        key_source=file_key,
    )


def with_people(folder: Path, clock: Clock | None = None) -> Accounts:
    """One of each role: olga owns, tim trades, vera views."""
    accounts = accounts_in(folder, clock)
    for name, role in (("olga", Role.OWNER), ("tim", Role.TRADER), ("vera", Role.VIEWER)):
        accounts.add(name, PASSWORD, role, by="console")
    return accounts
