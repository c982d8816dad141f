"""What can be set from outside: the only reader of the environment, of `.env` and of secrets.

Every field has a line in `.env.example`; a wrong value is refused at the start, with its name and the cure.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain import registry
from domain.errors import SettingsError
from domain.instruments import instrument


class Settings(BaseSettings):
    """All settings, read once. Field names are the environment's names in lower case."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    data_dir: Path = Path("data")
    data_source: str = "simulated"
    watchlist: Annotated[tuple[str, ...], NoDecode] = ("AAPL", "NVDA", "MSFT", "SPY", "TSLA", "BTCUSDT")
    simulated_clock: Literal["shifted", "real"] = "shifted"
    simulated_start: str = ""
    candles_url: str = ""
    fetch_timeout_s: float = Field(20.0, gt=0, le=300)
    fetch_at_once: int = Field(32, ge=1, le=256)
    chart_bars: int = Field(500, ge=50, le=1000)

    @property
    def files_dir(self) -> Path:
        """The user's own candles."""
        return self.data_dir / "ohlcv"

    @property
    def store_dir(self) -> Path:
        """Candles kept from feeds."""
        return self.data_dir / "candles"

    @property
    def people_url(self) -> str:
        """The database of watch lists and preferences."""
        return f"sqlite:///{self.data_dir / 'people.db'}"

    @field_validator("watchlist", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(s.strip() for s in value.split(",") if s.strip()) if isinstance(value, str) else value

    @field_validator("watchlist")
    @classmethod
    def _symbols(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(instrument(s).symbol for s in value)

    @field_validator("data_source")
    @classmethod
    def _known_source(cls, value: str) -> str:
        registry.check_name("feeds", value)
        return value


def load(**overrides: object) -> Settings:
    """Settings from the environment and `.env`; SettingsError names each wrong one in its environment spelling."""
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        raise SettingsError("wrong settings (see .env.example): " + "; ".join(lines)) from None
