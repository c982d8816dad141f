"""Where E*TRADE is: production, its sandbox of canned answers, or the simulator on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from domain.errors import SettingsError

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Environment:
    """Base addresses, without a slash at the end. `canned`: answers do not match what was asked."""

    name: str
    api: str
    oauth: str
    authorize: str
    canned: bool = False

    def __post_init__(self) -> None:
        for address in (self.api, self.oauth, self.authorize):
            parts = urlsplit(address)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
                raise SettingsError(
                    f"E*TRADE's address must begin with https:// (http:// only on this machine): got {parts.scheme}://"
                    f"{parts.hostname or ''}; check ETRADE_SIMULATOR_URL"
                )


PRODUCTION = Environment(
    "production",
    "https://api.etrade.com/v1",
    "https://api.etrade.com/oauth",
    "https://us.etrade.com/e/t/etws/authorize",
)
SANDBOX = Environment(
    "sandbox",
    "https://apisb.etrade.com/v1",
    "https://api.etrade.com/oauth",
    "https://us.etrade.com/e/t/etws/authorize",
    canned=True,
)


def simulator(url: str) -> Environment:
    base = url.rstrip("/")
    return Environment("simulator", f"{base}/v1", f"{base}/oauth", f"{base}/e/t/etws/authorize")
