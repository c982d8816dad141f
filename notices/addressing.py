"""Who is told of a happening, and where: the owner's rules and everybody's subscriptions, one notice a person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from alerts.base import Alert
from desk.people import OWNER
from desk.subscriptions import Subscription
from domain.notices import ASKED_FOR, Kind, Severity
from notices.happenings import Happening
from notices.outbox import Notice
from notices.rules import Rules

ADDRESSES = "addresses"  # a person's own: the preference that holds them, by channel


@dataclass(frozen=True, slots=True)
class Directory:
    """What there is at this moment. `usable`: channels that are set up and on; `addresses`: people's own, by person and
    channel; the owner's are the channels' own."""

    rules: Rules
    usable: Mapping[str, Alert]
    subscriptions: tuple[Subscription, ...]
    addresses: Mapping[str, Mapping[str, str]]

    def notices(self, happening: Happening, now: datetime, of: Subscription | None = None) -> list[Notice]:
        """One notice for each person it concerns; `of` is the one subscription that found it, where one did."""
        wanted = [of] if of is not None else [one for one in self.subscriptions if _concerns(one, happening)]
        channels: dict[str, dict[str, None]] = {}
        if happening.kind not in ASKED_FOR:
            channels[OWNER] = dict.fromkeys(self._routed(happening))
        for one in wanted:
            chosen = one.channels or self.rules.channels(one.kind)
            channels.setdefault(one.person, {}).update(dict.fromkeys(chosen))
        return [self._notice(happening, person, list(names), now) for person, names in channels.items()]

    def _routed(self, happening: Happening) -> Iterable[str]:
        """Where its kind goes; what is urgent goes anywhere rather than nowhere, unless somebody said nowhere."""
        chosen = self.rules.channels(happening.kind)
        if happening.severity is Severity.URGENT and chosen and not set(chosen) & self.usable.keys():
            return tuple(self.usable)
        return chosen

    def _notice(self, happening: Happening, person: str, names: list[str], now: datetime) -> Notice:
        to, not_to = list[tuple[str, str, datetime | None]](), list[str]()
        for name in names:
            if (why := self._why_not(name, person, happening.severity)) is not None:
                not_to.append(f"{name}: {why}")
                continue
            held = self.rules.held_until(name, happening.severity, now)
            to += [(name, address, held) for address in self._addresses(name, person)]
        return Notice(
            id=f"{happening.id}:{person}",
            kind=happening.kind,
            severity=happening.severity,
            title=_sound(happening.title),
            text=_sound(happening.text),
            at=happening.at,
            symbol=happening.symbol,
            about=happening.about,
            person=person,
            to=tuple(to),
            window_s=happening.window_s,
            why_not="; ".join(not_to) or "no channel is chosen for it",
        )

    def _why_not(self, name: str, person: str, severity: Severity) -> str | None:
        if name in self.rules.off:
            return "is switched off"
        if name not in self.usable:
            return "is not set up"
        if self.rules.too_mild(name, severity):
            return f"takes only what is at least {self.rules.least[name]}"
        if not self._addresses(name, person):
            return f"has no address for {person}"
        return None

    def _addresses(self, name: str, person: str) -> tuple[str, ...]:
        channel = self.usable[name]
        if person == OWNER or not channel.personal:
            return channel.addresses()
        own = self.addresses.get(person, {}).get(name, "")
        return (own,) if own else ()


def _sound(text: str) -> str:
    """Half a character, as only JSON can say it, goes into no file and into no mail."""
    return text.encode("utf-8", "replace").decode()


def _concerns(wanted: Subscription, happening: Happening) -> bool:
    """Whether a subscription asked for this; a big trade is a fill too."""
    kinds = {happening.kind} | ({Kind.FILL} if happening.kind is Kind.BIG_TRADE else set())
    return wanted.on and wanted.kind in kinds and wanted.symbol in ("", happening.symbol)
