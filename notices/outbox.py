"""The queue of what people are told, in a file of its own: it survives a kill, and is the history afterwards.

The rules. A message and how far its source has been read are written in one transaction, so that a restart loses
nothing and repeats nothing. A sending is claimed in one transaction before it begins and settled in one after it ended.
One that was claimed when its process died may have gone out: it is `doubtful`, and whoever sends it again says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from alerts.base import Message
from desk import logs
from desk.database import Database
from desk.schema import Moment
from domain.clock import Clock
from domain.errors import LedgerConflict, LedgerUnusable
from domain.notices import ABOUT, Kind, Severity

GIVE_UP_AFTER = timedelta(hours=24)
KEEP_FOR = timedelta(days=90)
BUNDLE_FROM, MOST_IN_BUNDLE = 6, 40
HOUR = timedelta(hours=1)


class State(StrEnum):
    """Where one message on one channel is."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    DROPPED = "dropped"


_metadata = sa.MetaData()
_message = sa.Table(
    "message",
    _metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("severity", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("symbol", sa.Text, nullable=False),
    sa.Column("about", sa.Text, nullable=False),
    sa.Column("person", sa.Text, nullable=False),
    sa.Column("at", Moment, nullable=False),
    sa.Column("made", Moment, nullable=False),
    sa.Column("repeats", sa.Integer, nullable=False),
    sa.Index("message_about", "person", "about", "made"),
    sa.Index("message_made", "made"),
)
_delivery = sa.Table(
    "delivery",
    _metadata,
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("message", sa.Integer, sa.ForeignKey("message.seq"), nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("address", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("due", Moment, nullable=False),
    sa.Column("until", Moment, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("doubtful", sa.Boolean, nullable=False),
    sa.Column("bundle", sa.Text, nullable=False),  # those that go as one, at every try; '' alone
    sa.Column("claimed", Moment),
    sa.Column("ended", Moment),
    sa.Column("said", sa.Text, nullable=False),
    sa.UniqueConstraint("message", "channel", "address"),
)
# In the order in which they go out. Not a partial index: with a bound value SQLite would not see that it fits.
sa.Index("delivery_open", _delivery.c.channel, _delivery.c.state, _delivery.c.rank.desc(), _delivery.c.seq)
sa.Index("delivery_ended", _delivery.c.channel, _delivery.c.ended)
_channel = sa.Table(
    "channel",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("rests_until", Moment),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("needs_person", sa.Boolean, nullable=False),
    sa.Column("said", sa.Text, nullable=False),
)
_position = sa.Table(
    "position",
    _metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
_AGAIN = (
    sa.update(_message)
    .where(_message.c.seq == sa.bindparam("of_seq"))
    .values(repeats=_message.c.repeats + sa.bindparam("times"))
)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell one person. `id` names the happening and the person, so that saying it again changes nothing;
    `to`: each channel with the address it goes to and when it may leave (None: at once), and `why_not` where there is
    none; `window_s` as in `ABOUT`."""

    id: str
    kind: Kind
    severity: Severity
    title: str
    text: str
    at: datetime
    symbol: str = ""
    about: str = ""
    person: str = ""
    to: tuple[tuple[str, str, datetime | None], ...] = ()
    window_s: int | None = None
    why_not: str = ""
    repeats: int = 0

    @property
    def window(self) -> timedelta:
        return timedelta(seconds=ABOUT[self.kind].window_s if self.window_s is None else self.window_s)


@dataclass(frozen=True, slots=True)
class Sending:
    """What was claimed: one message, or several that go as one. `rows` are its deliveries."""

    rows: tuple[int, ...]
    message: Message
    tries: int
    doubtful: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Ended:
    """How a sending ended: `state` is SENT, FAILED, or WAITING with when it is `due` again."""

    rows: tuple[int, ...]
    state: State
    said: str
    due: datetime | None = None
    doubtful: bool | None = None  # None: as it was


@dataclass(frozen=True, slots=True)
class Told:
    """A line of the history: one message on one channel. `repeats`: how often the same was left out since."""

    seq: int
    id: str
    kind: Kind
    severity: Severity
    title: str
    text: str
    symbol: str
    person: str
    at: datetime
    made: datetime
    repeats: int
    channel: str
    address: str
    state: State
    tries: int
    doubtful: bool
    due: datetime
    ended: datetime | None
    said: str


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How a channel fares. `needs_person`: its key, address or certificate was refused."""

    name: str
    rests_until: datetime | None = None
    failures: int = 0
    needs_person: bool = False
    said: str = ""
    waiting: int = 0
    sent_day: int = 0
    failed_day: int = 0
    last_sent: datetime | None = None


class Outbox:
    """One file for one data folder. Safe to use from many threads and processes; LedgerError where it is of no use."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock, self._database = clock, Database(url)
        if self._database.path is None:
            raise LedgerUnusable(f"notices lie in an SQLite file (sqlite:///data/notices.db): got {url}")
        self._database.create()
        with self._database.write() as db:
            _metadata.create_all(db)
        self._looking = Database(url, read_only=True)

    def close(self) -> None:
        self._database.close()
        self._looking.close()

    # Putting in

    def put(self, notices: Iterable[Notice], moved: Mapping[str, tuple[Any, Any]] | None = None) -> int:
        """Notices and how far their sources have been read, by name (before, after), in one transaction: how many were
        new. LedgerConflict, and nothing written, where somebody else has read on meanwhile."""
        now, notices = self._clock.now(), list(notices)
        with self._database.write() as db:
            for name, (before, after) in (moved or {}).items():
                self._move(db, name, before, after)
            return self._add(db, self._new(db, notices, now), now)

    def position(self, name: str) -> Any:
        """How far a source has been read; None where it never was."""
        with self._looking.read() as db:
            return _read(db, name)

    def positions(self, prefix: str) -> dict[str, Any]:
        """Those whose name begins so."""
        wanted = sa.select(_position).where(_position.c.name.startswith(prefix, autoescape=True))
        with self._looking.read() as db:
            return {row.name: json.loads(row.value) for row in db.execute(wanted)}

    def forget(self, names: Collection[str]) -> None:
        """Sources that are watched no more."""
        if names:
            with self._database.write() as db:
                db.execute(sa.delete(_position).where(_position.c.name.in_(sorted(names))))

    def _move(self, db: sa.Connection, name: str, before: Any, after: Any) -> None:
        found = _read(db, name)
        if found != before:
            raise LedgerConflict(f"{name}: another notifier has read on to {found} (from {before})")
        db.execute(sa.delete(_position).where(_position.c.name == name))
        db.execute(sa.insert(_position).values(name=name, value=json.dumps(after)))

    def _new(self, db: sa.Connection, notices: list[Notice], now: datetime) -> list[Notice]:
        """Those nobody has been told yet; one that was told in its window counts as a repeat of that."""
        known = set[str]()
        for at in range(0, len(notices), 500):
            ids = [notice.id for notice in notices[at : at + 500]]
            known |= set(db.execute(sa.select(_message.c.id).where(_message.c.id.in_(ids))).scalars())
        new, earlier = list[Notice](), dict[tuple[str, str, Kind], int]()
        for notice in notices:
            if notice.id in known:
                continue
            known.add(notice.id)
            if not (notice.about and notice.window):
                new.append(notice)
                continue
            same = (notice.person, notice.about, notice.kind)
            if same in earlier:
                earlier[same] += 1
            elif (seq := self._same(db, notice, now)) is not None:
                db.execute(_AGAIN, {"of_seq": seq, "times": 1})
            else:
                earlier[same] = 0
                new.append(notice)
        return [replace(one, repeats=earlier.get((one.person, one.about, one.kind), 0)) for one in new]

    def _add(self, db: sa.Connection, notices: list[Notice], now: datetime) -> int:
        """Many at once: a burst must not keep the senders from the queue."""
        first = db.execute(sa.select(sa.func.coalesce(sa.func.max(_message.c.seq), 0))).scalar_one() + 1
        names = ("id", "title", "text", "symbol", "about", "person", "at", "repeats")
        messages, deliveries = list[dict[str, Any]](), list[dict[str, Any]]()
        for seq, notice in enumerate(notices, first):
            row = {name: getattr(notice, name) for name in names} | {"seq": seq, "made": now}
            messages.append({**row, "kind": notice.kind.value, "severity": notice.severity.value})
            if notice.why_not and not notice.to:
                over = {"ended": now, "state": State.DROPPED.value, "said": notice.why_not[:500]}
                deliveries.append(_delivered(seq, notice.severity, "", "", now, **over))
            for channel, address, due in dict.fromkeys(notice.to):
                deliveries.append(_delivered(seq, notice.severity, channel, address, due or now))
        if messages:
            db.execute(sa.insert(_message), messages)
        if deliveries:
            db.execute(sa.insert(_delivery), deliveries)
        return len(messages)

    def _same(self, db: sa.Connection, notice: Notice, now: datetime) -> int | None:
        """The same thing told to the same person within its window."""
        if not (notice.about and notice.window):
            return None
        same = (_message.c.about == notice.about) & (_message.c.person == notice.person)
        recent = same & (_message.c.kind == notice.kind.value) & (_message.c.made > now - notice.window)
        found = db.execute(sa.select(_message.c.seq).where(recent).order_by(_message.c.seq.desc()).limit(1))
        return found.scalar_one_or_none()

    # Sending

    def turn(
        self,
        channel: str,
        ended: Sequence[Ended] = (),
        *,
        claim: int = 0,
        per_hour: int = 0,
        bundles: bool = False,
    ) -> list[Sending]:
        """Settle what ended and claim up to `claim` of what is due, the most urgent first, in one transaction. Past
        `per_hour` nothing is claimed but what is urgent, and that up to twice as much. With `bundles`, many that wait
        for one address go as one."""
        now = self._clock.now()
        with self._database.write() as db:
            for one in ended:
                self._settle(db, channel, one, now)
            found = self._due(db, channel, now, claim, per_hour) if claim else []
            return self._claim(db, channel, found, now, bundles)

    def _settle(self, db: sa.Connection, channel: str, one: Ended, now: datetime) -> None:
        over = one.state not in (State.WAITING, State.SENDING)
        values: dict[str, Any] = {
            "state": one.state.value,
            "said": logs.clean(one.said)[:500],
            "ended": now if over else None,
        }
        values |= {"due": one.due} if one.due is not None else {}
        values |= {"doubtful": one.doubtful} if one.doubtful is not None else {}
        mine = _delivery.c.seq.in_(one.rows) & (_delivery.c.state == State.SENDING.value)
        db.execute(sa.update(_delivery).where(mine, _delivery.c.channel == channel).values(values))

    def _due(self, db: sa.Connection, channel: str, now: datetime, claim: int, per_hour: int) -> list[sa.Row[Any]]:
        c = _delivery.c
        waits = (c.channel == channel) & (c.state == State.WAITING.value) & (c.due <= now)
        if per_hour:
            used = self._used(db, channel, now)
            if used >= per_hour:
                waits &= c.rank >= Severity.URGENT.rank
            claim = min(claim, (per_hour if used < per_hour else 2 * per_hour) - used)
        if claim <= 0:
            return []
        found = sa.select(c.seq, c.address, c.rank, c.bundle).where(waits).order_by(c.rank.desc(), c.seq).limit(claim)
        return list(db.execute(found))

    def _used(self, db: sa.Connection, channel: str, now: datetime) -> int:
        """Sendings within the last hour; a bundle is one: its rows ended in the same moment at the same address."""
        c = _delivery.c
        gone = sa.select(c.ended, c.address).where(c.channel == channel, c.ended > now - HOUR)
        gone = gone.where(c.state == State.SENT.value).distinct()
        return int(db.execute(sa.select(sa.func.count()).select_from(gone.subquery())).scalar_one())

    def _claim(
        self, db: sa.Connection, channel: str, found: list[sa.Row[Any]], now: datetime, bundles: bool
    ) -> list[Sending]:
        groups, taken = list[list[int]](), set[int]()
        for row in found:
            if row.seq not in taken:
                groups.append(self._together(db, channel, row, now) if bundles or row.bundle else [row.seq])
                taken |= set(groups[-1])
        return self._sendings(db, groups, now) if groups else []

    def _together(self, db: sa.Connection, channel: str, row: sa.Row[Any], now: datetime) -> list[int]:
        """What goes with this one: those it went with before, or whatever else waits for its address, where that is
        many and none of it urgent. What goes as one once, does at every try: so it can be told again."""
        c = _delivery.c
        same = (c.channel == channel) & (c.address == row.address) & (c.state == State.WAITING.value)
        if row.bundle:
            return list(db.execute(sa.select(c.seq).where(same, c.bundle == row.bundle)).scalars())
        alone = same & (c.bundle == "") & (c.due <= now) & (c.rank < Severity.URGENT.rank) & (c.tries == 0)
        order = (c.rank.desc(), c.seq)
        found = list(db.execute(sa.select(c.seq).where(alone).order_by(*order).limit(MOST_IN_BUNDLE)).scalars())
        if len(found) < BUNDLE_FROM or row.seq not in found:
            return [row.seq]
        db.execute(sa.update(_delivery).where(c.seq.in_(found)).values(bundle=f"b{row.seq}"))
        return found

    def _sendings(self, db: sa.Connection, groups: list[list[int]], now: datetime) -> list[Sending]:
        c, every = _delivery.c, sorted(seq for group in groups for seq in group)
        joined = sa.select(_message, c.address, c.tries, c.doubtful, c.claimed, c.seq.label("row"))
        joined = joined.join(_delivery, c.message == _message.c.seq).where(c.seq.in_(every))
        rows = {row.row: row for row in db.execute(joined)}
        taken = {"state": State.SENDING.value, "claimed": now, "tries": c.tries + 1}
        db.execute(sa.update(_delivery).where(c.seq.in_(every)).values(taken))
        return [_sending([rows[seq] for seq in sorted(group)], now) for group in groups]

    # After a crash, and by and by

    def recover(self) -> int:
        """What was being sent when the last notifier died waits again and is doubtful; only whoever holds the
        notifier's lock may ask. How many there were."""
        values = {"state": State.WAITING.value, "doubtful": True, "said": "the notifier died while it was being sent"}
        with self._database.write() as db:
            dead = _delivery.c.state == State.SENDING.value
            return int(db.execute(sa.update(_delivery).where(dead).values(values)).rowcount)

    def let_go(self, in_use: Callable[[str], bool]) -> int:
        """Drop what waits for people who are not in use any more: how many."""
        c = _delivery.c
        waits = (c.state == State.WAITING.value) & c.channel.in_(sa.select(_delivery.c.channel).distinct())
        whose = sa.select(_message.c.person).join(_delivery, c.message == _message.c.seq).where(waits).distinct()
        with self._looking.read() as db:
            gone = [person for person in db.execute(whose).scalars() if person and not in_use(person)]
        if not gone:
            return 0
        said = {"state": State.DROPPED.value, "ended": self._clock.now(), "said": "may not come in any more"}
        theirs = c.message.in_(sa.select(_message.c.seq).where(_message.c.person.in_(gone)))
        with self._database.write() as db:
            return int(db.execute(sa.update(_delivery).where(waits, theirs).values(said)).rowcount)

    def tidy(self, usable: Collection[str]) -> int:
        """Give up what waited for a day, drop what waits for a channel that is off, forget what is old: how many ended
        without being sent."""
        now, c = self._clock.now(), _delivery.c
        with self._database.write() as db:
            waits = c.state == State.WAITING.value
            said = sa.literal("given up after a day: ") + c.said
            too_late = {"state": State.FAILED.value, "ended": now, "said": said}
            off = {"state": State.DROPPED.value, "ended": now, "said": "the channel is off or not set up"}
            gone = db.execute(sa.update(_delivery).where(waits, c.channel.not_in(sorted(usable))).values(off)).rowcount
            gone += db.execute(sa.update(_delivery).where(waits, c.until <= now).values(too_late)).rowcount
            old = sa.select(_message.c.seq).where(_message.c.made < now - KEEP_FOR)
            db.execute(sa.delete(_delivery).where(c.message.in_(old)))
            db.execute(sa.delete(_message).where(_message.c.made < now - KEEP_FOR))
            return int(gone)

    # Channels

    def health(self, name: str) -> ChannelHealth:
        """How a channel fares."""
        now, c = self._clock.now(), _delivery.c
        with self._looking.read() as db:
            row = db.execute(sa.select(_channel).where(_channel.c.name == name)).one_or_none()
            waiting = c.state.in_([State.WAITING.value, State.SENDING.value])
            mine = sa.select(sa.func.count()).select_from(_delivery).where(c.channel == name)
            day = mine.where(c.ended > now - timedelta(days=1))
            sent = sa.select(sa.func.max(c.ended).label("last")).where(c.channel == name, c.state == State.SENT.value)
            found = ChannelHealth(
                name,
                waiting=db.execute(mine.where(waiting)).scalar_one(),
                sent_day=db.execute(day.where(c.state == State.SENT.value)).scalar_one(),
                failed_day=db.execute(day.where(c.state == State.FAILED.value)).scalar_one(),
                last_sent=db.execute(sent).scalar_one_or_none(),
            )
        if row is None:
            return found
        return replace(
            found, rests_until=row.rests_until, failures=row.failures, needs_person=row.needs_person, said=row.said
        )

    def note(
        self,
        name: str,
        *,
        rests_until: datetime | None = None,
        failures: int = 0,
        needs_person: bool = False,
        said: str = "",
    ) -> None:
        """How a channel fares from now on."""
        values = {
            "rests_until": rests_until,
            "failures": failures,
            "needs_person": needs_person,
            "said": logs.clean(said)[:500],
        }
        with self._database.write() as db:
            db.execute(sa.delete(_channel).where(_channel.c.name == name))
            db.execute(sa.insert(_channel).values(name=name, **values))

    def record(self, notice: Notice, channel: str, address: str, state: State, said: str) -> None:
        """A message that was sent beside the queue, such as a test, for the history."""
        now = self._clock.now()
        with self._database.write() as db:
            self._add(db, [replace(notice, to=(), why_not="")], now)
            seq = db.execute(sa.select(_message.c.seq).where(_message.c.id == notice.id)).scalar_one()
            more = {"ended": now, "tries": 1, "said": logs.clean(said)[:500], "state": state.value}
            db.execute(sa.insert(_delivery), [_delivered(seq, notice.severity, channel, address, now, **more)])

    # History

    def history(
        self,
        *,
        channel: str = "",
        state: str = "",
        kind: str = "",
        symbol: str = "",
        person: str = "",
        text: str = "",
        before: int | None = None,
        most: int = 100,
    ) -> list[Told]:
        """What was told, newest first; the next page lies `before` the last one's `seq`. A message that no channel took
        has a line with channel '', which says why."""
        c, m = _delivery.c, _message.c
        wanted = [
            column == value
            for column, value in ((c.channel, channel), (c.state, state), (m.kind, kind), (m.symbol, symbol))
            if value
        ]
        wanted += [m.person == person] if person else []
        wanted += [m.title.icontains(text, autoescape=True) | m.text.icontains(text, autoescape=True)] if text else []
        wanted += [c.seq < before] if before is not None else []
        names = [c.channel, c.address, c.state, c.tries, c.doubtful, c.due, c.ended, c.said, c.seq.label("row")]
        found = sa.select(_message, *names).join(_delivery, c.message == m.seq).where(*wanted)
        with self._looking.read() as db:
            return [_told(row) for row in db.execute(found.order_by(c.seq.desc()).limit(most))]

    def counts(self) -> dict[str, int]:
        """How many deliveries are in which state."""
        c = _delivery.c
        counted = sa.select(c.state, sa.func.count().label("n")).group_by(c.state)
        with self._looking.read() as db:
            return {row.state: row.n for row in db.execute(counted)}


def _delivered(seq: int, severity: Severity, channel: str, address: str, due: datetime, **more: Any) -> dict[str, Any]:
    """A delivery's row, every column of it."""
    fresh = {"state": State.WAITING.value, "tries": 0, "doubtful": False, "bundle": "", "ended": None, "said": ""}
    what = {"message": seq, "channel": channel, "address": address, "rank": severity.rank, "due": due}
    return {**fresh, **what, "until": due + GIVE_UP_AFTER, "claimed": None, **more}


def _read(db: sa.Connection, name: str) -> Any:
    found = db.execute(sa.select(_position.c.value).where(_position.c.name == name)).scalar_one_or_none()
    return None if found is None else json.loads(found)


def _message_of(row: sa.Row[Any]) -> Message:
    severity = Severity(row.severity)
    return Message(row.id, severity, row.title, row.text, row.symbol, row.at, row.about, row.address)


def _sending(rows: list[sa.Row[Any]], now: datetime) -> Sending:
    since = min((row.claimed for row in rows if row.claimed is not None), default=now)
    message = _as_one([_message_of(row) for row in rows])
    doubtful, tries = any(row.doubtful for row in rows), max(row.tries for row in rows)
    return Sending(tuple(row.row for row in rows), message, tries, doubtful, since)


def _as_one(messages: list[Message]) -> Message:
    """Several messages to one address as one, each on a line."""
    if len(messages) == 1:
        return messages[0]
    name = hashlib.sha256("\x1f".join(m.id for m in messages).encode()).hexdigest()[:32]
    worst = max((m.severity for m in messages), key=lambda severity: severity.rank)
    lines = [f"{m.at:%H:%M} {m.headline}" for m in messages]
    newest = max(m.at for m in messages)
    return Message(f"bundle:{name}", worst, f"{len(messages)} notices", "\n".join(lines), "", newest, to=messages[0].to)


def _told(row: sa.Row[Any]) -> Told:
    same = ("id", "title", "text", "symbol", "person", "at", "made", "repeats", "channel", "address")
    more = ("tries", "doubtful", "due", "ended", "said")
    return Told(
        seq=row.row,
        kind=Kind(row.kind),
        severity=Severity(row.severity),
        state=State(row.state),
        **{name: getattr(row, name) for name in (*same, *more)},
    )
