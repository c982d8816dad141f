"""Requests and replies as E*TRADE writes them: JSON or XML, the same tree in both; refusals by status and code."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from html import escape
from urllib.parse import parse_qsl, unquote
from xml.etree import ElementTree

from domain.calendars import NEW_YORK

LARGEST_BODY = 64_000
LONGEST_NUMBER = 20  # digits
JSON, XML, HTML, TEXT = "application/json", "application/xml", "text/html", "text/plain"
_NAME = re.compile(r"[A-Za-z_][\w.-]*")

Tree = dict[str, object]


@dataclass(frozen=True, slots=True)
class Call:
    """A request, its target exactly as it came over the wire: signatures are over that."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def raw_path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def path(self) -> str:
        return unquote(self.raw_path)

    @property
    def query_pairs(self) -> list[tuple[str, str]]:
        return parse_qsl(self.target.partition("?")[2], keep_blank_values=True)

    @property
    def query(self) -> dict[str, str]:
        """The parameters, their names in lower case: pyetrade writes `detailflag`, the documents `detailFlag`."""
        return {name.lower(): value for name, value in self.query_pairs}

    @property
    def form(self) -> list[tuple[str, str]]:
        if not self.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded"):
            return []
        return parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True)

    @property
    def wants_json(self) -> bool:
        return self.path.endswith(".json") or JSON in self.headers.get("Accept", "")

    @property
    def route(self) -> list[str]:
        """The path without `.json`, in parts."""
        return self.path.removesuffix(".json").strip("/").split("/")


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back. `tree` is what `body` was made from, for faults that spoil it."""

    status: int
    body: bytes = b""
    kind: str = TEXT
    headers: dict[str, str] = field(default_factory=dict)
    tree: Tree | None = None


class Refused(Exception):
    """E*TRADE says no: an HTTP status, a code (None where it sends none) and a sentence."""

    def __init__(self, status: int, code: int | None, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    def reply(self, as_json: bool) -> Reply:
        error: Tree = {"message": self.message} if self.code is None else {"code": self.code, "message": self.message}
        return written({"Error": error}, as_json, self.status)


class Nothing(Exception):
    """There is nothing to show: HTTP 204 without a body."""


def invalid() -> Refused:
    """What E*TRADE says to anything malformed."""
    return Refused(400, 9999, "Please validate the input and try again")


def written(tree: Tree, as_json: bool, status: int = 200) -> Reply:
    """The tree as JSON or XML."""
    if as_json:
        return Reply(status, json.dumps(tree).encode(), JSON, tree=tree)
    [(name, inside)] = tree.items()
    text = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>' + _element(name, inside)
    return Reply(status, text.encode(), XML, tree=tree)


def page(body: str, status: int = 200) -> Reply:
    return Reply(status, body.encode(), f"{HTML}; charset=utf-8")


def text(body: str, status: int = 200) -> Reply:
    return Reply(status, body.encode(), f"{TEXT}; charset=utf-8")


def document(call: Call, root: str) -> Tree:
    """What is inside the body's one root element; 9999 where it is not what was expected."""
    if len(call.body) > LARGEST_BODY:
        raise invalid()
    tree = _read_xml(call.body) if call.body.lstrip().startswith(b"<") else _read_json(call.body)
    inside = tree.get(root)
    if not isinstance(inside, dict):
        raise invalid()
    return inside


def as_list(found: object) -> list[object]:
    """One or many, as a list."""
    if found is None:
        return []
    return found if isinstance(found, list) else [found]


def whole(found: object) -> int | None:
    """A whole number from JSON or XML; None where it is none."""
    try:
        number = Decimal(str(found).strip())
    except ArithmeticError:
        return None
    sane = number.is_finite() and number.adjusted() < LONGEST_NUMBER
    return int(number) if sane and number == number.to_integral_value() else None


def decimal(found: object) -> Decimal | None:
    """A number from JSON or XML; None where there is none, 9999 where it is no number."""
    if found is None or found == "":
        return None
    try:
        number = Decimal(str(found).strip())
    except ArithmeticError:
        raise invalid() from None
    if not number.is_finite() or isinstance(found, bool) or not -8 <= number.adjusted() <= 8 or len(str(found)) > 20:
        raise invalid()
    return number


def number(value: Decimal | float, places: int = 4) -> int | float:
    """A number as E*TRADE writes it: whole ones without a point."""
    rounded = round(float(value), places)
    return int(rounded) if rounded == int(rounded) else rounded


def seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def in_words(moment: datetime) -> str:
    """`10:30:15 EST 11-20-2026`."""
    return moment.astimezone(NEW_YORK).strftime("%H:%M:%S %Z %m-%d-%Y")


def _read_json(body: bytes) -> Tree:
    try:
        tree = json.loads(body, parse_float=Decimal)
    except (ValueError, RecursionError):
        raise invalid() from None
    if not isinstance(tree, dict):
        raise invalid()
    return tree


def _read_xml(body: bytes) -> Tree:
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise invalid()
    try:
        root = ElementTree.fromstring(body)  # noqa: S314 - no document types, and a small body
    except ElementTree.ParseError:
        raise invalid() from None
    return {root.tag: _inside(root)}


def _inside(element: ElementTree.Element) -> object:
    if not len(element):
        return (element.text or "").strip()
    tree: dict[str, object] = {}
    for child in element:
        value = _inside(child)
        if child.tag in tree:
            tree[child.tag] = [*as_list(tree[child.tag]), value]
        else:
            tree[child.tag] = value
    return tree


def _element(name: str, value: object) -> str:
    if isinstance(value, list):
        return "".join(_element(name, one) for one in value)
    assert _NAME.fullmatch(name), f"{name} cannot name an element"
    return f"<{name}>{_content(value)}</{name}>"


def _content(value: object) -> str:
    match value:
        case dict():
            return "".join(_element(str(name), one) for name, one in value.items())
        case bool():
            return str(value).lower()
        case None:
            return ""
        case _:
            return escape(str(value), quote=False)
