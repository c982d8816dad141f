"""Which desk this is: its name, its price source, and where it keeps what it knows.

The prices are part of the name: simulated days, and days of one source, never mix with those of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from desk.ledger import Desk
from settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """A desk's addresses. `name` names its files; `words` is how every page calls it; `tone` colours it."""

    desk: Desk
    price_source: str
    name: str
    ledger_url: str
    live_path: Path
    halt_paths: tuple[Path, ...]
    words: str
    tone: str

    @property
    def simulated(self) -> bool:
        """Its prices are made up."""
        return self.desk == "paper-simulated"

    @property
    def real_money(self) -> bool:
        return self.desk == "live"

    @property
    def accepts_delayed(self) -> bool:
        """Whether orders may stand on late quotes: on paper, where the source has no others. E*TRADE's are late only
        while an agreement is not signed, which is something to mend."""
        return not self.real_money and not self.price_source.startswith("etrade")


_WORDS = {
    "simulated": "simulated prices",
    "etrade": "prices from E*TRADE",
    "etrade-sandbox": "E*TRADE sandbox prices",
    "etrade-simulator": "simulated E*TRADE prices",
}


def paper(settings: Settings, source: str, simulated: bool) -> Place:
    """The paper desk over `source`: its own ledger, whatever DATABASE_URL says."""
    name = f"paper-{source}"
    address = settings.database_url.replace("{desk}", name.replace("-", "_"))
    return Place(
        desk="paper-simulated" if simulated else "paper",
        price_source=source,
        name=name,
        ledger_url=address or f"sqlite:///{settings.data_dir / f'ledger-{name}.db'}",
        live_path=settings.data_dir / f"live-{name}.db",
        halt_paths=(settings.data_dir / "HALT", settings.data_dir / f"HALT-{name}"),
        words=f"PAPER · {_WORDS.get(source, f'simulated prices ({source})' if simulated else f'prices from {source}')}",
        tone="paper",
    )
