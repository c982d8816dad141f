"""The log of every program of this desk: one JSON object a line in `data/logs/desk.jsonl`, without any secret.

    logs.setup(settings, "engine")
    log = structlog.get_logger("desk"); log.warning("no prices", symbol="AAPL", order="1f03")

The rule: what is hidden is hidden at the root, after everything else is done, whoever logs it and however: values that
are known to be secret, in every spelling they travel in; keys and headers that hold secrets by their name; exceptions
with all their causes. Of an account's number the last four digits stay.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, quote_plus

import structlog
from filelock import FileLock

from domain.clock import SystemClock
from domain.errors import DeskError, UnknownName
from etrade.learned import tell
from settings import Settings

MOST_BYTES, KEPT = 10_000_000, 5
MASK = "[hidden]"
SHORTEST = 4  # a shorter secret would blank out ordinary words; its name still hides it
LEVELS = ("debug", "info", "warning", "error", "critical")
# Libraries that would log addresses and headers with keys in them.
_QUIET = (
    "twilio",
    "slack_sdk",
    "aiohttp",
    "urllib3",
    "requests",
    "requests_oauthlib",
    "oauthlib",
    "alembic",
    "apscheduler",
    "yfinance",
)
_SECRET_NAME = re.compile(
    r"(?i)(oauth_?(token|signature|verifier|nonce|consumer_key)|authorization|signature|password|passwd|secret|"
    r"api_?key|access_?token|auth_?token|bot_?token|consumer_?key|cookie|smtp_pass|webhook_url|credentials?)"
)
_ACCOUNT_NAME = re.compile(r"(?i)^(account_?id(_?key)?|account_?number|etrade_account_id)$")
_PATTERNS = (
    # Authorization: Basic abc=, and OAuth's list of parts to the end of the line
    (re.compile(r"(?i)(authorization['\"]?\s*[:=]\s*['\"]?)(basic|bearer)\s+[^\r\n'\"]+"), rf"\1\2 {MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), rf"\1 {MASK}"),
    (
        re.compile(
            r"(?i)\b(oauth_[a-z_]+|signature|api_?key|access_token|auth_token)(\\?['\"]?\s*[=:]\s*\\?['\"]?)[^\s&,'\"\\;<>)]+"
        ),
        rf"\1\2{MASK}",
    ),
    (re.compile(r"\bxox[a-z]-[A-Za-z0-9-]{8,}"), MASK),
    (re.compile(r"(https://hooks\.slack\.com/)[^\s'\"\\<>)]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://[^\s:/@'\"]+:)[^\s@/'\"]+@"), rf"\1{MASK}@"),
    # E*TRADE's account keys in its addresses, and numbers by their name
    (re.compile(r"(?i)(/accounts/)(?!list\b)[A-Za-z0-9_~%-]*?([A-Za-z0-9_~-]{4})(?=[/?.\s'\"\\]|$)"), r"\1…\2"),
    (
        re.compile(
            r"(?i)\b(account_?id(?:_?key)?|account_?number)(\\?['\"]?\s*[=:]\s*\\?['\"]?)[A-Za-z0-9_~-]*?([A-Za-z0-9_~-]{4})(?![A-Za-z0-9_~-])"
        ),
        r"\1\2…\3",
    ),
)


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # a terminal would do what they say
_ADDRESS = re.compile(r"https?://[^/?#]+/(.{8,})")


class Redactor:
    """Takes secrets out of texts and of whatever holds texts. Safe to use from many threads."""

    def __init__(self, secrets: Iterable[str] = (), accounts: Iterable[str] = ()) -> None:
        self._hidden: dict[str, str] = {}
        self._known: re.Pattern[str] | None = None
        self._turn = threading.Lock()
        self.hide(*secrets)
        self.hide_account(*accounts)

    def hide(self, *secrets: str) -> None:
        """From now on these values are never shown, as they are or as an address, JSON or Python would spell them. Of
        an address the path alone is as good as the whole: a server says it without its name."""
        whole = [*secrets, *filter(None, map(_path_of, secrets))]
        self._add({form: MASK for secret in whole if len(secret) >= SHORTEST for form in _forms(secret)})

    def hide_account(self, *accounts: str) -> None:
        """From now on only the last four digits are shown."""
        self._add({form: f"…{account[-4:]}" for account in accounts if len(account) > 4 for form in _forms(account)})

    def text(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(lambda found: self._hidden[found[0]], text)
        for pattern, instead in _PATTERNS:
            text = pattern.sub(instead, text)
        return text

    def value(self, value: Any, name: str = "") -> Any:
        """The same, with what its name says it holds hidden too; what is no JSON becomes its repr."""
        if name and _SECRET_NAME.search(name):
            return MASK if value not in (None, "", True, False) else value
        if name and _ACCOUNT_NAME.match(name):
            return f"…{str(value)[-4:]}" if value else value
        if isinstance(value, Mapping):
            return {self.text(str(key)): self.value(each, str(key)) for key, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(each) for each in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.text(value if isinstance(value, str) else repr(value))

    def _add(self, more: dict[str, str]) -> None:
        with self._turn:
            hidden = {**self._hidden, **more}
            if hidden:
                longest_first = sorted(hidden, key=len, reverse=True)
                self._hidden, self._known = hidden, re.compile("|".join(map(re.escape, longest_first)))


def _path_of(secret: str) -> str:
    """The part of an address after the server's name, where it is long enough to be no ordinary word."""
    found = _ADDRESS.match(secret)
    return found[1] if found else ""


