"""One Parquet file of kept candles: small, exact, quick to read, its coverage inside.

Prices become whole numbers that give back the very same float64 (see `_integers`); what is written is how
each bar differs from the one before: `gap` (open minus previous close), `body` (close minus open), `up` and
`down` (the wicks). The rest (first close, time unit, covered spans) is JSON in the file's own metadata, so
that bars and coverage can only change together.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from domain.candles import COLUMNS, nanos

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
NanoSpans = tuple[tuple[int, int], ...]

_KEY = b"candles"
_FORMAT = 1
_MOST_DECIMALS = 8
_EXACT = float(2**53)  # beyond it not every whole number is a float64
_SAMPLE = 512
# Measured on minute bars: wicks and volumes are smallest split by byte, the rest as
# differences or a dictionary.
_ENCODING = {
    "time": "DELTA_BINARY_PACKED",
    "body": "DELTA_BINARY_PACKED",
    "up": "BYTE_STREAM_SPLIT",
    "down": "BYTE_STREAM_SPLIT",
    "volume": "BYTE_STREAM_SPLIT",
}


class CorruptFile(Exception):
    """The file is cut off, altered or not one of ours."""


@dataclass(frozen=True, slots=True)
class About:
    """What the footer alone tells: rows, first and last bar (UTC nanoseconds), sources, covered spans."""

    rows: int
    first: int
    last: int
    sources: tuple[str, ...]
    covered: NanoSpans


@dataclass(frozen=True, slots=True)
class CandleFile:
    """A file's content: candles, the source of each, and the spans asked and answered (UTC nanoseconds)."""

    candles: pd.DataFrame
    sources: pd.Categorical
    covered: NanoSpans


