"""What can be set from outside: the only reader of the environment, of `.env` and of secrets.

Every field has a line in `.env.example`; a wrong value is refused at the start, with its name and the cure. What was
typed on the Settings page (`kept_keys`) lies under both: what the environment or `.env` says wins.
"""

from __future__ import annotations

import difflib
import logging
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AliasChoices, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain import registry
from domain.errors import SettingsError
from domain.instruments import instrument
from kept_keys import KEEPABLE, kept_in

WRONG = "wrong settings (see .env.example): "
_OURS = re.compile(r"(ETRADE|SMTP|EMAIL|TWILIO|SMS|WHATSAPP|SLACK|WEBHOOK|PAPER|SIMULATED|DATA|MODELS|FETCH|BACKUP)_")
_log = logging.getLogger("desk")


@dataclass(frozen=True, slots=True)
class PaperAccount:
    """An account of the paper broker, as `name:kind:cash` says it: `main:margin:100000`."""

    name: str
    kind: str
    cash: Decimal

    @classmethod
    def parse(cls, text: str) -> PaperAccount:
        parts = text.split(":")
        try:
            name, kind, cash = parts[0].strip(), parts[1].strip().lower(), Decimal(parts[2].strip())
        except (IndexError, InvalidOperation):
            raise ValueError(
                f"a paper account is written name:kind:cash, such as main:margin:100000: got {text!r}"
            ) from None
        if len(parts) != 3 or not re.fullmatch(r"[A-Za-z0-9_-]{1,24}", name):
            raise ValueError(f"a paper account's name has up to 24 letters, digits, _ or -: got {text!r}")
        if kind not in ("cash", "margin"):
            raise ValueError(f"a paper account is cash or margin: got {kind!r} in {text!r}")
        if not (cash.is_finite() and 0 < cash <= 10**9):
            raise ValueError(f"a paper account's cash must be above zero and at most 1,000,000,000: got {text!r}")
        return cls(name, kind, cash)


def _also(name: str) -> AliasChoices:
    """Another name that is read where the field's own is not there: what the user's manual calls it."""
    return AliasChoices(name.replace("oauth", "access"), name)


def _list(value: object) -> object:
    return tuple(s.strip() for s in value.split(",") if s.strip()) if isinstance(value, str) else value


EMAIL = re.compile(r"[^@\s,;<>\"]{1,64}@[A-Za-z0-9.-]{1,190}")
PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


def check_address(value: str, kind: str) -> str:
    """An address of a person as `kind` (email or phone) wants it; ValueError says how it is written."""
    if kind == "email" and not EMAIL.fullmatch(value):
        raise ValueError(f"an email address looks like you@example.com: got {value!r}")
    value = re.sub(r"[ ().-]", "", value) if kind == "phone" else value
    if kind == "phone" and not PHONE.fullmatch(value):
        raise ValueError(f"a phone number starts with + and the country, such as +12125550123: got {value!r}")
    return value