def _forms(value: str) -> set[str]:
    spelled = {value, quote(value, safe=""), quote_plus(value), quote(value), repr(value)[1:-1], ascii(value)[1:-1]}
    spelled |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], repr(value.encode())[2:-1]}
    # A text that holds such a spelling may be spelled once more: a repr within a JSON string.
    return spelled | {json.dumps(form, ensure_ascii=False)[1:-1] for form in spelled}


_redactor = Redactor()


def hide(*secrets: str) -> None:
    """A secret that was learned while the program runs, such as a token: no log of this process shows it."""
    _redactor.hide(*secrets)


def clean(text: str) -> str:
    """A text as it may be kept or shown: what a stranger's server answered, for one, may hold what it was sent."""
    return _redactor.text(text)


def setup(settings: Settings, program: str, *, console: bool = True, level: int = logging.INFO) -> None:
    """Let this process log to the desk's file, and to its console unless told not to. Asking again starts over."""
    global _redactor
    _redactor = Redactor(settings.secrets(), settings.account_ids())
    tell(hide)  # E*TRADE's tokens, as they come
    logging.captureWarnings(True)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        if isinstance(old, JsonLines):
            old.close()
    root.setLevel(level)
    root.addHandler(
        JsonLines(
            settings.log_path, _formatter(program, structlog.processors.JSONRenderer(default=repr, ensure_ascii=False))
        )
    )
    if console:
        shown = logging.StreamHandler(sys.stderr)
        shown.setFormatter(_formatter(program, _plain_line))
        root.addHandler(shown)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.setLogRecordFactory(_record)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.filter_by_level,
            *_SHARED,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def restore() -> None:
    """Undo `setup`: this process logs as Python does by itself."""
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old, JsonLines) or isinstance(old.formatter, _Sealed):
            root.removeHandler(old)
            old.close()
    logging.setLogRecordFactory(logging.LogRecord)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def _record(*args: Any, **kwargs: Any) -> logging.LogRecord:
    """A record without secrets from its birth, for libraries that bring handlers of their own (Streamlit does)."""
    record = logging.LogRecord(*args, **kwargs)
    if isinstance(record.msg, Mapping):
        return record  # structlog's own: its words are formed, and hidden, at the root
    try:
        record.msg, record.args = _redactor.text(record.getMessage()), None
    except Exception:  # noqa: BLE001 - arguments that do not fit their text are no reason to stop, nor to show them
        record.msg, record.args = _redactor.text(str(record.msg)), None
    if record.exc_info and record.exc_info[0] is not None:
        record.exc_text = _redactor.text("".join(traceback.format_exception(*record.exc_info)).rstrip())
    return record


def _now(_: Any, __: str, event: Any) -> Any:
    event["at"] = SystemClock().now().isoformat(timespec="milliseconds")
    return event


_SHARED: list[Any] = [
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.stdlib.ExtraAdder(),
    _now,
]


def _formatter(program: str, render: Any) -> logging.Formatter:
    def name_program(_: Any, __: str, event: Any) -> Any:
        return {**event, "program": program, "pid": os.getpid()}

    def redact(_: Any, __: str, event: Any) -> Any:
        return _redactor.value(dict(event))

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_SHARED,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            name_program,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            redact,
            render,
        ],
    )
    return _Sealed(formatter)


