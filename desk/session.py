"""What the engine needs of a broker's sign-in, written next to who uses it."""

from __future__ import annotations

from typing import Any, Protocol


class Session(Protocol):
    """A sign-in this process may own. Accounts, checks and the status come as JSON values without a secret."""

    def status(self) -> dict[str, Any]:
        """How it stands, without asking the broker: `signed_in`, `owner`, `said`, `seconds_left` among others."""
        ...

    def wished(self) -> set[str]:
        """Symbols that other processes look at, which only the owner can ask for."""
        ...

    async def keep_alive(self) -> None:
        """Take the ownership where it is free, and keep a sign-in awake. Nothing is raised where nobody signed in."""
        ...

    async def link(self) -> str:
        """The address where a person lets us in."""
        ...

    async def finish(self, code: str) -> list[dict[str, Any]]:
        """Sign in with the code of the last link: the accounts found."""
        ...

    async def sign_out(self) -> None:
        """End the sign-in."""
        ...

    async def check(self, account: str = "") -> list[dict[str, Any]]:
        """What stands in the way, one thing after the other: name, verdict, said, cure. `account`: the one picked."""
        ...

    async def release(self) -> None:
        """Let another process own it."""
        ...
