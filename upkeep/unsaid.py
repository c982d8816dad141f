"""What the doctor must not repeat: secrets that stand in settings, or that an error message carries along."""

from __future__ import annotations

import re

MOST = 300
_ADDRESS = re.compile(r"(://[^:/@\s]*):[^@\s]*@")


def unsaid(text: object) -> str:
    """The text in one line, cut to a sane length, with every known secret and every password in an address hidden."""
    line = _ADDRESS.sub(r"\1:[hidden]@", " ".join(str(text).split()))
    try:
        import settings

        secrets = settings.roughly().secrets()
    except Exception:  # noqa: BLE001 - settings that cannot be read name no secrets
        secrets = ()
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 4:
            line = line.replace(secret, "[hidden]")
    return line[:MOST]
