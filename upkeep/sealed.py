"""Secrets of a backup, under a passphrase: scrypt makes the key, AES-GCM seals and proves it.

The rule: a secret is in an archive only where somebody asked for it, and then only sealed.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from domain.errors import BackupError

MARK = b"candlestick-desk-sealed-1\n"
SHORTEST = 12
SALT, NONCE = 16, 12
_N, _R, _P = 2**16, 8, 1  # 64 MiB and a tenth of a second for each guess


def seal(files: Mapping[str, bytes], passphrase: str) -> bytes:
    """These files as one sealed block. BackupError for a passphrase shorter than 12 characters."""
    if len(passphrase) < SHORTEST:
        raise BackupError(f"a passphrase has at least {SHORTEST} characters: four random words do well")
    plain = json.dumps({name: base64.b64encode(content).decode() for name, content in files.items()}).encode()
    salt, nonce = os.urandom(SALT), os.urandom(NONCE)
    return MARK + salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, plain, MARK)


def unseal(block: bytes, passphrase: str) -> dict[str, bytes]:
    """What was sealed. BackupError where the passphrase is another, or the block was changed."""
    if not block.startswith(MARK):
        raise BackupError("the secrets in this archive are not sealed the way this version seals them")
    salt, rest = block[len(MARK) :][:SALT], block[len(MARK) + SALT :]
    try:
        plain = AESGCM(_key(passphrase, salt)).decrypt(rest[:NONCE], rest[NONCE:], MARK)
        found = json.loads(plain)
        return {str(name): base64.b64decode(content, validate=True) for name, content in found.items()}
    except (InvalidTag, ValueError, AttributeError, TypeError):
        raise BackupError("the passphrase does not fit the secrets in this archive, or they were changed") from None


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=_N, r=_R, p=_P).derive(passphrase.encode())
