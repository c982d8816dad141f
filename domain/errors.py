"""Every error this project raises on purpose, by what to do next.

DeskError
├── SettingsError        fix a setting and restart
├── DataError            this bar, row or file is refused; the others go on
├── UnknownName          a name nobody knows; the message offers the nearest
├── FeedUnavailable      nothing was fetched; try again later, what is kept still stands
│   ├── FeedLimit        asked for more than the source gives; ask for less
│   └── FeedBusy         asked too often; nothing before `wait_s` seconds
├── BrokerUnavailable    nothing was sent; try again
├── SignInNeeded         a person must act
├── OrderRefused         the broker's final word
├── OrderAmbiguous       sent, no certain answer; reconcile before anything else
├── LeaseHeld            another engine acts on this ledger
│   └── Fenced           our lease went to another engine; stop acting, nothing was written
├── LedgerError          nothing was written
│   ├── LedgerMismatch   this ledger belongs to another desk or price source; open the right one
│   ├── LedgerConflict   it already says otherwise: a stale version, or one id with two contents
│   ├── LedgerBusy       another writer held it for too long; try again
│   └── LedgerUnusable   missing, damaged, full, read-only or of a newer version; a person must act
├── BackupError          no backup was made, or nothing was restored; what was there still is
├── AccountError         accounts and sign-ins: nothing was changed
│   ├── WrongSignIn      name, password or code do not fit; which of them is never said
│   └── LockedOut        too many wrong ones; not before `until`
├── AlertError           a message did not go out by this channel; others are not touched
│   ├── AlertRefused     this message will never be taken; go on with the next
│   ├── AlertLater       down, slow or too much at once; try again after so many seconds
│   └── AlertUnusable    its key, address or certificate is refused; a person must act
└── ModelError           a model that cannot be trusted
    ├── ModelMissing     no model of that name, version or alias; train one, or name another
    ├── ModelDamaged     its file is not what was saved; bring the copy back or use another version
    ├── CheckpointMismatch   this training is another than the one that was interrupted
    ├── TrainingDiverged     it cannot be learned from, or the loss is no number; nothing was saved
    └── TrainingStopped      somebody stopped it; its checkpoint goes on from there

A message names the thing, the rule and the cure.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import datetime


class DeskError(Exception):
    """Anything this project raises on purpose."""


class SettingsError(DeskError):
    """A setting is missing or wrong: fix it and restart."""


class DataError(DeskError, ValueError):
    """A bar, row or file breaks a rule: it is refused, the others go on."""


class UnknownName(DeskError, ValueError):
    """A name nobody knows."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> UnknownName:
        """Names what was asked for and offers the nearest of `known`, or the list where it is short."""
        known = list(known)
        near = difflib.get_close_matches(name.lower(), [k.lower() for k in known], n=1)
        spelled = {k.lower(): k for k in known}
        if near:
            return cls(f"no {kind} is called {name!r}. Did you mean {spelled[near[0]]!r}?")
        choices = ", ".join(sorted(known)[:12])
        return cls(f"no {kind} is called {name!r}. There are: {choices or 'none'}")


class FeedUnavailable(DeskError):
    """The source gave nothing: try again later; candles already kept still stand."""


class FeedLimit(FeedUnavailable):
    """The source does not go that far back or that fine: ask for less."""


class FeedBusy(FeedUnavailable):
    """The source was asked too often: not again for `wait_s` seconds, None where it named no time."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class BrokerUnavailable(DeskError):
    """Nothing was sent: it is safe to try again."""


class SignInNeeded(DeskError):
    """The broker wants a person to sign in."""


class OrderRefused(DeskError):
    """The broker's final no."""


class OrderAmbiguous(DeskError):
    """An order was sent and no certain answer came: reconcile, never repeat."""


class LeaseHeld(DeskError):
    """Another engine holds this ledger's lease."""


class Fenced(LeaseHeld):
    """Our lease passed to another engine: nothing was written, stop acting."""


class LedgerError(DeskError):
    """The ledger did not take it: nothing was written."""


class LedgerMismatch(LedgerError):
    """The ledger belongs to another desk or price source: open the right one."""


class LedgerConflict(LedgerError):
    """The ledger already says otherwise: a row changed since it was read, or one id carries two contents."""


class LedgerBusy(LedgerError):
    """Another writer held the ledger for too long: it is safe to try again."""


class LedgerUnusable(LedgerError):
    """The ledger is missing, damaged, full, read-only or of a newer version: a person must act."""


class BackupError(DeskError):
    """No backup was made, or nothing was restored: what was there before still is."""


class AccountError(DeskError):
    """An account, a password or a sign-in is not as it must be: nothing was changed."""


class WrongSignIn(AccountError):
    """Name, password or code do not fit; which of them is never said."""


class LockedOut(AccountError):
    """Too many wrong ones: nothing is tried before `until`, not even the right one."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"Too many attempts. Try again at {until:%H:%M:%S} UTC.")
        self.until = until


class AlertError(DeskError):
    """A message did not go out by this channel."""


class AlertRefused(AlertError):
    """The channel's final no to this one message: another may still go."""


class AlertLater(AlertError):
    """Nothing is wrong with the message: try again after `after_s` seconds (None: as the back-off says). `doubtful`:
    the line broke once it was on its way, so it may have arrived."""

    def __init__(self, said: str, after_s: float | None = None, *, doubtful: bool = False) -> None:
        super().__init__(said)
        self.after_s, self.doubtful = after_s, doubtful


class AlertUnusable(AlertError):
    """The channel takes nothing until a person mends its key, address or certificate; messages wait for that."""


class ModelError(DeskError):
    """A model file or its metadata cannot be trusted."""


class ModelMissing(ModelError):
    """There is no model of that name, version or alias."""


class ModelDamaged(ModelError):
    """A model's file is torn, was changed, or holds more than weights: it was not loaded."""


class CheckpointMismatch(ModelError):
    """A checkpoint belongs to a training with other data or options."""


class TrainingDiverged(ModelError):
    """There is nothing to learn from, or the loss is not a number: no model was saved."""


class TrainingStopped(ModelError):
    """The training was stopped on purpose."""
