"""A body as E*TRADE sends it, JSON or XML or a web page, as plain Python values. Nothing in here knows a field name.

Numbers are Decimal; NaN, infinities, numbers no market has, document types and bottomless nesting are refused.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NoReturn
from xml.parsers import expat

import orjson

DEEPEST = 40
LARGEST = Decimal(10) ** 18
_PROBLEM = re.compile(rb"oauth_problem=([a-z_]{1,40})")
_PAGE = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL)


class NotData(Exception):
    """The body is no JSON and no XML; the sentence says what it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The error in a body, whatever it was written in. `page` where it is a web page and no data at all."""

    code: int | None
    message: str
    problem: str
    page: bool = False


def read(body: bytes) -> dict[str, Any]:
    """The body's object; NotData where it is none."""
    text = body.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not text:
        raise NotData("an empty body")
    if text[:1] != b"<":
        return _read_json(text)
    if _PAGE.match(text[:2000]):
        raise NotData("a web page")
    return _read_xml(text)


def fault(body: bytes) -> Fault:
    """What an error's body says."""
    found = _PROBLEM.search(body)
    problem = found[1].decode() if found else ""
    try:
        value = read(body)
    except NotData:
        text = body[:20_000].decode("utf-8", "replace")
        return Fault(None, text, problem, page=bool(_PAGE.match(body[:2000].lstrip(b"\xef\xbb\xbf \t\r\n"))))
    error = look_up(value, "Error")
    if not isinstance(error, dict):
        return Fault(None, "", problem)
    message = look_up(error, "message")
    return Fault(_code(look_up(error, "code")), message if isinstance(message, str) else "", problem)


def has_error(value: dict[str, Any]) -> bool:
    """Whether an answer that came as a success is an error all the same."""
    return look_up(value, "Error") is not None


def look_up(value: dict[str, Any], name: str) -> Any:
    """The field, whichever case its first letter has; None where there is none."""
    found = value.get(name)
    if found is None:
        found = value.get(name[:1].swapcase() + name[1:])
    return found


def write(value: object) -> bytes:
    """JSON for a request; Decimals as numbers, to the digit."""
    return orjson.dumps(value, default=_number)


def _number(value: object) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(format(value, "f"))
    raise TypeError(f"not for a request: {type(value).__name__}")


def _code(value: object) -> int | None:
    """A code only where it is one: 0 and text are none."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,6}", value.strip()):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 10**6:
        return None
    return value


def _read_json(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except NotData:
        raise
    except (ValueError, ArithmeticError, RecursionError) as error:
        where = f" (at byte {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise NotData(f"not JSON, or cut off{where}") from None
    if not isinstance(value, dict):
        raise NotData("JSON, and no object")
    return value


def _no_constant(word: str) -> NoReturn:
    raise NotData(f"{word} where a number should stand")


def _read_xml(text: bytes) -> dict[str, Any]:
    tree = _Tree()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = tree.begin
    parser.EndElementHandler = tree.end
    parser.CharacterDataHandler = tree.text
    parser.StartDoctypeDeclHandler = tree.refuse
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError):
        raise NotData("not XML, or cut off") from None
    return tree.whole


class _Tree:
    """Elements as dicts, repeated ones as lists, leaves as text."""

    def __init__(self) -> None:
        self.whole: dict[str, Any] = {}
        self._open: list[tuple[dict[str, Any], list[str]]] = [(self.whole, [])]

    def begin(self, _: str, __: object) -> None:
        if len(self._open) > DEEPEST:
            raise NotData("XML without a bottom")
        self._open.append(({}, []))

    def end(self, name: str) -> None:
        children, words = self._open.pop()
        value: Any = children or "".join(words).strip()
        around = self._open[-1][0]
        if name not in around:
            around[name] = value
        elif isinstance(around[name], list):
            around[name].append(value)
        else:
            around[name] = [around[name], value]

    def text(self, words: str) -> None:
        self._open[-1][1].append(words)

    def refuse(self, *_: object) -> None:
        raise NotData("XML with a document type")
