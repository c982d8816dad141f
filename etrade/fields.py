"""Reading fields out of a body at the border: what is missing or mistyped is named, all of it at once.

A reader asks for every field it wants; what cannot be had is noted and stood in for, and `read_as` raises Unreadable
at the end, so that a value made of stand-ins never leaves. Unknown fields are ignored.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from etrade.body import LARGEST, look_up
from etrade.errors import Unreadable

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS_FROM = 10**11
LATEST_S = 4_102_444_800  # 2100
MOST_FAULTS = 50
MOST_DIGITS = 30
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_TRUE, _FALSE = frozenset({"true", "y", "1"}), frozenset({"false", "n", "0", ""})


def read_as(body: Any, root: str, what: str, reader: Callable[[Fields], T]) -> T:
    """What `reader` makes of the object under `root`. Unreadable names every fault."""
    faults: list[str] = []
    inner = look_up(body, root) if isinstance(body, dict) else None
    if not isinstance(inner, dict):
        raise Unreadable(f"the answer to {what} cannot be used", [f"{root} is missing"])
    made = reader(Fields(inner, "", faults))
    if faults:
        raise Unreadable(f"the answer to {what} cannot be used", faults)
    return made


class Fields:
    """One object of a body. `need_*` fields must be there; the others are None where they are absent, empty or 0
    (for times and prices), and a fault where they are there and no such thing."""

    def __init__(self, value: dict[str, Any], path: str, faults: list[str]) -> None:
        self._value, self._path, self.faults = value, path, faults

    def lenient(self) -> Fields:
        """The same object, whose faults do not count: for what is only told to a person."""
        return Fields(self._value, self._path, [])

    def has(self, name: str) -> bool:
        return look_up(self._value, name) is not None

    def text(self, name: str) -> str:
        """'' where it is absent."""
        value = look_up(self._value, name)
        if value is None or value == {}:
            return ""
        if isinstance(value, bool | dict | list):
            return self._fault(name, "is no text", "")
        words = str(value).strip()
        if not words.isascii() and any("\ud800" <= letter <= "\udfff" for letter in words):
            return self._fault(name, "is no text", "")
        return words

    def need_text(self, name: str) -> str:
        found = self.text(name)
        return found if found else self._missing(name, "")

    def number(self, name: str) -> Decimal | None:
        value = look_up(self._value, name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        found = _decimal(value)
        if found is None:
            return self._fault(name, "is no number", None)
        return found

    def need_number(self, name: str) -> Decimal:
        found = self.number(name)
        return found if found is not None else self._missing(name, Decimal(0))

    def price(self, name: str) -> Decimal | None:
        """A number above zero; E*TRADE writes 0 for none. Below zero is a fault."""
        found = self.number(name)
        if found is not None and found < 0:
            return self._fault(name, f"is below zero: {found}", None)
        return found or None

    def need_quantity(self, name: str) -> Decimal:
        """Zero or more."""
        found = self.need_number(name)
        return found if found >= 0 else self._fault(name, f"is below zero: {found}", Decimal(0))

    def whole(self, name: str) -> int | None:
        found = self.number(name)
        if found is None:
            return None
        if found != found.to_integral_value():
            return self._fault(name, "is no whole number", None)
        return int(found)

    def need_id(self, name: str) -> int:
        """A whole number above zero: an order's, a preview's, a position's name."""
        value = look_up(self._value, name)
        if value is None or value == "":
            return self._missing(name, 0)
        if isinstance(value, Decimal) or not isinstance(value, int | str) or isinstance(value, bool):
            return self._fault(name, "is no id", 0)
        text = str(value) if isinstance(value, int) and abs(value) < LARGEST * 10 else value
        if not (isinstance(text, str) and re.fullmatch(r"[1-9][0-9]{0,18}", text.strip(), re.ASCII)):
            return self._fault(name, "is no id", 0)
        return int(text)

    def id(self, name: str) -> int | None:
        """None where it is absent or 0."""
        return self.need_id(name) if look_up(self._value, name) not in (None, "", 0, "0") else None

    def flag(self, name: str) -> bool:
        """False where it is absent."""
        value = look_up(self._value, name)
        if value is None or isinstance(value, bool):
            return bool(value)
        word = value.strip().lower() if isinstance(value, str) else None
        if word not in _TRUE | _FALSE:
            return self._fault(name, "is neither true nor false", False)
        return word in _TRUE

    def time(self, name: str) -> datetime | None:
        """Seconds or milliseconds by their size, as UTC; 0 and below mean that there is none."""
        found = self.number(name)
        if found is None or found <= 0:
            return None
        seconds = found / 1000 if found > MILLISECONDS_FROM else found
        if seconds > LATEST_S:
            return self._fault(name, f"is no time: {found}", None)
        return datetime.fromtimestamp(float(seconds), tz=UTC)

    def need_time(self, name: str) -> datetime:
        found = self.time(name)
        return found if found is not None else self._missing(name, EPOCH)

    def child(self, name: str) -> Fields:
        """The object under `name`, or an empty one where there is none."""
        value = look_up(self._value, name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if value is not None and value != "" and not isinstance(value, dict):
            self._fault(name, "is no object", None)
        return Fields(value if isinstance(value, dict) else {}, self._at(name) + ".", self.faults)

    def need_child(self, name: str) -> Fields:
        if not self.has(name):
            # What would have been read from it is gone with it: one fault says so.
            self._missing(name, None)
            return Fields({}, self._at(name) + ".", [])
        return self.child(name)

    def many(self, name: str) -> Iterator[Fields]:
        """Each object of a list; one alone may stand without its list. Nothing where it is absent."""
        value = look_up(self._value, name)
        if value is None or value == "":
            return
        for at, item in enumerate(value if isinstance(value, list) else [value]):
            where = f"{self._at(name)}[{at}]"
            if isinstance(item, dict):
                yield Fields(item, where + ".", self.faults)
            else:
                self._note(f"{where} is no object")

    def need_many(self, name: str, *, some: bool = False) -> Iterator[Fields]:
        """As `many`; a fault where the list is not there, or is empty though it must have `some`."""
        value = look_up(self._value, name)
        if value is None or value == "" or (some and value == []):
            self._missing(name, None)
        return self.many(name)

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers, or one alone."""
        value = look_up(self._value, name)
        items = value if isinstance(value, list) else [] if value is None else [value]
        found = [_decimal(item) for item in items]
        if any(number is None for number in found):
            return self._fault(name, "is no list of numbers", [])
        return [int(number) for number in found if number is not None]

    def _at(self, name: str) -> str:
        return f"{self._path}{name}"

    def _missing(self, name: str, stand_in: T) -> T:
        return self._fault(name, "is missing", stand_in)

    def _fault(self, name: str, rule: str, stand_in: T) -> T:
        self._note(f"{self._at(name)} {rule}")
        return stand_in

    def _note(self, fault: str) -> None:
        # `need_text` and the like find the same field wanting twice.
        field = fault.split(" ", 1)[0]
        if len(self.faults) < MOST_FAULTS and not any(known.split(" ", 1)[0] == field for known in self.faults):
            self.faults.append(fault[:120])


def _decimal(value: object) -> Decimal | None:
    """The number, where it is one a market could have."""
    if isinstance(value, str):
        word = value.strip()
        value = Decimal(word) if _NUMBER.fullmatch(word) else None
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return None
    if isinstance(value, int):
        return Decimal(value) if abs(value) < LARGEST * 10 else None
    few = value.is_finite() and len(value.as_tuple().digits) <= MOST_DIGITS and abs(value.adjusted()) <= MOST_DIGITS
    return value if few and abs(value) < LARGEST * 10 else None
