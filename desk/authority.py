"""Who may ask for what. Whoever is not named here may ask for nothing.

Until there are accounts, the one actor is the local owner: whoever can reach the dashboard on this machine.
"""

from __future__ import annotations

from domain.commands import Kind

LOCAL_OWNER = "owner"
_MAY: dict[str, frozenset[Kind]] = {LOCAL_OWNER: frozenset(Kind)}


def allows(actor: str, kind: Kind) -> bool:
    """Whether `actor` may ask for this."""
    return kind in _MAY.get(actor, frozenset())
