"""How much trading is allowed, and the four levels of the kill switch. Whatever cannot be read means stop."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class TradingState(StrEnum):
    """DISABLED sends nothing at all, REDUCE_ONLY what makes a position smaller, ENABLED whatever the gates pass."""

    DISABLED = "disabled"
    REDUCE_ONLY = "reduce only"
    ENABLED = "enabled"

    @classmethod
    def read(cls, value: object) -> TradingState:
        """The state `value` names; DISABLED for whatever names none."""
        return next((state for state in cls if isinstance(value, str) and state.value == value), cls.DISABLED)


_BY_STRICTNESS = (TradingState.DISABLED, TradingState.REDUCE_ONLY, TradingState.ENABLED)


def combine(*states: object) -> TradingState:
    """The strictest of them: global, account and instrument. Of none, or with one unreadable, DISABLED."""
    read = [TradingState.read(state) for state in states]
    return min(read, key=_BY_STRICTNESS.index, default=TradingState.DISABLED)


class KillLevel(IntEnum):
    """The kill switch, each level doing what those before it do and more."""

    PAUSE = 1
    CANCEL = 2
    FLATTEN = 3
    HALT = 4

    @classmethod
    def read(cls, value: object) -> KillLevel:
        """The level a control row or a file names, as 2, "2" or "cancel"; HALT for whatever names none."""
        if isinstance(value, bool) or not isinstance(value, str | int):
            return cls.HALT
        text = value.strip().upper() if isinstance(value, str) else str(int(value))
        return next((level for level in cls if text in (level.name, str(level.value))), cls.HALT)

    @property
    def trading_state(self) -> TradingState:
        """What it leaves of trading: HALT nothing, the others what reduces."""
        return TradingState.DISABLED if self is KillLevel.HALT else TradingState.REDUCE_ONLY

    @property
    def cancels_entries(self) -> bool:
        """Resting entries are cancelled; protective stops stay where they are. HALT sends nothing, cancels neither."""
        return self in (KillLevel.CANCEL, KillLevel.FLATTEN)

    @property
    def flattens(self) -> bool:
        """Every position is sold: its stop cancelled, confirmed, then closed in regular hours."""
        return self is KillLevel.FLATTEN

    @property
    def means(self) -> str:
        """What it does, for the person about to press it."""
        return _MEANS[self]


_MEANS = {
    KillLevel.PAUSE: "No new entries. Exits and protective stops go on.",
    KillLevel.CANCEL: "No new entries, and resting entries are cancelled. Protective stops stay.",
    KillLevel.FLATTEN: "Entries are cancelled and every position is closed, in regular hours or at the next open.",
    KillLevel.HALT: "Nothing is sent at all, not even exits. What rests at the broker stays there.",
}
