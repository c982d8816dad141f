"""The engine: the one process that acts. It takes the lease, recovers, then turns: commands, quotes, fills, protection.

python trading_bot.py                     run the desk of the chosen data source until Ctrl+C or SIGTERM
python trading_bot.py --kill 2            stop: 1 PAUSE, 2 CANCEL, 3 FLATTEN, 4 HALT (docs/trading.md)
python trading_bot.py --re-arm "checked"  trade again
python trading_bot.py --status            what the ledger says of the desk
python trading_bot.py --live-check        what E*TRADE's documents leave open, by one share (docs/live-checklist.md)
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
import time
import uuid
from typing import Any

import settings as settings_file
from desk import accounts_line, adoption_line, logs
from desk.adoptions import adoptions
from desk.authority import LOCAL_OWNER
from desk.engine import Engine, Parts
from desk.halt import write_halt
from desk.inbox import Inbox
from desk.place import Place
from desk.reader import Reader
from desk.switches import FLATTEN_WORD
from domain.clock import Clock, SystemClock, monotonic
from domain.commands import Command, CommandState, Kind
from domain.errors import DeskError, Fenced, LeaseHeld
from domain.trading_state import KillLevel

__all__ = ["Engine", "Parts", "main"]

log = logging.getLogger("engine")
ANSWER_WITHIN_S, LOOK_EVERY_S = 8.0, 0.1


def ask_to_stop(place: Place, level: KillLevel, reason: str, clock: Clock) -> str:
    """Ask the engine by its inbox; by file as well where that cannot be, and always for HALT."""
    said, taken = [], False
    try:
        payload = {"level": int(level), "reason": reason, "typed": FLATTEN_WORD}
        Inbox(place.ledger_url, clock).append(Command(f"kill-{uuid.uuid4().hex}", Kind.KILL, LOCAL_OWNER, payload))
        said.append(f"{level.name} is asked for in the inbox of {place.name}")
        taken = True
    except DeskError as error:
        said.append(f"the inbox does not take it ({error})")
    if level is KillLevel.HALT or not taken:
        path = place.halt_paths[-1]
        write_halt(path, level, reason)
        said.append(f"{path} is written: the engine obeys it until it is taken away")
    return "; ".join(said)


def status_words(reader: Reader, clock: Clock, place: Place) -> str:
    """The desk in a few lines."""
    control, engine, holder = reader.trading_state(), reader.engine(), reader.holder()
    age = None if engine is None else (clock.now() - engine.beat).total_seconds()
    lines = [
        f"desk      {place.name} ({place.words})",
        f"trading   {control.state}{f', {control.level.name}' if control.level else ''}: {control.reason}",
        f"engine    {f'{holder.name}, ' if holder else 'none holds the lease, '}"
        + (f"{engine.state}, heard {age:.0f} s ago" if engine and age is not None else "never heard"),
    ]
    for account in reader.accounts():
        held = {s: f"{p.quantity.normalize():f}" for s, p in reader.positions(account.name).items()}
        folded = reader.account(account.name)
        lines.append(f"account   {account.name}: cash {folded.cash if folded else '?'}, positions {held or 'none'}")
    lines.append(f"orders    {len(reader.open_orders())} open, {reader.queued()} commands wait")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """0 after a clean stop, 2 for wrong settings, 3 where another engine runs, 4 where the lease was lost."""
    import bootstrap  # the composition stands above; only a main may reach for it

    parser = _parser()
    asked, rest = parser.parse_known_args(arguments)
    if rest and asked.adopt is None:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    wish = adoption_line.wish(asked.adopt, rest) if asked.adopt is not None else {}
    if asked.live_check:
        return _live_check()
    logging.getLogger("streamlit").setLevel(logging.ERROR)  # it warns that no page runs around us
    try:
        logs.setup(settings_file.load(), "engine")
        for doubt in settings_file.doubts():
            log.warning(doubt)
        here = bootstrap.start()
        place = bootstrap.place_of(here)
        if asked.kill is not None:
            print(ask_to_stop(place, asked.kill, asked.reason, here.clock))
            return 0
        reader = Reader(place.ledger_url, here.clock)
        if asked.re_arm:
            payload = {"reason": asked.re_arm}
            actor = accounts_line.actor_here(bootstrap.accounts())
            command = Command(f"re-arm-{uuid.uuid4().hex}", Kind.RE_ARM, actor, payload)
            Inbox(place.ledger_url, here.clock).append(command)
            print("asked to re-arm; --status shows whether it was done")
            return 0
        step = (Kind.ADOPT, wish) if asked.adopt is not None else adoption_line.asked_of(asked)
        if step is not None:
            kind, payload = step
            return _ask(place, here.clock, accounts_line.actor_here(bootstrap.accounts()), kind, payload)
        if asked.ladder is not None:
            found = [one for one in adoptions(reader) if asked.ladder in ("", one.id)]
            print(adoption_line.ladder(place, reader, here.clock, found))
            return 0
        if asked.adopted:
            print(adoption_line.listed(reader, adoptions(reader)))
            return 0
        if asked.status:
            print(status_words(reader, here.clock, place))
            return 0
        return asyncio.run(_serve(bootstrap.engine_parts(here, where="process")))
    except LeaseHeld as error:
        print(f"Another engine runs: {error}", file=sys.stderr)
        return 3
    except Exception as error:
        if asked.kill is not None:
            return _stop_by_file(asked.kill, asked.reason, error)
        if not isinstance(error, DeskError):
            raise
        print(str(error), file=sys.stderr)
        return 2


def _ask(place: Place, clock: Clock, actor: str, kind: Kind, payload: dict[str, Any]) -> int:
    """Put it into the inbox and wait a moment for the engine's answer: 0 where it was done, 2 where it was refused."""
    inbox, key = Inbox(place.ledger_url, clock), f"{kind.name.lower()}-{uuid.uuid4().hex}"
    inbox.append(Command(key, kind, actor, payload))
    until = monotonic() + ANSWER_WITHIN_S
    while (answer := inbox.answer(key)) is None and monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    if answer is None:
        print("asked for; no engine has answered yet: --adopted shows whether it was done")
        return 0
    print(answer.said, file=sys.stdout if answer.state is CommandState.DONE else sys.stderr)
    return 0 if answer.state is CommandState.DONE else 2


