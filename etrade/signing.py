"""OAuth 1.0a, HMAC-SHA1: the Authorization header of a request.

The address is signed exactly as it goes out, so it must be final, percent-encoded, when it comes here.
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from oauthlib.oauth1 import Client

from etrade.learned import learned

# At DEBUG it writes tokens and signatures.
logging.getLogger("oauthlib").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Keys:
    """The consumer key and its secret: which program asks. One pair for each environment."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pair:
    """A token and its secret: for whom it asks. Whoever holds one has it kept out of every log (`etrade.learned`)."""

    token: str = field(repr=False)
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        learned(self.token, self.secret)


def nonce() -> str:
    """A word never used before."""
    return secrets.token_hex(16)


def authorization(
    method: str,
    url: str,
    keys: Keys,
    at: datetime,
    *,
    nonce: str,
    pair: Pair | None = None,
    callback: str | None = None,
    verifier: str | None = None,
) -> str:
    """The header's value. Bodies are JSON or absent and no part of the signature."""
    signer = Client(
        keys.key,
        keys.secret,
        resource_owner_key=pair.token if pair else None,
        resource_owner_secret=pair.secret if pair else None,
        callback_uri=callback,
        verifier=verifier,
        nonce=nonce,
        timestamp=str(int(at.timestamp())),
    )
    _, headers, _ = signer.sign(url, http_method=method)
    return str(headers["Authorization"])