class _Sealed(logging.Formatter):
    """Whatever a formatter made, once more without secrets; and a record that cannot be formatted is still a line."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        try:
            return _redactor.text(self._inner.format(record))
        except Exception as error:  # noqa: BLE001 - a log line must never break what it tells of
            said = {"event": f"a log line cannot be written: {type(error).__name__}", "logger": record.name}
            return json.dumps({**said, "level": "error", "at": SystemClock().now().isoformat()})


def _plain_line(_: Any, __: str, event: Any) -> str:
    told = dict(event)
    head = f"{told.pop('at', '')[11:19]} {told.pop('level', ''):<7} {told.pop('logger', '')}: {told.pop('event', '')}"
    trace = told.pop("exception", "")
    rest = " ".join(f"{name}={value}" for name, value in told.items() if name not in ("program", "pid"))
    line = f"{head}  {rest}" if rest else head
    return _CONTROLS.sub("?", f"{line}\n{trace}" if trace else line)


class JsonLines(logging.Handler):
    """Appends whole lines to a file that many processes share, and turns it over where it has grown too long. Only its
    owner may read it. A line that cannot be written is left: logging never stops what it tells of."""

    def __init__(self, path: Path, formatter: logging.Formatter, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self._path, self._most = path, most_bytes
        self._file: int | None = None
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(f"{self.format(record)}\n".encode("utf-8", "replace"))
        except OSError as error:
            self._let_go()
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(f"the log cannot be written: {error.strerror}\n")

    def close(self) -> None:
        self._let_go()
        super().close()

    def _write(self, line: bytes) -> None:
        file = self._opened()
        if os.fstat(file).st_size + len(line) > self._most:
            self._turn_over()
            file = self._opened()
        os.write(file, line)  # appended whole: O_APPEND, one call

    def _opened(self) -> int:
        """The file that is at its place now: another process may have turned it over."""
        if self._file is not None and not _is_at(self._path, self._file):
            self._let_go()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return self._file

    def _turn_over(self) -> None:
        with FileLock(f"{self._path}.lock", timeout=5):
            if self._path.exists() and self._path.stat().st_size > self._most // 2:
                for n in range(KEPT - 1, 0, -1):
                    with contextlib.suppress(FileNotFoundError):
                        numbered(self._path, n).replace(numbered(self._path, n + 1))
                self._path.replace(numbered(self._path, 1))
        self._let_go()

    def _let_go(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None


def numbered(path: Path, n: int) -> Path:
    """The file that was turned over n times ago."""
    return path.with_name(f"{path.name}.{n}")


def _is_at(path: Path, file: int) -> bool:
    try:
        there, held = path.stat(), os.fstat(file)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)


# Reading it


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log; `more` is whatever else it holds."""

    at: str
    level: str
    program: str
    logger: str
    event: str
    symbol: str
    order: str
    exception: str
    more: dict[str, Any]


def read(
    path: Path,
    *,
    level: str = "debug",
    symbol: str = "",
    order: str = "",
    text: str = "",
    since: datetime | None = None,
    most: int = 200,
) -> list[Line]:
    """The newest lines of at least that level, of that symbol and order, that hold that text; newest first. UnknownName
    for a level that there is not."""
    if level not in LEVELS:
        raise UnknownName.of("level", level, LEVELS)
    if most < 1:
        raise DeskError(f"at least one line must be asked for: got {most}")
    least = LEVELS.index(level)
    found: list[Line] = []
    for raw in _lines(path):
        if len(found) == most:
            break
        line = _line(raw)
        if line is None or (LEVELS.index(line.level) if line.level in LEVELS else 1) < least:
            continue
        if (symbol and line.symbol != symbol) or (order and line.order != order):
            continue
        if (text and text.lower() not in raw.lower()) or (since and line.at < since.isoformat()):
            continue
        found.append(line)
    return found


def _lines(path: Path) -> Iterator[str]:
    """Every line there is, newest first."""
    for file in [path, *(numbered(path, n) for n in range(1, KEPT + 1))]:
        with contextlib.suppress(FileNotFoundError), file.open("rb") as opened:
            yield from _backwards(opened)


def _backwards(file: BinaryIO, block: int = 262_144) -> Iterator[str]:
    """The lines of a file from its end, without reading more of it than is asked for."""
    at, rest = file.seek(0, os.SEEK_END), b""
    while at > 0:
        size = min(block, at)
        at -= size
        file.seek(at)
        first, *lines = (file.read(size) + rest).split(b"\n")
        rest = first
        for line in reversed(lines):
            if line:
                yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def _line(raw: str) -> Line | None:
    try:
        told = json.loads(raw)
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    names = ("at", "level", "program", "logger", "event", "symbol", "order", "exception")
    return Line(**{name: str(told.pop(name, "")) for name in names}, more=told)