def _live_check() -> int:
    from etrade import live_check

    try:
        settings = settings_file.load()
    except DeskError as error:
        print(str(error), file=sys.stderr)
        return 2
    return live_check.main(settings, SystemClock())


def _stop_by_file(level: KillLevel, reason: str, error: Exception) -> int:
    """Whatever is broken, this stops every desk of the data folder: 0 where it is written, 2 where nothing is."""
    path = settings_file.roughly().data_dir / "HALT"  # where the engine looks, whichever setting is wrong
    try:
        write_halt(path, level, reason)
    except OSError as unwritten:
        said = (
            f"NOT STOPPED: the desk cannot be opened ({error}) and {path} cannot be written ({unwritten.strerror}). "
            "End the engine's process (Ctrl+C where it runs); what rests at the broker stays there: close it on the "
            "broker's own site."
        )
        print(said, file=sys.stderr)
        return 2
    print(f"The desk cannot be opened ({error}); {path} is written: every engine of that folder obeys it.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="The trading engine, and its kill switch.", allow_abbrev=False)
    parser.add_argument("--kill", type=_level, metavar="LEVEL", help="1 PAUSE, 2 CANCEL, 3 FLATTEN, 4 HALT")
    parser.add_argument("--reason", default="from the command line", help="why, for the audit")
    parser.add_argument("--re-arm", metavar="WHY", help="trade again")
    parser.add_argument("--live-check", action="store_true", help="try E*TRADE with one share, far from the market")
    parser.add_argument("--status", action="store_true", help="what the ledger says of the desk")
    adoption_line.add_to(parser)
    return parser


def _level(text: str) -> KillLevel:
    names = {level.name for level in KillLevel} | {str(level.value) for level in KillLevel}
    if text.strip().upper() not in names:
        raise argparse.ArgumentTypeError(f"a level is 1 to 4, or pause, cancel, flatten, halt: got {text!r}")
    return KillLevel.read(text)


async def _serve(parts: Parts) -> int:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    engine = Engine(parts)
    await engine.open()
    log.info("%s runs %s", engine.name, parts.place.name)
    try:
        await engine.run(stop)
    except Fenced as error:
        log.error("%s", error)
        return 4
    finally:
        await engine.close()
    log.info("stopped; what rests at the broker stays there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
