"""The rungs of the ladder: where a strategy at work stands between research and all of its money, and how it got there.

The rule: steps are only added. What cannot be read as a step up counts as research, where nothing is ordered.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from desk import schema
from desk.adoptions import Adoption
from desk.nights import Night
from desk.reader import Reader
from desk.rows import canonical
from desk.writing import Writing
from domain.errors import DeskError
from domain.instruments import instrument
from domain.limits import Limits

ZERO = Decimal(0)
ADD_STEP = sa.insert(schema.rung)
STEPS = sa.select(schema.rung).where(schema.rung.c.adoption == sa.bindparam("of_id")).order_by(schema.rung.c.seq)
CUT = "cut to what its rung allows"


class Rung(StrEnum):
    """RESEARCH is asked on each closed bar and orders nothing; PAPER trades on paper; SMALL trades one symbol and few
    shares of it, FULL all of its symbols, both where orders leave the machine."""

    RESEARCH = "research"
    PAPER = "paper"
    SMALL = "small"
    FULL = "full"


class Why(StrEnum):
    """What a row of the record is: a strategy's first rung, a step up or down, or a night's comparison, which leaves it
    where it is."""

    ADOPTED = "adopted"
    PROMOTED = "promoted"
    DEMOTED = "demoted"
    NIGHT = "night"


@dataclass(frozen=True, slots=True)
class Step:
    """One row. `symbol` is the one symbol of SMALL; `night` what was compared, where that is what the row is."""

    rung: Rung
    why: Why
    reason: str
    actor: str
    at: datetime
    symbol: str = ""
    night: Night | None = None

    @property
    def by_drift(self) -> bool:
        """Whether the desk itself went down a rung for what a night found."""
        return self.why is Why.DEMOTED and self.actor == "engine"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where an adoption stands, `since` when; `began`: the symbols it may open positions in, each with the moment since
    which it may without a break."""

    rung: Rung
    since: datetime
    symbol: str = ""
    began: Mapping[str, datetime] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()

    @property
    def trades(self) -> bool:
        return self.rung is not Rung.RESEARCH

    @property
    def live(self) -> bool:
        """Whether its orders may leave the machine."""
        return self.rung in (Rung.SMALL, Rung.FULL)

    @property
    def nights(self) -> list[Night]:
        """What its nights found since it came to this rung, oldest first."""
        return [step.night for step in self.steps if step.night is not None and step.at >= self.since]

    @property
    def last_step(self) -> Step | None:
        """The newest that was no night."""
        return next((step for step in reversed(self.steps) if step.why is not Why.NIGHT), None)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much an adoption may hold where it stands: `shares` of a symbol, `money` in one; None: its rung sets none."""

    stage: Stage
    shares: Decimal | None = None
    money: Decimal | None = None

    def why_not(self, symbol: str) -> str:
        """Why nothing may be opened in a symbol; '' where it may."""
        if symbol in self.stage.began:
            return ""
        if self.stage.rung is Rung.SMALL:
            return f"it trades small, and {self.stage.symbol} only"
        return f"it stands on the rung {self.stage.rung}"

    def most(self, symbol: str, price: Decimal) -> Decimal | None:
        """The most it may hold of a symbol at this price, in whole lots; None where its rung sets no bound."""
        if symbol not in self.stage.began:
            return ZERO
        found = [self.shares] if self.shares is not None else []
        if self.money is not None:
            found.append(self.money / price if price > 0 else ZERO)
        lot = instrument(symbol).lot
        return max(min(found), ZERO) // lot * lot if found else None

    @property
    def words(self) -> list[str]:
        """Them in sentences, for a person."""
        stage = self.stage
        if stage.rung is Rung.RESEARCH:
            return ["Nothing is ordered; what it holds may only shrink."]
        said = [f"Only {stage.symbol}; its other symbols stay in research."] if stage.rung is Rung.SMALL else []
        said += [f"At most {self.shares.normalize():f} shares."] if self.shares is not None else []
        said += [f"At most {self.money:,.2f} in a position."] if self.money is not None else []
        return said


def bounds_of(stage: Stage, limits: Limits, equity: Decimal | None) -> Bounds:
    """The bounds of a rung under these limits. Where the account's `equity` is not known, nothing is opened live."""
    if not stage.live:
        return Bounds(stage)
    money = (equity or ZERO) * Decimal(str(limits.max_live_position_pct)) / 100
    return Bounds(stage, Decimal(limits.max_small_shares) if stage.rung is Rung.SMALL else None, money)


# What the engine writes


def keep_step(
    write: Writing,
    adoption: Adoption,
    rung: Rung,
    why: Why,
    *,
    reason: str,
    actor: str,
    symbol: str = "",
    night: Night | None = None,
) -> None:
    """The adoption is on this rung from now on; a NIGHT names the rung it is on already."""
    details: dict[str, Any] = {"why": why, **({"symbol": symbol} if symbol else {})}
    if night is not None:
        details["night"] = night.to_dict()
    values = {"adoption": adoption.id, "rung": rung, "reason": reason[:400], "actor": actor}
    write.append(ADD_STEP, {**values, "details": canonical(details), "at": write.now})
    write.audit("rung", actor, {**values, **details})


# What everybody reads


def stage_of(reader: Reader, adoption: Adoption, *, live: bool) -> Stage:
    """Where an adoption stands; `live`: its desk's orders leave this machine. Without a step it is on paper there where
    all is on paper, and in research elsewhere."""
    found = [_step_of(row, live) for row in reader.rows(STEPS, of_id=adoption.id)]
    return _stage(adoption, found, Rung.RESEARCH if live else Rung.PAPER)


def _stage(adoption: Adoption, steps: Iterable[Step], first: Rung) -> Stage:
    rung, since, symbol, known = first, adoption.since, "", tuple(steps)
    began = dict.fromkeys(_open_on(adoption, rung, symbol), since)
    for step in known:
        if step.why is Why.NIGHT:
            continue
        if step.rung is not rung:
            since = step.at
        rung, symbol = step.rung, step.symbol
        began = {each: began.get(each, step.at) for each in _open_on(adoption, rung, symbol)}
    return Stage(rung, since, symbol, began, known)


def _open_on(adoption: Adoption, rung: Rung, symbol: str) -> tuple[str, ...]:
    if rung is Rung.RESEARCH:
        return ()
    return tuple(each for each in adoption.symbols if rung is not Rung.SMALL or each == symbol)


def _step_of(row: sa.Row[Any], live: bool) -> Step:
    details = json.loads(row.details)
    here = {Rung.RESEARCH, Rung.SMALL, Rung.FULL} if live else {Rung.RESEARCH, Rung.PAPER}
    rung = Rung(row.rung) if row.rung in {one.value for one in here} else Rung.RESEARCH
    night = None
    with contextlib.suppress(DeskError):  # one of another version proves nothing, and stops nothing
        night = Night.of(details["night"]) if "night" in details else None
    return Step(rung, Why(details["why"]), row.reason, row.actor, row.at, details.get("symbol", ""), night)
