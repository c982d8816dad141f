"""Who may ask for what: roles, one table, and the engine's ruling on each command.

The rule: whatever is not granted here is refused. A command names its actor by a reference; who that is, and in which
role, is looked up in the accounts, never taken from what was asked.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

from domain.commands import Kind
from domain.errors import DeskError

LOCAL_OWNER = "owner"
NOW = timedelta(0)
_log = logging.getLogger("engine")


class Role(StrEnum):
    """From the least to the most."""

    VIEWER = "viewer"
    TRADER = "trader"
    OWNER = "owner"


class Deed(StrEnum):
    """What a page does by itself, without a command."""

    LOOK = "look"
    OWN_CHOICES = "change colours, watch list and subscriptions of one's own"
    RESEARCH = "run a backtest or train a model"
    MODELS = "release or remove a model"
    DATA_SOURCE = "choose the data source"
    KEYS = "change keys"
    CHANNELS = "change how people are told"
    PEOPLE = "change people and roles"
    BACKUPS = "make and read backups"


_TRADES = frozenset(
    {
        Kind.PREVIEW,
        Kind.PLACE,
        Kind.CANCEL,
        Kind.CANCEL_ALL,
        Kind.CHANGE,
        Kind.CLOSE,
        Kind.PROTECT,
        Kind.KILL,
        Kind.DISARM,
        Kind.ADOPT,
        Kind.RETIRE,
        Kind.PROMOTE,
        Kind.DEMOTE,
        Kind.PAUSE_STRATEGY,
        Kind.RESUME_STRATEGY,
    }
)
# What lifts a limit, opens the way to real money, or overrules the ledger.
_GOVERNS = frozenset(
    {
        Kind.RE_ARM,
        Kind.RESET_BREAKER,
        Kind.SET_LIMIT,
        Kind.SIGN_IN,
        Kind.PICK_ACCOUNT,
        Kind.ARM,
        Kind.ACCEPT,
        Kind.SETTLE,
    }
)
MAY: dict[Role, frozenset[Kind]] = {
    Role.VIEWER: frozenset(),
    Role.TRADER: _TRADES,
    Role.OWNER: _TRADES | _GOVERNS,
}
_LOOKS = frozenset({Deed.LOOK, Deed.OWN_CHOICES})
DEEDS: dict[Role, frozenset[Deed]] = {
    Role.VIEWER: _LOOKS,
    Role.TRADER: _LOOKS | {Deed.RESEARCH},
    Role.OWNER: frozenset(Deed),
}
# What stops asks for no password: from a screen left alone, and from this machine's command line.
STOPS = frozenset({Kind.KILL, Kind.DISARM})
WITH_A_CODE = frozenset({Kind.ARM})


class Known(Protocol):
    """Somebody who is signed in, as the accounts have it."""

    @property
    def name(self) -> str: ...
    @property
    def role(self) -> Role: ...
    @property
    def idle(self) -> bool: ...


class Register(Protocol):
    """What the ruling needs of the accounts (`desk.accounts.Accounts`)."""

    def any(self) -> bool:
        """Whether there is any account at all."""
        ...

    def of_actor(self, actor: str, age: timedelta) -> Known | None:
        """Who stands behind a reference that was used `age` ago; None where its sign-in is over or never was."""
        ...

    def was(self, actor: str, age: timedelta) -> Known | None:
        """Who stood behind it then, though the sign-in may be over by now."""
        ...

    def role_of(self, name: str) -> Role | None:
        """The role of an account in use; None for every other name."""
        ...

    def take_confirmation(self, actor: str, age: timedelta) -> bool:
        """Whether a one-time code was given for this just before it was asked. A confirmation is good once."""
        ...


@dataclass(frozen=True, slots=True)
class Ruling:
    """Whether it is allowed, the person's name for the books, and, where refused, a sentence."""

    allowed: bool
    name: str
    said: str = ""


class Authority:
    """Rules on commands. Without a register, or with an empty one, this machine's owner may everything and nobody else
    anything; from the first account on, only who is signed in."""

    def __init__(self, register: Register | None = None) -> None:
        self._register = register

    def rule(self, actor: str, kind: Kind, age: timedelta = NOW) -> Ruling:
        """Whether `actor` may have `kind` done, which was asked `age` ago. It never raises: what cannot be looked up is
        refused, unless it stops the desk and somebody signed in asks."""
        try:
            return self._rule(actor, kind, age)
        except Exception as error:  # noqa: BLE001 - whatever broke, it is refused
            _log.exception("who asks for %s cannot be looked up", kind)
            if kind in STOPS and all(actor.partition("/")):  # a desk that trades on is worse than one that was stopped
                return Ruling(True, name_of(actor))
            said = str(error) if isinstance(error, DeskError) else "the engine's log says why"
            return Ruling(False, name_of(actor), f"Who asks cannot be looked up, so nothing is done: {said}")

    def still(self, name: str, kind: Kind) -> bool:
        """Whether what `name` began may go on: an adopted strategy trades for who adopted it, long after the sign-in.
        What the local owner began before there were accounts goes on. It never raises."""
        try:
            register = self._register
            if name == LOCAL_OWNER or register is None:
                return name == LOCAL_OWNER
            role = register.role_of(name)
            return role is not None and kind in MAY[role]
        except Exception:  # noqa: BLE001 - whatever broke, it is refused
            _log.exception("whether %s may still %s cannot be looked up", name, kind)
            return False

    def owns(self, name: str) -> bool:
        """Whether `name`, whose command was let through, is an owner: what a trader may ask for on paper, only an owner
        may with real money. It never raises."""
        try:
            if name == LOCAL_OWNER or self._register is None:
                return name == LOCAL_OWNER
            return self._register.role_of(name) is Role.OWNER
        except Exception:  # noqa: BLE001 - whatever broke, it is refused
            _log.exception("whether %s is an owner cannot be looked up", name)
            return False

    def _rule(self, actor: str, kind: Kind, age: timedelta) -> Ruling:
        name, register = name_of(actor), self._register
        if actor == LOCAL_OWNER and kind in STOPS:
            return Ruling(True, name)
        if register is None or not register.any():
            return _granted(actor == LOCAL_OWNER, name, kind, "ask the owner for the role that may.")
        if actor == LOCAL_OWNER:
            return _granted(False, name, kind, "this desk has accounts. Sign in under one's own name.")
        known = register.of_actor(actor, age)
        if known is None and kind in STOPS:
            known = register.was(actor, age)  # who stops the desk and signs out has stopped it
        if known is None:
            return _granted(False, name, kind, "that sign-in is over. Sign in and ask again.")
        if kind not in MAY[known.role]:
            return _granted(False, name, kind, f"the role is {known.role}. Ask the owner for the role that may.")
        if known.idle and kind not in STOPS:
            return _granted(False, name, kind, "nothing was pressed for 15 minutes. Sign in again to trade.")
        if kind in WITH_A_CODE and not register.take_confirmation(actor, age):
            return _granted(False, name, kind, "give a fresh one-time code first (Settings, Trading).")
        return Ruling(True, name)


def name_of(actor: str) -> str:
    """The person behind a reference, without the sign-in: `ada` of `ada/5f3c…`."""
    return actor.split("/", 1)[0]


def _granted(allowed: bool, name: str, kind: Kind, cure: str) -> Ruling:
    return Ruling(allowed, name, "" if allowed else f"{name} may not {kind}: {cure}")
