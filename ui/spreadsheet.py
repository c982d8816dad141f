"""A table as CSV that a spreadsheet reads as what it says: a text that begins like a formula stays a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv(rows: Iterable[dict[str, Any]], columns: Iterable[str]) -> str:
    """The rows under these columns. Numbers are given as numbers; of a text that a spreadsheet would work out, the
    first sign is an apostrophe."""
    table = pd.DataFrame(list(rows), columns=list(columns))
    return table.map(cell).to_csv(index=False)


def cell(value: Any) -> Any:
    """One cell, safe to open."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) and not _number(value) else value


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text.strip() == text