def on_this_machine(url: str) -> bool:
    """Whether an address never leaves this machine, so that plain http gives nothing away."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


class Settings(BaseSettings):
    """All settings, read once. Field names are the environment's names in lower case."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    data_dir: Path = Path("data")
    models_dir: Path = Path("models")
    backup_dir: Path = Path("backups")
    backup_daily: int | None = Field(None, ge=0, le=23)
    backup_keep: int = Field(14, ge=1, le=3650)
    data_source: str = "simulated"
    watchlist: Annotated[tuple[str, ...], NoDecode] = ("AAPL", "NVDA", "MSFT", "SPY", "TSLA", "BTCUSDT")
    simulated_clock: Literal["shifted", "real"] = "shifted"
    simulated_start: str = ""
    demo_speed: float = Field(1.0, ge=1, le=120)
    candles_url: str = ""
    fetch_timeout_s: float = Field(20.0, gt=0, le=300)
    fetch_at_once: int = Field(32, ge=1, le=256)
    stream_batch: int | None = Field(None, ge=1, le=1000)
    stream_pause_s: float | None = Field(None, ge=0, le=60)
    chart_bars: int = Field(500, ge=50, le=1000)
    database_url: str = Field("", repr=False)
    engine: Literal["auto", "off"] = "auto"
    notifier: Literal["auto", "off"] = "auto"
    public_url: str = ""
    proxy_address: str = ""
    trading: Literal["paper", "etrade"] = "paper"
    paper_accounts: Annotated[tuple[PaperAccount, ...], NoDecode] = (PaperAccount("main", "margin", Decimal(100_000)),)
    paper_slippage_bps: float = Field(1.0, ge=0, le=1000)
    paper_volume_cap: float = Field(0.05, ge=0, le=1)
    etrade_environment: Literal["off", "sandbox", "production", "simulator"] = "off"
    etrade_consumer_key: str = Field("", repr=False)
    etrade_consumer_secret: str = Field("", repr=False)
    etrade_account_id: str = Field("", repr=False)
    etrade_access_token: str = Field("", repr=False, validation_alias=_also("etrade_oauth_token"))
    etrade_access_token_secret: str = Field("", repr=False, validation_alias=_also("etrade_oauth_token_secret"))
    etrade_simulator_url: str = "http://127.0.0.1:8189"
    etrade_list_lag_s: float = Field(30.0, ge=0, le=600)
    etrade_history: Literal["", "yahoo", "files", "simulated", "http"] = ""
    smtp_server: str = ""
    smtp_port: int = Field(587, ge=1, le=65535)
    smtp_security: Literal["auto", "starttls", "tls", "none"] = "auto"
    smtp_user: str = ""
    smtp_pass: str = Field("", repr=False)
    smtp_ca_file: str = ""
    email_from: str = ""
    email_to: Annotated[tuple[str, ...], NoDecode] = ()
    twilio_account_sid: str = Field("", repr=False)
    twilio_auth_token: str = Field("", repr=False)
    twilio_from_number: str = ""
    sms_to: Annotated[tuple[str, ...], NoDecode] = ()
    whatsapp_from_number: str = ""
    whatsapp_to: Annotated[tuple[str, ...], NoDecode] = ()
    twilio_url: str = "https://api.twilio.com"
    slack_webhook_url: str = Field("", repr=False)
    slack_bot_token: str = Field("", repr=False)
    slack_channel: str = ""
    slack_url: str = "https://slack.com/api/"
    webhook_url: str = Field("", repr=False)
    webhook_secret: str = Field("", repr=False)
    alert_timeout_s: float = Field(15.0, gt=0, le=120)

    @property
    def files_dir(self) -> Path:
        """The user's own candles."""
        return self.data_dir / "ohlcv"

    @property
    def store_dir(self) -> Path:
        """Candles kept from feeds."""
        return self.data_dir / "candles"

    @property
    def etrade_dir(self) -> Path:
        """E*TRADE's sign-in, encrypted."""
        return self.data_dir / "etrade"

    def desk_name(self, source: str) -> str:
        """What the files of the desk over the prices of `source` are called by."""
        if self.trading == "paper":
            return f"paper-{source}"
        return "live-etrade" if self.etrade_environment == "production" else "rehearsal-etrade"

    def live_path(self, source: str) -> Path:
        """Where that desk's engine leaves the newest prices for other processes."""
        return self.data_dir / f"live-{self.desk_name(source)}.db"

    @property
    def people_url(self) -> str:
        """The database of watch lists and preferences."""
        return f"sqlite:///{self.data_dir / 'people.db'}"

    @property
    def accounts_url(self) -> str:
        """The database of accounts and sign-ins."""
        return f"sqlite:///{self.data_dir / 'accounts.db'}"

    @property
    def notices_url(self) -> str:
        """The queue of what people are told, and its history."""
        return f"sqlite:///{self.data_dir / 'notices.db'}"

    @property
    def log_path(self) -> Path:
        """The log of every program of this desk, one JSON object a line."""
        return self.data_dir / "logs" / "desk.jsonl"

    def secrets(self) -> tuple[str, ...]:
        """Every value that no log, page or export may show; an account's number is kept apart (`account_ids`)."""
        hidden = (name for name, field in type(self).model_fields.items() if not field.repr)
        found = [str(getattr(self, name)) for name in hidden if name not in ("etrade_account_id", "database_url")]
        if self.database_url:
            found.append(urlsplit(self.database_url).password or "")
        return tuple(value for value in found if value)

    def account_ids(self) -> tuple[str, ...]:
        """Account numbers, of which the last four digits may be shown."""
        return (self.etrade_account_id,) if self.etrade_account_id else ()

    @field_validator("watchlist", "email_to", "sms_to", "whatsapp_to", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _list(value)

    @field_validator(
        "smtp_port",
        "smtp_security",
        "etrade_environment",
        "stream_batch",
        "stream_pause_s",
        "backup_daily",
        "backup_keep",
        mode="before",
    )
    @classmethod
    def _unsaid(cls, value: object, info: ValidationInfo) -> object:
        return cls.model_fields[str(info.field_name)].default if value == "" else value

    @field_validator("email_to")
    @classmethod
    def _emails(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_address(one, "email") for one in value)

    @field_validator("sms_to", "whatsapp_to")
    @classmethod
    def _phones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_address(one, "phone") for one in value)

    @field_validator("twilio_from_number", "whatsapp_from_number")
    @classmethod
    def _phone(cls, value: str) -> str:
        return check_address(value, "phone") if value.strip() else ""

    @field_validator("email_from")
    @classmethod
    def _sender(cls, value: str) -> str:
        return check_address(value.strip(), "email") if value.strip() else ""

    @field_validator("twilio_url", "slack_webhook_url", "slack_url", "webhook_url")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        parts = urlsplit(value := value.strip())
        safe = parts.scheme == "https" or (parts.scheme == "http" and on_this_machine(value))
        if value and not (safe and parts.hostname):
            raise ValueError("it must be an https:// address (http:// only to this machine)")
        return value

    @field_validator("public_url")
    @classmethod
    def _public(cls, value: str) -> str:
        parts = urlsplit(value := value.strip().rstrip("/"))
        if value and not (parts.scheme == "https" and parts.hostname and not parts.path and "@" not in parts.netloc):
            raise ValueError("it is the https:// address people type, without a path: https://desk.example.com")
        return value

    @field_validator("proxy_address")
    @classmethod
    def _proxy(cls, value: str) -> str:
        if value := value.strip():
            ip_address(value)
        return value

    @model_validator(mode="after")
    def _plain_mail_stays_here(self) -> Settings:
        if self.smtp_security == "none" and self.smtp_server not in ("127.0.0.1", "localhost", "::1"):
            raise ValueError("SMTP_SECURITY=none is for a mail server on this machine: use starttls or tls")
        return self

    @field_validator("watchlist")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(instrument(s).symbol for s in value)

    @field_validator("paper_accounts", mode="before")
    @classmethod
    def _accounts(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        found = tuple(PaperAccount.parse(text) for text in value.split(",") if text.strip())
        if not found or len({account.name for account in found}) < len(found):
            raise ValueError("PAPER_ACCOUNTS must name at least one account, and each name once")
        return found

    @field_validator("etrade_account_id")
    @classmethod
    def _account_number(cls, value: str) -> str:
        number = re.sub(r"[ -]", "", value)
        if number and not re.fullmatch(r"[0-9]{8}", number, re.ASCII):
            raise ValueError("an E*TRADE account number has 8 digits")
        return number

    @field_validator(
        "etrade_consumer_key",
        "etrade_consumer_secret",
        "etrade_access_token",
        "etrade_access_token_secret",
        "twilio_account_sid",
        "twilio_auth_token",
        "slack_bot_token",
        "webhook_secret",
    )
    @classmethod
    def _no_spaces(cls, value: str) -> str:
        if not re.fullmatch(r"[!-~]*", value := value.strip(), re.ASCII):
            raise ValueError("keys and tokens are plain letters, digits and signs without spaces: copy it again")
        return value

    @field_validator("data_source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        registry.check_name("feeds", value)
        return value


def load(**overrides: object) -> Settings:
    """Settings from the environment, `.env` and what is kept; SettingsError names each wrong one in its environment
    spelling. What is kept and cannot be used is left out (`kept_problem` says why)."""
    plain = _made(overrides)
    try:
        kept = kept_in(plain.data_dir).read()
        return over(kept, overrides) if kept else plain
    except SettingsError as error:
        _say_once(str(error))
        return plain


def roughly() -> Settings:
    """Settings in which each wrong one stands at its default: for the doctor, who looks on whatever is wrong."""
    values: dict[str, Any] = {}
    try:
        for _ in Settings.model_fields:
            try:
                return Settings(**values)
            except ValidationError as error:
                named = {str(one["loc"][0]) for one in error.errors() if one["loc"]}
                defaults = {
                    one: field.default
                    for name, field in Settings.model_fields.items()
                    for one in {name, *(spelled.lower() for spelled in _spellings(name))} & named
                }
                if not defaults.keys() - values.keys():
                    break
                values |= defaults
    except (OSError, UnicodeDecodeError):
        pass
    return Settings.model_construct()


def over(kept: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Settings:
    """The settings with these kept ones under what the environment and `.env` say; SettingsError as `load`."""
    told = said()
    return _made({**{name: kept[name] for name in KEEPABLE if name in kept and name not in told}, **(overrides or {})})


def without_ours(**only: str) -> dict[str, str]:
    """The environment for a program that shall see none of our settings but these (by their names in lower case)."""
    ours = {one for name in Settings.model_fields for one in _spellings(name)}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in ours}
    return {**kept, **{name.upper(): value for name, value in only.items()}}


def kept_problem() -> str:
    """Why what is kept is not used; '' where it is, or where nothing is kept."""
    try:
        over(kept_in(_made({}).data_dir).read())
    except SettingsError as error:
        return str(error)
    return ""


def said() -> dict[str, str]:
    """Which settings the environment or `.env` gives a value, by their names in lower case, and which of the two. An
    empty one says nothing."""
    file = {name.upper(): value for name, value in _env_file().items()}
    outside = {name.upper(): value for name, value in os.environ.items()}
    found = {}
    for name in Settings.model_fields:
        spelled = _spellings(name)
        if any(outside.get(one) for one in spelled):
            found[name] = "the environment"
        elif any(file.get(one) for one in spelled):
            found[name] = ".env"
    return found


def doubts() -> list[str]:
    """What may be meant otherwise in `.env`: names like ours that nobody reads, a proxy that is not named, and a file
    that others can read."""
    known = [one for name in Settings.model_fields for one in _spellings(name)]
    found = []
    for name in (name.upper() for name in _env_file()):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name not in known and (near or _OURS.match(name)):
            near = near or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            found.append(f".env says {name}, which nobody reads: is {near[0]} meant?")
    found += _misread()
    settings = load()
    if settings.public_url and not settings.proxy_address:
        found.append(
            "PUBLIC_URL is set and PROXY_ADDRESS is not: whoever mistypes passwords counts as the proxy, so that one "
            "stranger locks everybody out. Set PROXY_ADDRESS to the proxy's address as this desk sees it."
        )
    path = _env_path()
    if path and os.name == "posix" and path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        found.append(f"others on this machine can read {path.name} and the keys in it: chmod 600 {path.name}")
    return found


def _misread() -> list[str]:
    """Lines that are none, and values in which something is put in the place of what was written."""
    path = _env_path()
    if not path or not path.is_file():
        return []
    with path.open(encoding="utf-8-sig") as opened:
        lines = [one.original.line for one in parse_stream(opened) if one.error]
    found = [f".env, line {line}: this is no NAME=value, so nobody reads it" for line in lines]
    plain, file = dotenv_values(path, encoding="utf-8", interpolate=False), _env_file()
    changed = sorted(name.upper() for name in plain if plain[name] != file.get(name))
    return found + [f".env: the ${{…}} in {name} is replaced by what the environment says" for name in changed]


def _spellings(name: str) -> list[str]:
    alias = Settings.model_fields[name].validation_alias
    names = [str(one) for one in alias.choices] if isinstance(alias, AliasChoices) else [name]
    return [one.upper() for one in names]


def _env_path() -> Path | None:
    path = Settings.model_config.get("env_file")
    return Path(str(path)) if path else None


def _env_file() -> dict[str, str | None]:
    path = _env_path()
    return dict(dotenv_values(path, encoding="utf-8")) if path and path.is_file() else {}


def _made(values: Mapping[str, object]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(WRONG + "; ".join(_line(dict(one)) for one in error.errors())) from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise SettingsError(f"{_env_path()}: line {line} is no UTF-8 text: save the file as UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{_env_path()} cannot be read: {error.strerror or error}") from None


def _line(wrong: Mapping[str, Any]) -> str:
    name, said = ".".join(map(str, wrong["loc"])).upper(), str(wrong["msg"]).removeprefix("Value error, ")
    return f"{name}: {said}" if name else said


_told_of: set[str] = set()


def _say_once(problem: str) -> None:
    if problem not in _told_of:
        _told_of.add(problem)
        _log.warning("opened without the kept settings: %s", problem)