def write_candles(path: Path, content: CandleFile) -> None:
    """Write all of `content` or nothing: a temporary file beside `path`, flushed, then put in its place."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as sink:
            _write(*_encode(content), sink)
            sink.flush()
            os.fsync(sink.fileno())
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_folder(path.parent)


def read_candles(path: Path) -> CandleFile:
    """What `write_candles` wrote, bit for bit. CorruptFile where it cannot be trusted."""
    data = path.read_bytes()
    try:
        file = pq.ParquetFile(
            pa.BufferReader(data),
            read_dictionary=["source"],
            page_checksum_verification=True,
            pre_buffer=False,
        )
        return _decode(file.read(use_threads=False), _meta(file))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CorruptFile(f"{path.name}: {error}") from error


def read_about(path: Path) -> About:
    """The footer alone. CorruptFile and FileNotFoundError as in `read_candles`."""
    with path.open("rb") as source:
        try:
            file = pq.ParquetFile(source, pre_buffer=False)
            meta = _meta(file)
            rows, sources = file.metadata.num_rows, tuple(meta["sources"])
            return About(rows, int(meta["first"]), int(meta["last"]), sources, _covered(meta))
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, IndexError) as error:
            raise CorruptFile(f"{path.name}: {error}") from error


def label(codes: npt.NDArray[Any], names: list[str]) -> pd.Categorical:
    """The source of each bar from its position in `names`."""
    return pd.Categorical.from_codes(codes, pd.Index(names, dtype="str"))


def _write(table: pa.Table, meta: dict[str, Any], sink: Any) -> None:
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=["gap", "source"],
        column_encoding=_ENCODING,
        write_statistics=False,
        write_page_checksum=True,
        store_schema=False,
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_KEY: json.dumps(meta)})


def _meta(file: pq.ParquetFile) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((file.metadata.metadata or {})[_KEY])
    if meta["format"] != _FORMAT:
        raise ValueError(f"format {meta['format']} is not {_FORMAT}")
    return meta


def _encode(content: CandleFile) -> tuple[pa.Table, dict[str, Any]]:
    times = nanos(content.candles)
    prices = content.candles[list(COLUMNS[:4])].to_numpy(np.float64)
    price_form, whole = _integers(prices)
    volume_form, volume = _integers(content.candles["volume"].to_numpy(np.float64))
    o, h, l, c = (whole[:, i] for i in range(4))  # noqa: E741 - the field's letters
    base = int(o[0]) if len(o) else 0
    unit = max(int(np.gcd.reduce(np.diff(times))), 1) if len(times) > 1 else 1
    first = int(times[0]) if len(times) else 0
    used = content.sources.remove_unused_categories()
    names = pa.array(list(used.categories), pa.string())
    sources = pa.DictionaryArray.from_arrays(pa.array(used.codes.astype(np.int32)), names)
    meta = {
        "format": _FORMAT,
        "first": first,
        "last": int(times[-1]) if len(times) else 0,
        "unit": unit,
        "prices": price_form,
        "base": base,
        "volume": volume_form,
        "sources": sorted(used.categories),
        "covered": content.covered,
    }
    columns = {
        "time": _narrow((times - first) // unit),
        "gap": _narrow(o - np.r_[base, c[:-1]] if len(o) else o),
        "body": _narrow(c - o),
        "up": _narrow(h - np.maximum(o, c)),
        "down": _narrow(np.minimum(o, c) - l),
        "volume": _narrow(volume),
        "source": sources,
    }
    return pa.table(columns), meta


def _decode(table: pa.Table, meta: dict[str, Any]) -> CandleFile:
    """In few passes and with little fresh memory: touching new pages costs more than the arithmetic."""
    gap, body, up, down, volume, steps = (
        table.column(name).to_numpy() for name in ("gap", "body", "up", "down", "volume", "time")
    )
    close = np.add(gap, body, dtype=np.int64)
    np.cumsum(close, out=close)
    close += np.int64(meta["base"])
    open_ = close - body
    edge = np.maximum(open_, close)
    edge += up
    block = np.empty((5, table.num_rows))
    form = meta["prices"]
    _floats(open_, form, block[0])
    _floats(edge, form, block[1])
    np.minimum(open_, close, out=edge)
    edge -= down
    _floats(edge, form, block[2])
    _floats(close, form, block[3])
    _floats(volume, meta["volume"], block[4])
    times = np.multiply(steps, meta["unit"], dtype=np.int64)
    times += meta["first"]
    index = pd.DatetimeIndex(times.view("datetime64[ns]"), name="time", copy=False).tz_localize("UTC")
    candles = pd.DataFrame(block.T, index=index, columns=list(COLUMNS), copy=False)
    source = table.column("source").combine_chunks()
    names, codes = source.dictionary.to_pylist(), source.indices.to_numpy()
    return CandleFile(candles, label(codes, names), _covered(meta))


def _covered(meta: dict[str, Any]) -> NanoSpans:
    return tuple((int(start), int(end)) for start, end in meta["covered"])


def _integers(values: Floats) -> tuple[str, Ints]:
    """Whole numbers from which `_floats` makes the same float64, bit for bit, and the form that says how.

    `decimal:2` is hundredths; `single:2` is hundredths that went through a float32, as Yahoo's prices do;
    else the bits themselves, of a float32 where that is exact. Bits of positive floats are in the floats'
    order.
    """
    sample = values[:_SAMPLE]
    for kind in ("decimal", "single"):
        for decimals in range(_MOST_DECIMALS + 1):
            form = f"{kind}:{decimals}"
            if _scaled(sample, form) is not None and (whole := _scaled(values, form)) is not None:
                return form, whole
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(np.float32)
    if _same(single.astype(np.float64), values):
        return "float32", single.view(np.int32).astype(np.int64)
    return "float64", np.ascontiguousarray(values).view(np.int64)


def _scaled(values: Floats, form: str) -> Ints | None:
    scale = 10.0 ** int(form.partition(":")[2])
    if values.size and float(np.abs(values).max()) * scale >= _EXACT:
        return None
    whole = np.rint(values * scale).astype(np.int64)
    return whole if _same(_floats(whole, form, np.empty(whole.shape)), values) else None


def _floats(whole: Ints, form: str, out: Floats) -> Floats:
    kind, _, decimals = form.partition(":")
    if kind == "float64":
        out.view(np.int64)[...] = whole
    elif kind == "float32":
        out[...] = whole.astype(np.int32).view(np.float32)
    else:
        np.divide(whole, 10.0 ** int(decimals), out=out)
        if kind == "single":
            out[...] = out.astype(np.float32)
    return out


def _same(one: Floats, other: Floats) -> bool:
    return bool((one.view(np.int64) == np.ascontiguousarray(other).view(np.int64)).all())


def _narrow(whole: Ints) -> npt.NDArray[np.int32] | Ints:
    info = np.iinfo(np.int32)
    if whole.size and (whole.min() < info.min or whole.max() > info.max):
        return np.ascontiguousarray(whole)
    return whole.astype(np.int32)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
