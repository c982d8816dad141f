"""What a gate answers: its name, how it decided, why in sentences, and the inputs it saw.

A check yields findings: a claim that must hold and what to say where it does not. Only a claim that is True holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from domain.context import Case


class Outcome(StrEnum):
    PASSED = "passed"
    WARNING = "warning"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Finding:
    """A claim, and the sentence for where it does not hold: thing, rule and cure. `warns` where it may be overruled.
    A `noted` one holds, and is said beside what its gate says when all is well."""

    holds: bool
    said: str
    warns: bool = False
    noted: bool = False


Check = Callable[[Case], Iterator[Finding]]


def must(claim: bool, said: str) -> Finding:
    return Finding(claim is True, said)


def should(claim: bool, said: str) -> Finding:
    return Finding(claim is True, said, warns=True)


def note(said: str) -> Finding:
    return Finding(True, said, noted=True)


def entry_must(case: Case, claim: bool, said: str) -> Finding:
    """It must hold for what opens a position, and only should for what makes one smaller."""
    return Finding(claim is True, said, warns=case.reduces)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's answer. `reasons` says everything that was wrong, `inputs` what the gate saw, as text for the log."""

    gate: str
    outcome: Outcome
    said: str
    reasons: tuple[str, ...]
    inputs: Mapping[str, str]

    @property
    def refused(self) -> bool:
        return self.outcome is not Outcome.PASSED and self.outcome is not Outcome.WARNING

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "gate": self.gate,
            "outcome": str(self.outcome),
            "said": self.said,
            "reasons": list(self.reasons),
            "inputs": dict(self.inputs),
        }
