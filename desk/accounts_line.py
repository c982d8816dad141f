"""`python -m desk.accounts`: people and roles from this machine's command line. Passwords are read from the terminal,
never from the command line, where every process of this machine could read them.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable

import settings as settings_file
from desk.accounts import Accounts
from desk.authority import LOCAL_OWNER, Role
from desk.known import check_name
from desk.passwords import Passwords, check
from desk.people import People
from domain.errors import AccountError, DeskError

CONSOLE = "console"
Ask = Callable[[str], str]


def main(
    arguments: list[str] | None = None,
    *,
    ask: Ask = input,
    ask_secret: Ask = getpass.getpass,
    passwords: Passwords | None = None,
) -> int:
    """0 where it was done, 2 where it was refused."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.do == "hash":
            print((passwords or Passwords()).hashed(_new_password(ask_secret)))
            return 0
        accounts = Accounts(settings_file.load().accounts_url, passwords=passwords)
        return _do(accounts, asked, ask, ask_secret)
    except DeskError as error:
        print(str(error), file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print("\nnothing was changed", file=sys.stderr)
        return 2


def actor_here(accounts: Accounts, *, ask: Ask = input, ask_secret: Ask = getpass.getpass) -> str:
    """Who a command of this machine's command line is from: its owner, or, where the desk has accounts, who signs in
    at the terminal now. WrongSignIn and LockedOut as at the desk's own page."""
    if not accounts.any():
        return LOCAL_OWNER
    signed = accounts.who(accounts.sign_in(ask("Name: "), ask_secret("Password: "), CONSOLE))
    if signed is None:
        raise AccountError("that sign-in was ended at once: ask an owner")
    return signed.actor


def _do(accounts: Accounts, asked: argparse.Namespace, ask: Ask, ask_secret: Ask) -> int:
    name = str(getattr(asked, "name", "") or "")
    match asked.do:
        case "owner" | "add":
            name = check_name(name or ask("Name to sign in with: "))
            if any(account.name == name for account in accounts.all()):
                raise AccountError(f"{name} has an account already: `password {name}` sets another password")
            role = Role.OWNER if asked.do == "owner" else Role(asked.role)
            made = accounts.add(name, _new_password(ask_secret, name), role, by=CONSOLE)
            print(f"{made.name} is {made.role} of this desk. From now on it asks everybody to sign in.")
        case "password":
            accounts.set_password(name, _new_password(ask_secret, name), by=CONSOLE)
            print(f"{name} has another password; every sign-in under the old one is over.")
        case "role":
            accounts.set_role(name, Role(asked.role), by=CONSOLE)
            print(f"{name} is {asked.role} now, from the next sign-in on.")
        case "suspend":
            accounts.suspend(name, by=CONSOLE)
            print(f"{name} is out, and stays out until `restore {name}`.")
        case "restore":
            accounts.restore(name, by=CONSOLE)
            print(f"{name} may sign in again.")
        case "remove":
            accounts.remove(name, by=CONSOLE)
            _people().forget(name)
            print(f"{name} has no account any more.")
        case "no-codes":
            accounts.forget_codes(name, by=CONSOLE)
            print(f"{name} has no one-time codes any more: they are set up anew in Settings.")
        case "sign-out":
            accounts.revoke_all("" if name == "everybody" else name, by=CONSOLE)
            print(f"{name}: every sign-in is over.")
        case "unlock":
            accounts.unlock(by=CONSOLE)
            print("Wrong attempts are forgotten.")
        case _:
            print(_listed(accounts))
    return 0


def _people() -> People:
    settings = settings_file.load()
    return People(settings.people_url, settings.watchlist)


def _new_password(ask_secret: Ask, name: str = "") -> str:
    password = ask_secret("Password (twelve characters or more; it is not shown): ")
    check(password, name)
    if ask_secret("The same again: ") != password:
        raise AccountError("the two are not the same: nothing was changed")
    return password


def _listed(accounts: Accounts) -> str:
    lines = []
    for account in accounts.all():
        inside = len(accounts.sign_ins(account.name))
        words = [account.role, f"{inside} signed in" if inside else "", "suspended" if account.suspended else ""]
        words += ["one-time codes" if accounts.has_codes(account.name) else "", account.source]
        lines.append(f"{account.name:20} {', '.join(word for word in words if word)}")
    return "\n".join(lines) or "no account yet: `python -m desk.accounts owner` makes the first"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m desk.accounts", description="Who may use this desk, and as what.", allow_abbrev=False
    )
    todo = parser.add_subparsers(dest="do", metavar="what")
    roles = [role.value for role in Role]
    todo.add_parser("owner", help="make an owner").add_argument("name", nargs="?")
    for what, said in (("add", "make an account"), ("role", "give another role")):
        one = todo.add_parser(what, help=said)
        one.add_argument("name")
        one.add_argument("role", choices=roles)
    for what, said in (
        ("password", "set another password"),
        ("suspend", "out at once, and not in again"),
        ("restore", "in again"),
        ("remove", "take the account away"),
        ("no-codes", "take one-time codes away, for a lost phone"),
        ("sign-out", "end every sign-in of a name, or of everybody"),
    ):
        todo.add_parser(what, help=said).add_argument("name")
    todo.add_parser("list", help="everybody (the default)")
    todo.add_parser("unlock", help="forget wrong attempts")
    todo.add_parser("hash", help="a hash to write into .streamlit/secrets.toml")
    return parser
