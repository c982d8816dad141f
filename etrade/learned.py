"""Secrets that are learned while a program runs, told to whoever must keep them out of sight.

Settings know the secrets they were given; a token of today comes from E*TRADE, and only this room sees it come.
"""

from __future__ import annotations

from collections.abc import Callable

Hide = Callable[..., None]
_told: list[Hide] = []


def tell(hide: Hide) -> None:
    """From now on `hide` is called with each token and each token's secret, before anything is done with it."""
    if hide not in _told:
        _told.append(hide)


def learned(*secrets: str) -> None:
    """This program holds these from now on."""
    for hide in _told:
        hide(*secrets)
