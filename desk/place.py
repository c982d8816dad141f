"""Which desk this is: its name, its price source, and where it keeps what it knows.

The prices are part of the name: simulated days, and days of one source, never mix with those of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from desk.ledger import Desk
from domain.errors import SettingsError
from settings import Settings


@dataclass(frozen=True, slots=True)
class Place:
    """A desk's addresses. `name` names its files; `words` is how every page calls it; `tone` colours it;
    `paper_url` is the ledger of the paper desk over the same prices, `research_url` where backtests are kept."""

    desk: Desk
    price_source: str
    name: str
    ledger_url: str
    live_path: Path
    halt_paths: tuple[Path, ...]
    words: str
    tone: str
    broker: str = "paper"
    paper_url: str = ""
    research_url: str = ""

    @property
    def needs_arming(self) -> bool:
        """Its orders leave this machine: an account is armed on purpose before the first entry."""
        return self.broker != "paper"

    @property
    def simulated(self) -> bool:
        """Its prices are made up."""
        return self.desk in ("paper-simulated", "simulator")

    @property
    def real_money(self) -> bool:
        return self.desk == "live"

    @property
    def accepts_delayed(self) -> bool:
        """Whether orders may stand on late quotes: on paper, where the source has no others. E*TRADE's are late only
        while an agreement is not signed, which is something to mend."""
        return not self.needs_arming and not self.price_source.startswith("etrade")


_WORDS = {
    "simulated": "simulated prices",
    "etrade": "prices from E*TRADE",
    "etrade-sandbox": "E*TRADE sandbox prices",
    "etrade-simulator": "simulated E*TRADE prices",
}


def of(settings: Settings, source: str, simulated: bool) -> Place:
    """The desk these settings ask for, over the prices of `source`."""
    return paper(settings, source, simulated) if settings.trading == "paper" else etrade(settings, source)


def paper(settings: Settings, source: str, simulated: bool) -> Place:
    """The paper desk over `source`: its own ledger, whatever DATABASE_URL says."""
    return _at(
        settings,
        desk="paper-simulated" if simulated else "paper",
        price_source=source,
        words=f"PAPER · {_WORDS.get(source, f'simulated prices ({source})' if simulated else f'prices from {source}')}",
        tone="paper",
    )


def etrade(settings: Settings, source: str) -> Place:
    """The desk whose orders go to E*TRADE, or to its simulator on this machine: under E*TRADE's own prices only."""
    environment = settings.etrade_environment
    if environment not in _ETRADE:
        raise SettingsError(
            f"TRADING=etrade needs ETRADE_ENVIRONMENT=production, or simulator to rehearse: got {environment} "
            "(the sandbox gives canned answers whatever is ordered)"
        )
    desk, words, tone, prices = _ETRADE[environment]
    if source != prices:
        raise SettingsError(f"TRADING=etrade needs DATA_SOURCE=etrade: no order is sent on prices of {source}")
    return _at(settings, desk=desk, price_source=source, words=words, tone=tone, broker="etrade")


# By environment: desk, words, tone, and the one source of its prices.
_ETRADE: dict[str, tuple[Desk, str, str, str]] = {
    "production": ("live", "LIVE · real money at E*TRADE", "live", "etrade"),
    "simulator": ("simulator", "REHEARSAL · E*TRADE simulator, no real money", "rehearsal", "etrade-simulator"),
}


def _at(settings: Settings, *, price_source: str, **what: Any) -> Place:
    name = settings.desk_name(price_source)
    paper = name if settings.trading == "paper" else f"paper-{price_source}"
    return Place(
        name=name,
        price_source=price_source,
        ledger_url=_ledger(settings, name),
        paper_url=_ledger(settings, paper),
        research_url=f"sqlite:///{settings.data_dir / 'research.db'}",
        live_path=settings.live_path(price_source),
        halt_paths=(settings.data_dir / "HALT", settings.data_dir / f"HALT-{name}"),
        **what,
    )


def _ledger(settings: Settings, name: str) -> str:
    """Where the desk of this name keeps its ledger."""
    address = settings.database_url.replace("{desk}", name.replace("-", "_"))
    return address or f"sqlite:///{settings.data_dir / f'ledger-{name}.db'}"
