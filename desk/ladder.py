"""The ladder of strategies at work: research, paper, small, full; what the next rung needs, and what is still missing.

    found = standing(place, reader, clock, adoption)
    found.rung, found.next, [(need.done, need.said) for need in found.needs]

The rule: a need that cannot be read is not met, and says why. Nothing here writes: pages and the engine ask the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

from desk import evidence
from desk.adoptions import Adoption, State, adoptions
from desk.database import Database
from desk.evidence import Unread, Work
from desk.nights import Night
from desk.place import Place
from desk.reader import Reader
from desk.rungs import Bounds, Rung, Stage, Step, Why, bounds_of, keep_step, stage_of
from domain.clock import Clock
from domain.errors import DeskError
from domain.limits import Limits
from research.honesty import FAIL, WORTH

__all__ = ["Bounds", "Need", "Night", "Rung", "Stage", "Standing", "Step", "Why", "above", "below", "standing"]
__all__ += ["bounds_of", "keep_step", "stage_of"]

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a rung asks for: its name, whether it is met, and the figures in a sentence."""

    name: str
    done: bool
    said: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a strategy stands, for whoever shows it. `next` None on the highest rung of its desk; `toward`: the rung
    that `needs` are of, from paper it is small, on a desk whose orders leave the machine; `bound`: they are enforced;
    `history`: every step, oldest first, nights among them; `night`: the newest since it came here."""

    adoption: Adoption
    stage: Stage
    next: Rung | None
    needs: tuple[Need, ...]
    bound: bool
    caps: tuple[str, ...]

    @property
    def rung(self) -> Rung:
        return self.stage.rung

    @property
    def toward(self) -> Rung | None:
        return _toward(self.rung, self.next)

    @property
    def history(self) -> tuple[Step, ...]:
        return self.stage.steps

    @property
    def night(self) -> Night | None:
        return next(reversed(self.stage.nights), None)

    @property
    def missing(self) -> tuple[Need, ...]:
        return tuple(need for need in self.needs if not need.done)


def above(rung: Rung, *, live: bool) -> Rung | None:
    """The next rung up on a desk whose orders leave the machine, or on paper; None on its highest."""
    ladder = [Rung.RESEARCH, Rung.SMALL, Rung.FULL] if live else [Rung.RESEARCH, Rung.PAPER]
    at = ladder.index(rung)
    return ladder[at + 1] if at + 1 < len(ladder) else None


def _toward(rung: Rung, higher: Rung | None) -> Rung | None:
    return Rung.SMALL if rung is Rung.PAPER else higher


def below(stage: Stage) -> tuple[Rung, str] | None:
    """The rung below and, for SMALL, its symbol; None in research."""
    if stage.rung is Rung.RESEARCH:
        return None
    small = next((step.symbol for step in reversed(stage.steps) if step.rung is Rung.SMALL and step.symbol), "")
    return (Rung.SMALL, small) if stage.rung is Rung.FULL and small else (Rung.RESEARCH, "")


def standing(
    place: Place,
    reader: Reader,
    clock: Clock,
    adoption: Adoption,
    *,
    prices: Mapping[str, Decimal] | None = None,
    equity: Decimal | None = None,
) -> Standing:
    """Where it stands and what is missing for more. `prices`: the newest of what it holds, `equity`: the account's; a
    profit or a bound that needs one not given is not known. It reads files: not for the inside of an engine's turn."""
    limits = Limits.from_dict(reader.limits())
    stage = stage_of(reader, adoption, live=place.needs_arming)
    higher = above(stage.rung, live=place.needs_arming)
    needs = tuple(_needs(_toward(stage.rung, higher), place, reader, clock, adoption, stage, limits, prices or {}))
    bound = higher is not Rung.PAPER or limits.backtest_before_paper
    caps = tuple(_caps(bounds_of(stage, limits, equity), limits, equity))
    return Standing(adoption, stage, higher, needs, bound, caps)


def _caps(bounds: Bounds, limits: Limits, equity: Decimal | None) -> list[str]:
    """In words; in per cent where the account's equity is not known."""
    if equity is not None or not bounds.stage.live:
        return bounds.words
    share = f"At most {limits.max_live_position_pct:g} % of the account's equity in a position."
    return [*replace(bounds, money=None).words, share]


def _needs(
    higher: Rung | None,
    place: Place,
    reader: Reader,
    clock: Clock,
    adoption: Adoption,
    stage: Stage,
    limits: Limits,
    prices: Mapping[str, Decimal],
) -> Iterator[Need]:
    if higher in (Rung.PAPER, Rung.SMALL):
        yield from _of_backtest(place, adoption, limits)
    if higher is Rung.SMALL:
        yield from _of_paper(place, clock, adoption, limits)
    if higher is Rung.FULL:
        yield from _of_small(evidence.at_work(reader, adoption, stage, prices), stage, limits)


