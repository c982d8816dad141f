"""The trading engine's own program, with a note of every call to E*TRADE: when it was wanted, let go, and answered.

python -m benchmarks.watched_engine NOTES [--unlimited]     `--unlimited`: it does not keep to E*TRADE's limits
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trading_bot
from etrade.calls import Call, Caller
from etrade.limits import Limits, Module

BEFORE_SENDING = "the list before sending"


@dataclass(frozen=True, slots=True)
class Seen:
    """A call: seconds by the machine's clock when it was wanted, when the limits let it go, and when it was over."""

    what: str
    module: str
    wanted: float
    let: float
    done: float


@dataclass(frozen=True, slots=True)
class Notes:
    """What an engine wrote down in its life: `began` its first moment, `ready` when it could act."""

    began: float
    ready: float
    calls: list[Seen]


def read(path: Path) -> Notes:
    """Of the engine that wrote last; one that is not ready has 0 there."""
    found = Notes(0.0, 0.0, [])
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if "began" in told:
            found = Notes(told["began"], 0.0, [])
        elif "ready" in told:
            found = Notes(found.began, found.ready or told["ready"], found.calls)
        else:
            found.calls.append(Seen(**told))
    return found


def watch(path: Path, unlimited: bool) -> None:
    """From now on what this process asks of E*TRADE is written down."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    take, send, recover = Limits.take, Caller._send, vars(trading_bot)["recover"]
    let: ContextVar[float] = ContextVar("let")

    def note(**told: Any) -> None:
        os.write(file, f"{json.dumps(told)}\n".encode())

    async def taken(self: Limits, module: Module, *, urgent: bool = False) -> None:
        if not unlimited:
            await take(self, module, urgent=urgent)
        let.set(time.time())

    async def sent(self: Caller, call: Call, pair: Any = None) -> Any:
        wanted = time.time()
        let.set(wanted)
        what = BEFORE_SENDING if any(name == "symbol" for name, _ in call.query) else call.what
        try:
            return await send(self, call, pair)
        finally:
            note(what=what, module=str(call.module), wanted=wanted, let=let.get(), done=time.time())

    async def recovered(tools: Any) -> None:
        await recover(tools)
        note(ready=time.time())

    Limits.take, Caller._send = taken, sent  # type: ignore[method-assign]
    vars(trading_bot)["recover"] = recovered
    note(began=time.time())


def go_with(parent: int) -> None:
    """End when the measurement that started this process is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=go_with, args=(os.getppid(),), daemon=True).start()
    watch(Path(sys.argv[1]), "--unlimited" in sys.argv[2:])
    sys.exit(trading_bot.main([]))
