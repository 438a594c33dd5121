"""`Table`: one kind of element as equal-length, read-only arrays with units.

A table is declared like a dataclass; every column says its unit, its shape beyond the row
and what a healthy value looks like, so that construction, checking, CSV and documentation
all read the same declaration:

    class Switches(Table):
        name: Array = column("-", dtype=str)
        z_ohm: Array = column("ohm", check="positive")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Self, dataclass_transform

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Array = NDArray[Any]
"""A read-only column of a table; its dtype and shape are in the column's declaration."""

ABSENT = -1
"""Node index of a conductor that is not there."""
EARTH = 0
"""Node index of earth, the voltage reference."""

Check = Literal["any", "finite", "nonnegative", "positive", "node", "unique"]


@dataclass(frozen=True)
class Column:
    """What one column holds: unit, numpy dtype, shape of one row's value, and its check."""

    name: str
    unit: str
    dtype: type
    shape: tuple[int, ...]
    check: Check
    default: Any
    doc: str


REQUIRED = object()
"""Default of a column that has none."""


def column(
    unit: str,
    *,
    dtype: type = float,
    shape: tuple[int, ...] = (),
    check: Check = "finite",
    default: Any = REQUIRED,
    doc: str = "",
) -> Any:
    """Declare a column of a `Table`.

    unit     unit of the values, "-" when there is none
    dtype    float, complex, int, bool or str
    shape    shape of one row's value, () for a scalar
    check    what `feeders.checks` demands: finite, nonnegative, positive, node, unique, any
    default  value of every row when the column is not given (broadcast)
    """
    meta = {"unit": unit, "dtype": dtype, "shape": shape, "check": check, "doc": doc, "default": default}
    if default is REQUIRED:
        return field(metadata=meta)
    return field(default=None, metadata=meta, kw_only=True)


@dataclass_transform(frozen_default=True, eq_default=False, field_specifiers=(column,))
class Table:
    """Base of every element table; subclasses declare columns and nothing else.

    Construction converts each column to its dtype, broadcasts defaults, checks that all
    columns have the same number of rows and freezes the arrays.

    Raises  ValueError  a column's dtype, shape or length does not fit, named as Table.column
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Make every subclass a frozen dataclass, so that declaring columns is all it takes."""
        super().__init_subclass__(**kwargs)
        dataclass(frozen=True, eq=False, repr=False)(cls)

    def __post_init__(self) -> None:
        n = None
        for col in self.columns():
            value = getattr(self, col.name)
            if value is None:
                continue
            array = self._convert(col, value)
            n = len(array) if n is None else n
            if len(array) != n:
                raise ValueError(f"{self._label(col)}: {len(array)} rows, other columns have {n}")
            object.__setattr__(self, col.name, array)
        for col in self.columns():
            if getattr(self, col.name) is None:
                full = np.full((n or 0, *col.shape), col.default, dtype=_numpy_dtype(col.dtype))
                object.__setattr__(self, col.name, full)
            getattr(self, col.name).flags.writeable = False

    def _label(self, col: Column) -> str:
        return f"{type(self).__name__}.{col.name}"

    def _convert(self, col: Column, value: Any) -> Array:
        try:
            if not _fits(np.asarray(value), col.dtype):
                raise ValueError("some values would change")
            array = np.array(value, dtype=_numpy_dtype(col.dtype))
        except (TypeError, ValueError) as exc:
            raise ValueError(f"{self._label(col)}: cannot be read as {col.dtype.__name__}: {exc}") from exc
        if array.size == 0:
            array = array.reshape(0, *col.shape)
        if array.shape[1:] != col.shape or array.ndim != 1 + len(col.shape):
            raise ValueError(f"{self._label(col)}: shape {array.shape}, expected (n, *{col.shape})")
        return array

    @classmethod
    @cache
    def columns(cls) -> tuple[Column, ...]:
        """Every column with its declaration, in order."""
        return tuple(
            Column(f.name, **f.metadata)
            for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        )

    @classmethod
    @cache
    def empty(cls) -> Self:
        """A table with no rows; always the same one."""
        return cls(**{c.name: np.zeros((0, *c.shape), dtype=_numpy_dtype(c.dtype)) for c in cls.columns()})

    @classmethod
    def from_rows(cls, rows: list[Mapping[str, Any]]) -> Self:
        """Stack rows (column -> value); a column that every row leaves out takes its default.

        Raises  ValueError  an unknown or a missing column, named
        """
        if not rows:
            return cls.empty()
        known = {c.name: c for c in cls.columns()}
        given = {key for row in rows for key in row}
        if unknown := given - set(known):
            raise ValueError(f"{cls.__name__}: unknown column {', '.join(sorted(unknown))}")
        data: dict[str, Any] = {}
        for key in given:
            default = known[key].default
            missing = [row for row in rows if key not in row]
            if missing and default is REQUIRED:
                raise ValueError(f"{cls.__name__}.{key}: missing in {len(missing)} rows")
            data[key] = [row[key] if key in row else np.full(known[key].shape, default)[()] for row in rows]
        try:
            return cls(**data)
        except TypeError as exc:
            raise ValueError(f"{cls.__name__}: {exc}") from exc

    def __len__(self) -> int:
        return len(getattr(self, self.columns()[0].name))

    def __iter__(self) -> Iterator[Any]:
        raise TypeError(f"{type(self).__name__} is not iterated row by row; use its columns")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} rows)"

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some columns."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def take(self, rows: Array) -> Self:
        """The given rows (index or boolean mask) as a table of their own."""
        return type(self)(**{c.name: getattr(self, c.name)[rows] for c in self.columns()})

    def to_frame(self) -> pd.DataFrame:
        """The table in pandas: one column per scalar, `column_i_j` for array-valued ones."""
        data: dict[str, Array] = {}
        for col in self.columns():
            value = getattr(self, col.name)
            if not col.shape:
                data[col.name] = value
                continue
            for idx in np.ndindex(*col.shape):
                data["_".join([col.name, *map(str, (i + 1 for i in idx))])] = value[(slice(None), *idx)]
        return pd.DataFrame(data)


def _fits(raw: Array, dtype: type) -> bool:
    """Whether numpy's conversion keeps the values: no fraction cut off, no text read as true."""
    if dtype is int and raw.dtype.kind == "f":
        return bool((raw == np.floor(raw)).all())
    if dtype is float and raw.dtype.kind == "c":
        return not raw.imag.any()
    if dtype is bool and raw.dtype.kind not in "biuf":
        return all(isinstance(v, bool | np.bool_) for v in raw.flat)
    return True


def _numpy_dtype(dtype: type) -> Any:
    return object if dtype is str else dtype
