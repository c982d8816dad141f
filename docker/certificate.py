"""A certificate of one's own for the dashboard, in `DATA_DIR/tls`, where `docker/entrypoint` finds it.

    docker compose run --rm dashboard certificate [NAME ...] [--renew]

It is signed by nobody else, so browsers ask once whether it is believed: the fingerprint that is printed says whether
it is this one. A certificate that browsers know goes to the same two files: certificate.pem (the whole chain), key.pem.
"""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NAMES = ("localhost", "127.0.0.1")
GOOD_FOR = timedelta(days=397)  # what browsers still accept
CERTIFICATE, KEY = "certificate.pem", "key.pem"


def main(arguments: list[str] | None = None) -> int:
    """0 where it was made, 2 where one is there already or the folder cannot be written."""
    parser = argparse.ArgumentParser(prog="certificate", description="A certificate of its own for the dashboard.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="names and addresses beside localhost and 127.0.0.1")
    parser.add_argument("--renew", action="store_true", help="put another in the place of the one that is there")
    asked = parser.parse_args(arguments)
    folder = Path(os.environ.get("DATA_DIR") or "data") / "tls"
    if not asked.renew and any((folder / name).exists() for name in (CERTIFICATE, KEY)):
        print(f"{folder} has a certificate already: --renew puts another in its place", file=sys.stderr)
        return 2
    try:
        made = write(folder, [*NAMES, *(name for name in asked.names if name not in NAMES)], datetime.now(UTC))
    except (OSError, ValueError) as error:
        print(f"no certificate was made: {error}", file=sys.stderr)
        return 2
    print(f"{folder / CERTIFICATE} is good until {made.not_valid_after_utc:%Y-%m-%d}; SHA-256 fingerprint:")
    print(made.fingerprint(hashes.SHA256()).hex(":").upper())
    return 0


def write(folder: Path, names: list[str], now: datetime) -> x509.Certificate:
    """Both files, the key for its owner's eyes only. ValueError for what is no name, OSError where it cannot be
    written; then what was there still stands."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "The candlestick desk")])
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + GOOD_FOR)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _put(folder / KEY, secret)
    _put(folder / CERTIFICATE, made.public_bytes(serialization.Encoding.PEM))
    return made


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)  # ValueError for what is not plain ASCII


def _put(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    new.replace(path)


if __name__ == "__main__":
    sys.exit(main())
