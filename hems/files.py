"""Users' series from CSV or Parquet: read with their units, checked, and put on the clock of a run.

A file is wide (time, one column per home) or long (time, home, one value column). A column's unit is its
ending (_kw, _w, _kwh per step), else the one given, else kW. Whatever is changed on the way is in the audit;
whatever is doubtful is an error that names file, column and first time, and says what to do.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.checks import check_times, read_only
from hems.config import check_choice
from hems.errors import SeriesFileError
from hems.file_times import End, Rows, instants, rows_of
from hems.tariff import Tariff

Floats = NDArray[np.float64]
Unit = Literal["kw", "w", "kwh"]

TIME = "time"
HOME_COLUMNS = ("prosumer", "home", "name")
"""A long file names its homes in one of these."""

PRICE_COLUMNS = ("import_price_per_kwh", "export_price_per_kwh")


@dataclass(frozen=True, kw_only=True)
class FileRules:
    """How to read a file.

    unit       of columns whose name does not end in one: "kw", "w", or "kwh" per step of the file
    timezone   of times without an offset from UTC, such as "America/New_York"; None refuses them
    resample   allow another step than the clock's: shorter ones are averaged, longer ones held, so that
               the energy of every step of the file stays what it is
    value      column of a long file; None: the only one that is left
    end        of the data: "error": every tick asked for must be there; "hold": those behind the end of the
               file repeat the day before them, 24 hours of elapsed time; "shrink": they are left out
    needed_until  ticks before this time must be there all the same
    Raises     ConfigError for an unknown unit
    """

    unit: Unit = "kw"
    timezone: str | None = None
    resample: bool = False
    value: str | None = None
    end: End = "error"
    needed_until: pd.Timestamp | None = None

    def __post_init__(self) -> None:
        check_choice("unit", self.unit, get_args(Unit))
        check_choice("end", self.end, get_args(End))


@dataclass(frozen=True, eq=False)
class PowerFile:
    """Powers (n, T), kW, in the order of the names asked for, and what was done to get them.

    unused  columns that are of none of the names
    known   ticks that the file has, of the T asked for; with "hold" the others repeat its last day, with
            "shrink" there are no others
    """

    kw: Floats
    audit: tuple[str, ...]
    known: int
    unused: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class PriceFile:
    """Prices on the clock, and what was done to get them; `known` as in `PowerFile`."""

    tariff: Tariff
    audit: tuple[str, ...]
    known: int


def read_powers(
    path: str | Path,
    names: Sequence[str],
    times: pd.DatetimeIndex,
    *,
    what: str = "load",
    rules: FileRules | None = None,
) -> PowerFile:
    """Return loads or PV of homes from a file.

    names   (n,) homes; columns of others are left out and said so
    times   (T,) tz-aware starts of equal steps
    what    what the file holds, for messages
    Raises  SeriesFileError: no such file or column, times that are naive, irregular, twice or missing,
            values that are no numbers or negative
    """
    rules, path = rules or FileRules(), Path(path)
    check_times(times)
    frame = _frame(path, what)
    audit: list[str] = []
    if (home := next((c for c in HOME_COLUMNS if c in frame.columns), None)) and not set(names) <= set(
        frame.columns
    ):
        frame, units = _wide(path, frame, home, rules)
        chosen = {name: name for name in names if name in frame.columns}
    else:
        chosen, units = _columns(path, frame, names, rules)
        frame = _on_instants(path, frame, rules, audit)
    _nothing_missing(path, [name for name in names if name not in chosen], what)
    unused = [c for c in frame.columns if c not in set(chosen.values())]
    if unused:
        audit.append(f"{path}: {len(unused)} column(s) not used: {_some(unused)}")
    rows = _rows(path, frame, times, rules)
    columns = [chosen[name] for name in names]
    values = _numbers(path, frame, columns, rows, times, what=what)
    factor = [_to_kw(units[c], rows.step) for c in columns]
    audit += _changes(path, [units[c] for c in columns], rows, times)
    return PowerFile(read_only((values * np.array(factor)).T.copy()), tuple(audit), rows.known, tuple(unused))


def read_prices(
    path: str | Path,
    times: pd.DatetimeIndex,
    *,
    rules: FileRules | None = None,
    allow_arbitrage: bool = False,
) -> PriceFile:
    """Return a tariff from columns import_price_per_kwh and export_price_per_kwh, or the same per_mwh.

    times   (T,) tz-aware starts of equal steps
    Raises  SeriesFileError: as `read_powers`, but prices may be negative;
            TariffError: export pays more than import costs
    """
    rules, path, audit = rules or FileRules(), Path(path), list[str]()
    check_times(times)
    frame = _on_instants(path, _frame(path, "tariff"), rules, audit)
    columns, factors = [], []
    for column in PRICE_COLUMNS:
        per_mwh = column.replace("_kwh", "_mwh")
        if column not in frame.columns and per_mwh in frame.columns:
            audit.append(f"{path}: {per_mwh} divided by 1000")
            columns.append(per_mwh)
            factors.append(1e-3)
        else:
            columns.append(column)
            factors.append(1.0)
    _nothing_missing(path, [c for c in columns if c not in frame.columns], "tariff")
    rows = _rows(path, frame, times, rules)
    prices = _numbers(path, frame, columns, rows, times, what="tariff", signed=True) * np.array(factors)
    audit += _changes(path, [], rows, times)
    times = times if len(prices) == len(times) else times[: len(prices)]
    tariff = Tariff(prices[:, 0], prices[:, 1], allow_arbitrage=allow_arbitrage, times=times)
    return PriceFile(tariff, tuple(audit), rows.known)


def _rows(path: Path, frame: pd.DataFrame, times: pd.DatetimeIndex, rules: FileRules) -> Rows:
    found = pd.DatetimeIndex(frame.index)
    return rows_of(
        path, found, times, resample=rules.resample, end=rules.end, needed_until=rules.needed_until
    )


def _frame(path: Path, what: str) -> pd.DataFrame:
    """Return the file as it stands, names of columns as text, with a column `time`."""
    if not path.is_file():
        raise SeriesFileError(path, f"no {what} file {path}")
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            frame = pd.read_parquet(path)
            if TIME not in frame.columns and isinstance(frame.index, pd.DatetimeIndex):
                frame = frame.rename_axis(TIME).reset_index()
        else:
            _check_header(path)
            frame = pd.read_csv(path, dtype={TIME: str}, keep_default_na=False, na_values={})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError, ValueError) as exc:
        if isinstance(exc, SeriesFileError):
            raise
        kind = "Parquet" if path.suffix.lower() in (".parquet", ".pq") else "CSV"
        raise SeriesFileError(path, f"is not readable as {kind}: {exc}") from exc
    frame.columns = [str(c) for c in frame.columns]
    if TIME not in frame.columns:
        raise SeriesFileError(path, f"no column `time`; it has {_some(list(frame.columns))}", column=TIME)
    if not len(frame):
        raise SeriesFileError(path, "has no rows", column=TIME)
    return frame


def _check_header(path: Path) -> None:
    """Commas between the columns, and no name twice: pandas would rename the second."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = next(csv.reader(file), [])
    for mark, said in ((";", "';'"), ("\t", "tabs")):
        if len(header) == 1 and mark in header[0]:
            text = f"columns are separated by {said}? write commas (and decimals with a point)"
            raise SeriesFileError(path, f"{text}: {_some(header)}", column=TIME)
    twice = pd.Index(header)[pd.Index(header).duplicated()]
    if len(twice):
        raise SeriesFileError(path, f"column {twice[0]} stands there twice; remove one", column=str(twice[0]))


