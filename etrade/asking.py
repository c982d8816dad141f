"""What every group of calls stands on: a call in, a typed answer out; and the words that go into addresses."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TypeVar

from domain.clock import Clock
from etrade.calls import Call, Caller
from etrade.environments import Environment
from etrade.errors import RequestWrong, Unreadable
from etrade.fields import Fields, read_as
from etrade.signing import Keys
from etrade.tokens import NEW_YORK, TokenKeeper

T = TypeVar("T")
MOST_PAGES = 400
NOTHING_FOUND = 53
_SYMBOL = re.compile(r"[A-Z0-9.$^/:-]{1,40}", re.ASCII)


class Asker:
    """One consumer key at one environment."""

    def __init__(self, environment: Environment, keys: Keys, keeper: TokenKeeper, caller: Caller, clock: Clock) -> None:
        self.environment, self.clock = environment, clock
        self._keys, self._keeper, self._caller = keys, keeper, caller

    async def _ask(self, call: Call, root: str, reader: Callable[[Fields], T]) -> T:
        """The typed answer. Unreadable where there is none."""
        body = await self._caller.read(call)
        if body is None:
            raise Unreadable(f"the answer to {call.what} cannot be used", ["it is empty"], status=204)
        return read_as(body, root, call.what, reader)

    async def _ask_or(self, call: Call, root: str, reader: Callable[[Fields], T], nothing: T) -> T:
        """The typed answer, or `nothing` for 204 and for E*TRADE's "nothing found"."""
        try:
            body = await self._caller.read(call)
        except RequestWrong as error:
            if error.code != NOTHING_FOUND:
                raise
            return nothing
        return nothing if body is None else read_as(body, root, call.what, reader)


def path_word(word: str) -> str:
    """An account's key or a transaction's id, as a segment of a path."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,80}", word, re.ASCII):
        raise ValueError("an account key is letters, digits, - and _")
    return word


def days_word(name: str, day: date | None) -> tuple[tuple[str, str], ...]:
    if isinstance(day, datetime):
        day = day.astimezone(NEW_YORK).date()
    return ((name, f"{day:%m%d%Y}"),) if day else ()


def symbol_word(symbol: str) -> str:
    """As E*TRADE names it; an option's strike loses its zeros, so that the answer is found again."""
    word = symbol.strip().upper()
    if not _SYMBOL.fullmatch(word):
        raise RequestWrong(f"no symbol: {symbol[:40]!r}")
    head, colon, strike = word.rpartition(":")
    if not colon:
        return word
    try:
        return f"{head}:{Decimal(strike).normalize():f}"
    except InvalidOperation:
        raise RequestWrong(f"no symbol: {symbol[:40]!r}") from None


async def through_pages(what: str, page: Callable[[str], Awaitable[str]]) -> None:
    """Ask for page after page by its marker, until there is none; markers that repeat are no pages."""
    seen: set[str] = set()
    marker = await page("")
    while marker:
        if marker in seen or len(seen) >= MOST_PAGES:
            raise Unreadable(f"{what} cannot be used", ["its pages go in a circle"])
        seen.add(marker)
        marker = await page(marker)


async def together(asked: Sequence[Awaitable[T]]) -> list[T]:
    """All answers, or the first error once none is left running."""
    answers = await asyncio.gather(*asked, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return [answer for answer in answers if not isinstance(answer, BaseException)]
