"""desk/lease.py: of all engines one acts; the dead give way at once, and sleepers find the door shut."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from typing import Any

import pytest

from desk.lease import Lease
from desk.ledger import Ledger
from desk.reader import Reader
from domain.clock import ManualClock, SystemClock
from domain.errors import Fenced, LeaseHeld
from tests.ledgers import NOW, PROCESSES, acquired, opened, order, spawn

pytest_plugins = ["tests.ledger_fixtures"]


def desk(url: str) -> tuple[Ledger, ManualClock]:
    clock = ManualClock(NOW)
    return opened(url, clock), clock


def test_a_second_engine_is_told_who_holds_it_and_since_when(ledger_url: str) -> None:
    ledger, clock = desk(ledger_url)
    first = Lease(ledger.database, clock)
    first.acquire("engine 1")

    with pytest.raises(LeaseHeld, match=r"engine 1 acts on this ledger since 2026-11-20 15:30:00 UTC \(epoch 1\)"):
        Lease(opened(ledger_url).database, clock).acquire("engine 2")


def test_the_epoch_grows_with_each_holder(ledger_url: str) -> None:
    ledger, clock = desk(ledger_url)
    epochs = []
    for n in range(3):
        lease = Lease(ledger.database, clock)
        epochs.append(lease.acquire(f"engine {n}"))
        lease.release()

    assert epochs == [1, 2, 3]


def test_acquiring_again_what_is_ours_only_renews_it(ledger_url: str) -> None:
    ledger, clock = desk(ledger_url)
    lease = Lease(ledger.database, clock)
    lease.acquire("engine 1")
    clock.advance(seconds=5)

    assert lease.acquire("engine 1") == 1
    holder = lease.holder()
    assert holder is not None
    assert (holder.since, holder.until) == (NOW, NOW + timedelta(seconds=20))


def test_a_released_lease_is_nobodys_and_writes_nothing(ledger_url: str) -> None:
    ledger, clock = desk(ledger_url)
    lease = Lease(ledger.database, clock)
    epoch = lease.acquire("engine 1")
    lease.release()
    lease.release()

    assert lease.holder() is None
    with pytest.raises(Fenced, match="nobody holds the lease"), ledger.write(epoch):
        pass


def test_a_holder_that_renews_keeps_it_and_one_that_sleeps_loses_it(ledger_url: str) -> None:
    ledger, clock = desk(ledger_url)
    sleeper, other = Lease(ledger.database, clock), Lease(opened(ledger_url).database, clock)
    sleeper.acquire("sleeper")
    for _ in range(4):
        clock.advance(seconds=10)
        sleeper.renew()
    with pytest.raises(LeaseHeld):
        other.acquire("other")

    clock.advance(seconds=16)

    assert other.acquire("other") == 2
    with pytest.raises(Fenced, match=r"went to other \(epoch 2\)"):
        sleeper.renew()
    with pytest.raises(Fenced):
        sleeper.renew()


def test_who_took_it_from_a_sleeper_is_not_robbed_when_the_sleeper_lets_go(ledger_url: str) -> None:
    """The second engine has no lock while the sleeper lives; the third must believe its time to live."""
    ledger, clock = desk(ledger_url)
    sleeper, second, third = (Lease(opened(ledger_url).database, clock) for _ in range(3))
    sleeper.acquire("sleeper")
    clock.advance(seconds=16)
    second.acquire("second")
    sleeper.release()

    with pytest.raises(LeaseHeld, match="second acts"):
        third.acquire("third")
    second.renew()
    clock.advance(seconds=14)
    with pytest.raises(LeaseHeld, match="second acts"):
        third.acquire("third")

    holder = Reader(ledger_url, clock).holder()
    assert holder is not None
    assert (holder.name, holder.epoch, holder.locked) == ("second", 2, True)
    assert ledger.verify() == []


def renewed_until_locked(lease: Lease) -> bool:
    """A server takes a moment to notice that the last holder is gone."""
    for _ in range(100):
        lease.renew()
        holder = lease.holder()
        if holder is not None and holder.locked:
            return True
        time.sleep(0.02)
    return False


def hold(url: str, name: str, ttl_s: float, told: Any) -> None:
    """Take the lease, say so, then write an order whenever asked and say how it went."""
    ledger = opened(url, SystemClock())
    lease = Lease(ledger.database, SystemClock(), timedelta(seconds=ttl_s))
    epoch = lease.acquire(name)
    with ledger.write(epoch) as write:
        write.add_account("main", "margin", order().request.quantity)
    told.send(epoch)
    while (wanted := told.recv()) is not None:
        try:
            with ledger.write(epoch) as write:
                write.add_order(order(wanted))
            told.send("written")
        except Fenced as error:
            told.send(str(error))


def test_a_killed_engine_gives_way_long_before_its_time_is_up(ledger_url: str) -> None:
    ours, theirs = PROCESSES.Pipe()
    victim = spawn(hold, ledger_url, "victim", 3600.0, theirs)
    assert ours.recv() == 1
    lease = Lease(opened(ledger_url).database, SystemClock())
    with pytest.raises(LeaseHeld, match="victim"):
        lease.acquire("successor")

    victim.kill()
    victim.join()

    assert acquired(lease, "successor") == 2


def test_a_paused_twin_wakes_up_fenced(ledger_url: str) -> None:
    ours, theirs = PROCESSES.Pipe()
    twin = spawn(hold, ledger_url, "twin", 0.3, theirs)
    assert ours.recv() == 1
    os.kill(twin.pid, signal.SIGSTOP)
    ledger = opened(ledger_url, SystemClock())

    lease = Lease(ledger.database, SystemClock())
    epoch = acquired(lease, "successor")
    with ledger.write(epoch) as write:
        write.add_order(order("mine"))
    os.kill(twin.pid, signal.SIGCONT)
    ours.send("theirs")

    assert "the lease went to successor" in ours.recv()
    ours.send(None)
    twin.join()
    assert (epoch, renewed_until_locked(lease)) == (2, True)
    assert [o.id for o in Reader(ledger_url, SystemClock()).open_orders()] == ["mine"]
    assert [line.event for line in Reader(ledger_url, SystemClock()).audit_tail(2)] == ["order", "lease taken"]