def _on_instants(path: Path, frame: pd.DataFrame, rules: FileRules, audit: list[str]) -> pd.DataFrame:
    """Return a wide frame on its instants, in order."""
    found = instants(path, frame[TIME], timezone=rules.timezone, in_order=True)
    frame = frame.drop(columns=TIME).set_axis(found, axis=0)
    if not found.is_monotonic_increasing:
        audit.append(f"{path}: rows were not in the order of time and have been sorted")
        frame = frame.sort_index(kind="stable")
    return frame


def _wide(
    path: Path, frame: pd.DataFrame, home: str, rules: FileRules
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return a long file as a wide frame on its instants, and the unit of every home."""
    others = [c for c in frame.columns if c not in (TIME, home)]
    value = rules.value or (others[0] if len(others) == 1 else "")
    if value not in others:
        raise SeriesFileError(
            path,
            f"columns {', '.join(others)} beside time and {home}: say which one holds the values (value)",
            column=value,
        )
    found = instants(path, frame[TIME], timezone=rules.timezone, in_order=False)
    keys = pd.MultiIndex.from_arrays([found, frame[home].astype(str)], names=[TIME, home])
    if keys.has_duplicates:
        when, name = keys[keys.duplicated()][0]
        raise SeriesFileError(
            path, f"time {when} stands there twice for {name}; remove one", column=str(name), time=when
        )
    wide = pd.Series(frame[value].to_numpy(), index=keys).unstack(level=home)
    unit = _unit_of(value) or rules.unit
    return wide, dict.fromkeys(wide.columns, unit)


def _columns(
    path: Path, frame: pd.DataFrame, names: Sequence[str], rules: FileRules
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the column of every home that has one, and the unit of every column."""
    there, chosen, units = set(frame.columns), {}, {}
    for name in names:
        fits = [c for c in (name, *(f"{name}_{unit}" for unit in get_args(Unit))) if c in there]
        if len(fits) > 1:
            raise SeriesFileError(
                path, f"columns {', '.join(fits)} are all of {name}; keep one", column=fits[1]
            )
        if fits:
            chosen[name] = fits[0]
            units[fits[0]] = rules.unit if fits[0] == name else fits[0].rpartition("_")[2]
    return chosen, units


def _nothing_missing(path: Path, missing: Sequence[str], what: str) -> None:
    if missing:
        text = f"{len(missing)} column(s) missing for the {what}: {_some(missing)}; add them"
        raise SeriesFileError(path, text, column=missing[0])


def _some(names: Sequence[str]) -> str:
    """The first names, each cut where it is long, and how many more there are."""
    first = [name if len(name) <= 40 else f"{name[:40]}..." for name in names[:5]]
    return ", ".join(first) + (f", ... ({len(names) - 5} more)" if len(names) > 5 else "")


def _unit_of(column: str) -> str | None:
    ending = column.rpartition("_")[2].lower()
    return ending if ending in get_args(Unit) else None


def _to_kw(unit: str, step: pd.Timedelta) -> float:
    """Return what turns a value of one step into a mean power, kW."""
    return {"kw": 1.0, "w": 1e-3, "kwh": 1.0 / (step / pd.Timedelta(hours=1))}[unit]


def _numbers(
    path: Path,
    frame: pd.DataFrame,
    columns: Sequence[str],
    rows: Rows,
    times: pd.DatetimeIndex,
    *,
    what: str,
    signed: bool = False,
) -> Floats:
    """Return the values (T, n) of the ticks, all finite, and not negative unless `signed`."""
    used = np.unique(rows.take)
    picked = frame[list(columns)].iloc[used]
    numbers = picked.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    bad = ~np.isfinite(numbers)
    below = (numbers < 0) & (not signed)
    for wrong, problem, fix in (
        (bad, "not a number", "write a finite number there"),
        (below, "negative", "powers are >= 0: change the sign if the file counts the other direction"),
    ):
        if wrong.any():
            row, col = (int(k) for k in np.argwhere(wrong)[0])
            when = pd.DatetimeIndex(frame.index)[used[row]].tz_convert(times.tz)
            given = picked.iloc[[row], col].tolist()[0]  # a plain number or text
            text = (
                f"{what} of {columns[col]} is {problem} at {when} (given: {given!r}; {int(wrong.sum())} such)"
            )
            raise SeriesFileError(path, f"{text}; {fix}", column=columns[col], time=when)
    return np.asarray(numbers[np.searchsorted(used, rows.take)].mean(axis=1))


def _changes(path: Path, units: Sequence[str], rows: Rows, times: pd.DatetimeIndex) -> list[str]:
    """Return what became of the values, one line each."""
    said = {"w": "W divided by 1000", "kwh": f"kWh per step of {rows.step} divided by its hours"}
    lines = [f"{path}: {said[unit]} for {units.count(unit)} column(s)" for unit in said if unit in units]
    tick = times[1] - times[0] if len(times) > 1 else rows.step
    if rows.step != tick:
        how = "held" if rows.step > tick else "averaged"
        lines.append(f"{path}: steps of {rows.step} {how} to steps of {tick}")
    if rows.known < len(times):
        then = "the last day repeats" if len(rows.take) > rows.known else "plans look less far ahead"
        lines.append(f"{path}: ends before {times[rows.known]}; {then} from there")
    return lines
