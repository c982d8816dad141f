"""How a desk that trades at E*TRADE stands, read from the engine's last word: armed or not, what differs, what is not
known yet. Knows nothing of Streamlit. It takes the word as it comes: what is missing or odd in it is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from desk.place import Place
from desk.records import EngineStatus
from domain.calendars import NEW_YORK
from ui import wording

CASH = "cash"
MARKS = {"live": "LIVE", "rehearsal": "REHEARSAL"}
MONEY = {"live": "real money", "rehearsal": "no real money"}
SIGNED_OUT = (
    "Signed out of E*TRADE: no new entries. Stops that rest at E*TRADE stay and work. "
    "Nothing else can be sent until you sign in."
)
RECOVERING = "Recovering: this desk compares its ledger with E*TRADE. Nothing new is sent until it is through."
SIGN_IN = ("Sign in to E*TRADE", "SIGNED OUT")  # how the engine's own sentences about it begin
MOST_LINES = 3


@dataclass(frozen=True, slots=True)
class Step:
    """One condition of arming: what the engine found, and what mends it."""

    name: str
    done: bool
    said: str
    cure: str


@dataclass(frozen=True, slots=True)
class Arming:
    """Whether the account may trade, and what it takes. `phrase` is what a person types; `by` and `at` of who armed."""

    armed: bool
    account: str
    accounts: tuple[str, ...]
    phrase: str
    by: str
    at: datetime | None
    steps: tuple[Step, ...]

    @property
    def ready(self) -> bool:
        """Every step is done, and there is a phrase to type."""
        return bool(self.phrase and self.steps) and all(step.done for step in self.steps)


@dataclass(frozen=True, slots=True)
class Difference:
    """`about` a symbol or cash: what the ledger has `here`, what the broker has `there`, as the engine wrote them."""

    account: str
    about: str
    here: str
    there: str
    said: str
    hint: str

    @property
    def name(self) -> str:
        return "Cash" if self.about == CASH else self.about

    def figure(self, text: str) -> str:
        """One of its figures for a person."""
        return wording.amount(text) if self.about == CASH else wording.quantity(text)


@dataclass(frozen=True, slots=True)
class Uncertain:
    """An order that may or may not have reached the broker. `frozen`: a person must say which of the `candidates` (the
    broker's id and words) it is, if any."""

    order: str
    account: str
    symbol: str
    words: str
    purpose: str
    until: datetime | None
    frozen: bool
    candidates: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outside:
    """Shares bought outside this desk."""

    account: str
    symbol: str
    quantity: str


# The engine's word, part by part


def arming(status: EngineStatus | None) -> Arming | None:
    """None where the engine has not said."""
    told = _details(status).get("arming")
    if not isinstance(told, Mapping):
        return None
    return Arming(
        told.get("armed") is True,
        _text(told, "account"),
        tuple(str(one) for one in told.get("accounts") or [] if one),
        _text(told, "phrase"),
        _text(told, "by"),
        _moment(told.get("at")),
        tuple(
            Step(_text(s, "name"), s.get("done") is True, _text(s, "said"), _text(s, "cure"))
            for s in _each(told, "steps")
        ),
    )


def differences(status: EngineStatus | None, account: str = "") -> list[Difference]:
    """Where ledger and broker disagree; of one account, or of all."""
    names = ("account", "about", "here", "there", "said", "hint")
    found = [Difference(*(_text(one, name) for name in names)) for one in _each(_details(status), "differences")]
    return [one for one in found if one.about and account in ("", one.account)]


def uncertain(status: EngineStatus | None, account: str = "") -> list[Uncertain]:
    """Orders of which it is not known whether they stand."""
    found = [_uncertain(one) for one in _each(_details(status), "uncertain")]
    return [one for one in found if one.order and account in ("", one.account)]


def _uncertain(told: Mapping[str, Any]) -> Uncertain:
    words = f"{_text(told, 'side')} {wording.quantity(told.get('quantity'))} {_text(told, 'symbol')}".strip()
    return Uncertain(
        _text(told, "order"),
        _text(told, "account"),
        _text(told, "symbol"),
        words,
        _text(told, "purpose"),
        _moment(told.get("until")),
        told.get("frozen") is True,
        tuple((_text(one, "broker_id"), _text(one, "said")) for one in _each(told, "candidates")),
    )


def outside(status: EngineStatus | None, account: str = "") -> list[Outside]:
    """Shares that are counted and never touched."""
    found = [
        Outside(*(_text(one, n) for n in ("account", "symbol", "quantity")))
        for one in _each(_details(status), "outside")
    ]
    return [one for one in found if one.symbol and account in ("", one.account)]


def _details(status: EngineStatus | None) -> Mapping[str, Any]:
    return status.details if status else {}


def _each(told: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = told.get(name)
    return [one for one in listed if isinstance(one, Mapping)] if isinstance(listed, list) else []


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    return "" if value is None else str(value)


def _moment(value: object) -> datetime | None:
    try:
        read = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return read if read.tzinfo else None


# What stands above every page


def banner(place: Place, status: EngineStatus | None, silent: bool) -> dict[str, Any] | None:
    """The line that never leaves a desk whose orders go to a broker; None on paper. `go` is where its button leads."""
    if not place.needs_arming:
        return None
    told = arming(status)
    state, note, go = _state(told, status.state if status else "", silent)
    return {
        "tone": place.tone,
        "word": MARKS[place.tone],
        "money": MONEY[place.tone],
        "account": told.account if told else "",
        "armed": state == "ARMED",
        "state": state,
        "note": note,
        "pill": "" if state == "ARMED" and not note else note.split(",")[0].upper() if state == "ARMED" else state,
        "go": go,
    }


def _state(told: Arming | None, doing: str, silent: bool) -> tuple[str, str, str]:
    """A word, what it means now, and where to change it."""
    if silent:
        return "NO ENGINE", "nothing is sent", ""
    if told is None:
        return "DISARMED", "recovering" if doing == "recovering" else "no entries", ""
    if not told.armed:
        return "DISARMED", "no entries", "Trading"
    return "ARMED", {"signed out": "signed out, no entries", "recovering": "recovering"}.get(doing, ""), ""


def notices(place: Place, status: EngineStatus | None) -> list[dict[str, str]]:
    """What a person must not overlook on such a desk, worst first: tone, sentence, and where its button leads."""
    if status is None or not place.needs_arming:
        return []
    found = []
    if status.state == "signed out":
        found.append(_notice("bad", SIGNED_OUT, "E*TRADE", "Sign in…", size="big"))
    elif status.state == "recovering" and not any("Not ready" in said for said in status.details.get("problems") or ()):
        found.append(_notice("warn", RECOVERING))
    if differing := differences(status):
        found.append(_notice("warn", _differing(differing), "positions", "Look…"))
    return found + _some([_notice("warn", uncertain_words(one), "positions", "Look…") for one in uncertain(status)])


def _notice(tone: str, said: str, go: str = "", button: str = "", size: str = "") -> dict[str, str]:
    return {"tone": tone, "said": said, "go": go, "button": button, "size": size}


def _some(found: list[dict[str, str]]) -> list[dict[str, str]]:
    """The first few in full, the others counted."""
    if len(found) <= MOST_LINES:
        return found
    return [*found[: MOST_LINES - 1], {**found[0], "said": f"And {len(found) - MOST_LINES + 1} more of these."}]


def _differing(found: list[Difference]) -> str:
    if len(found) == 1:
        return found[0].said or difference_words(found[0])
    return f"This desk and E*TRADE differ in {len(found)} figures: {', '.join(one.name for one in found)}."


def difference_words(one: Difference) -> str:
    return f"{one.name}: this desk has {one.figure(one.here)}, E*TRADE has {one.figure(one.there)}."


def uncertain_words(one: Uncertain, zone: str = "America/New_York") -> str:
    """What is not known of it, and until when."""
    if one.frozen:
        return f"A person must say what became of {one.words}: E*TRADE lists more than one order like it."
    if one.until is None:
        return f"Not known yet whether {one.words} reached E*TRADE. Looking. No other entry in {one.symbol} until then."
    by = wording.hour(one.until, zone).split()[-1]
    return (
        f"Not known yet whether {one.words} reached E*TRADE. Looking; decided at {by} {wording.zone_name(zone)} at the "
        f"latest. No other entry in {one.symbol} until then."
    )


def untold(problems: Iterable[str], status: EngineStatus | None, place: Place) -> list[str]:
    """The engine's complaints without those that a notice says already."""
    if status is None or not place.needs_arming:
        return list(problems)
    told = [one.said for one in differences(status) if one.said]
    signed_out = status.state == "signed out"
    return [
        said
        for said in problems
        if not (signed_out and said.startswith(SIGN_IN)) and not any(known in said for known in told)
    ]


def armed_words(told: Arming) -> str:
    """Who armed it, and when."""
    when = f" on {told.at.astimezone(NEW_YORK):%a %d %b at %H:%M:%S} New York" if told.at else ""
    return f"Armed by {told.by or 'nobody known'}{when}."
