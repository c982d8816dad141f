"""The whole desk under everything at once: whatever happens in whatever order, the invariants hold."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.faults.machine import DeskMachine

DeskMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestDesk = DeskMachine.TestCase
