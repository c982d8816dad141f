"""The last word on each symbol of the strategies at work: the newest decision, and the newest after a changed wish.

The rule: only the engine that holds the lease decides bars, so what it wrote itself need not be read again. After a
write that failed everything is read anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from desk.adoptions import Adoption, BarDecision, Done, acted, decisions
from desk.reader import Reader

Of = tuple[str, str]  # adoption and symbol
ACTED = frozenset({Done.ORDERED, Done.NOT_OURS, Done.TOO_SMALL, Done.SHADOW})


@dataclass(slots=True)
class LastWords:
    """What was decided last, by adoption and symbol."""

    _newest: dict[Of, BarDecision] = field(default_factory=dict)
    _acted: dict[Of, BarDecision] = field(default_factory=dict)
    _read: set[Of] = field(default_factory=set)

    def read(self, reader: Reader, working: Iterable[Adoption]) -> None:
        """As the ledger has them, of those that were not read yet; what is no longer at work is forgotten."""
        at_work = {(one.id, symbol) for one in working for symbol in one.symbols}
        for of in at_work - self._read:
            for last in decisions(reader, *of):
                self._newest[of] = last
            if (acting := acted(reader, *of)) is not None:
                self._acted[of] = acting
        for of in self._read - at_work:
            self._newest.pop(of, None)
            self._acted.pop(of, None)
        self._read = at_work

    def newest(self, adoption: str, symbol: str) -> BarDecision | None:
        """The last bar that was decided; None before the first."""
        return self._newest.get((adoption, symbol))

    def acted(self, adoption: str, symbol: str) -> BarDecision | None:
        """The last that followed a changed wish: what the strategy stands for."""
        return self._acted.get((adoption, symbol))

    @property
    def ordered(self) -> list[BarDecision]:
        """Of those that followed a changed wish, the ones that became orders."""
        return [one for one in self._acted.values() if one.done is Done.ORDERED]

    def keep(self, written: Iterable[BarDecision]) -> None:
        """These are in the ledger now, each with its moment."""
        for one in written:
            self._newest[one.adoption, one.symbol] = one
            if one.done in ACTED:
                self._acted[one.adoption, one.symbol] = one