def _read(names: tuple[str, ...], look: Callable[[], Iterator[Need]]) -> list[Need]:
    """The needs; all of these names unmet, with the reason, where it cannot be read."""
    try:
        return list(look())
    except Unread as error:
        return [Need(name, False, str(error)) for name in names]
    except (DeskError, ValueError, TypeError, LookupError, OSError) as error:
        return [Need(name, False, f"It cannot be read: {error}") for name in names]


# Research to paper, and a part of research to small


def _of_backtest(place: Place, adoption: Adoption, limits: Limits) -> list[Need]:
    def look() -> Iterator[Need]:
        found = evidence.backtested(place.research_url, adoption, simulated=place.simulated)
        good = found.verdict == WORTH or (found.verdict != FAIL and not limits.worth_only)
        asked = f"must be {WORTH}" if limits.worth_only else "must not be fail"
        yield Need("verdict", good, f"The verdict of {found.words} is {found.verdict}; it {asked}.")
        rate, least = found.win_rate, limits.min_win_rate_pct
        enough = f"{rate.n} closed trades in {found.words}; at least {limits.min_backtest_trades} are needed."
        yield Need("trades", rate.n >= limits.min_backtest_trades, enough)
        if rate.value is None:
            yield Need("win rate", False, f"The win rate of {found.words} is not known: it closed no trade.")
            return
        sure = f", and with 95 % certainty above {100 * rate.low:.1f} %" if rate.low is not None else ""
        said = f"The win rate of {found.words} is {100 * rate.value:.1f} %{sure}; it must be above {least:g} %."
        yield Need("win rate", round(100 * rate.value, 9) > least, said)

    return _read(("verdict", "trades", "win rate"), look)


# Research to small


def _of_paper(place: Place, clock: Clock, adoption: Adoption, limits: Limits) -> list[Need]:
    def look() -> Iterator[Need]:
        work, label = _on_paper(place, clock, adoption)
        least = limits.min_paper_days
        yield Need("paper days", work.days >= least, f"{_days(work)} on paper ({label}); at least {least} are needed.")
        said = f"{len(work.trades)} closed trades on paper, {work.won} with a profit; "
        enough = len(work.trades) >= limits.min_paper_trades
        yield Need("paper trades", enough, f"{said}at least {limits.min_paper_trades} are needed.")
        yield _no_drift("paper drift", work)

    return _read(("paper days", "paper trades", "paper drift"), look)


def _on_paper(place: Place, clock: Clock, adoption: Adoption) -> tuple[Work, str]:
    """The same strategy's work on the paper desk over the same prices."""
    database = Database(place.paper_url, read_only=True)
    try:
        reader = Reader(database, clock)
        owner = reader.owner()
        if not owner:
            raise Unread(
                f"There is no paper desk over {place.price_source} yet: run one with TRADING=paper over the same "
                "prices, and adopt the strategy there."
            )
        if not owner.get("desk", "").startswith("paper") or owner.get("price_source") != place.price_source:
            raise Unread(
                f"The paper ledger is of the desk {owner.get('desk')} over {owner.get('price_source')}: paper over "
                f"{place.price_source} is needed."
            )
        if owner["desk"] == "paper-simulated" and not place.simulated:
            raise Unread("The prices of the paper desk are simulated: they count for nothing.")
        one = evidence.newest(adoptions(reader, retired=True), adoption)
        if one is None:
            raise Unread(f"{adoption.label} was never at work under these rules on the paper desk: adopt it there.")
        stage = stage_of(reader, one, live=False)
        if stage.rung is not Rung.PAPER:
            raise Unread(f"On the paper desk it stands in {stage.rung} since {stage.since:%Y-%m-%d}.")
        state = "" if one.state is State.WORKING else f", {one.state} since {one.changed or one.since:%Y-%m-%d}"
        return evidence.at_work(reader, one, stage, {}), f"{one.id}{state}"
    finally:
        database.close()


# Small to full


def _of_small(work: Work, stage: Stage, limits: Limits) -> Iterator[Need]:
    least, profit = limits.min_small_days, work.profit
    yield Need("small days", work.days >= least, f"{_days(work)} of trading small; at least {least} are needed.")
    said = f"not known: no price of what it holds in {stage.symbol}"
    if profit is not None:
        said = f"{profit:+,.2f} after fees in {len(work.trades)} closed trades, and what is open at the last price"
    yield Need("profit", profit is not None and profit > 0, f"Profit {said}; it must be above zero.")
    yield _no_drift("drift", work)


def _no_drift(name: str, work: Work) -> Need:
    last = next(reversed(work.nights), None)
    if last is None:
        return Need(name, False, "No night has been compared with its backtest yet: that happens after a close.")
    return Need(name, not last.drifts, last.words)


def _days(work: Work) -> str:
    if work.first is None:
        return "0 days"
    idle = f", {work.idle} sessions without a decision left out" if work.idle else ""
    return f"{work.days} days, {work.first} to {work.last}{idle}"
