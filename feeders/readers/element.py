"""One entry of a file with typed fields: every error names the element and the field."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feeders.readers.errors import FormatError
from feeders.table import Array

LARGEST = 10**30
"""Numbers above this, and below one over it, are damage; so nothing overflows later."""
_MISSING: Any = object()


@dataclass
class Element:
    """One entry of a table; `used` holds the fields that were asked for."""

    kind: str
    name: str
    fields: dict[str, Any]
    used: set[str] = field(default_factory=set)

    def wrong(self, message: str) -> FormatError:
        """An error that names this element."""
        return FormatError(f"{self.kind} {self.name!r}: {message}")

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = _MISSING) -> Any:
        """A field of a type.

        Raises  FormatError  missing, or of another type
        """
        self.used.add(key)
        if key not in self.fields:
            if default is _MISSING:
                raise self.wrong(f"`{key}` is missing")
            return default
        value = self.fields[key]
        wanted = kind if isinstance(kind, tuple) else (kind,)
        if not isinstance(value, kind) or (isinstance(value, bool) and bool not in wanted):
            names = " or ".join("number" if k is float else k.__name__ for k in wanted if k is not int)
            raise self.wrong(f"`{key}` is {shown(value)}, expected {names or 'a whole number'}")
        return value

    def number(self, key: str, default: float = _MISSING, *, at_least: float = -np.inf) -> float:
        """A finite number, not below a bound."""
        return self._checked(self.get(key, (int, float), default), key, at_least)

    def positive(self, key: str) -> float:
        """A number above zero."""
        value = self.number(key)
        if value <= 0:
            raise self.wrong(f"`{key}` is {value:g}, must be above zero")
        return value

    def numbers(self, key: str, count: int, default: Any = _MISSING, *, at_least: float = -np.inf) -> Array:
        """(count,) finite numbers; an absent list with a default is that default."""
        listed = self.get(key, list, default)
        if listed is default and key not in self.fields:
            return np.full(count, default, dtype=float)
        if len(listed) != count:
            raise self.wrong(f"`{key}` has {len(listed)} entries, expected {count}")
        return np.array([self._checked(value, key, at_least) for value in listed], dtype=float)

    def _checked(self, value: Any, key: str, at_least: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(f"`{key}` holds {shown(value)}, expected numbers")
        if key in self.fields and isinstance(value, float) and not np.isfinite(value):
            raise self.wrong(f"`{key}` is not finite")
        if key in self.fields and value and not 1 / LARGEST <= abs(value) <= LARGEST:
            raise self.wrong(f"`{key}` is {shown(value)}, which no quantity here can be")
        if value < at_least:
            raise self.wrong(f"`{key}` is {value:g}, must not be below {at_least:g}")
        return float(value)

    def words(self, key: str, default: Any = _MISSING) -> list[str]:
        """A list of texts."""
        listed = self.get(key, list, default)
        for word in listed:
            if not isinstance(word, str):
                raise self.wrong(f"`{key}` holds {shown(word)}, expected texts")
        return list(listed)

    def choice(self, key: str, known: tuple[str, ...], default: str = _MISSING) -> str:
        """One of some words."""
        value = self.get(key, str, default)
        if value not in known:
            raise self.wrong(f"`{key}` is {value!r}; known: {', '.join(known)}")
        return str(value)

    def matrix(self, prefix: str, n: int, *, whole: bool = False) -> Array:
        """(n, n) entries `prefix_i_j`; one triangle supplies the other, other absences are zero.

        whole  every diagonal entry must be there
        """
        found = np.full((n, n), np.nan)
        pattern = re.compile(rf"{prefix}_(\d+)_(\d+)$")
        for key in self.fields:
            if match := pattern.match(key):
                i, j = int(match[1]), int(match[2])
                if not (1 <= i <= n and 1 <= j <= n):
                    raise self.wrong(f"`{key}` is outside a matrix of {n} conductors")
                found[i - 1, j - 1] = self.number(key)
        if whole and np.isnan(np.diagonal(found)).any():
            k = int(np.flatnonzero(np.isnan(np.diagonal(found)))[0]) + 1
            raise self.wrong(f"`{prefix}_{k}_{k}` is missing")
        return np.nan_to_num(np.where(np.isnan(found), found.T, found), nan=0.0)

    def admittance(self, g: str, b: str, n: int) -> Array:
        """(n, n) complex, G + j B, siemens."""
        return np.asarray(self.matrix(g, n) + 1j * self.matrix(b, n))

    def finish(self, audit: dict[str, list[str]], *ignored: str) -> None:
        """Note fields that are known and not carried; refuse what is left.

        Raises  FormatError  fields that the schema does not define here
        """
        for key in sorted(set(self.fields) - self.used):
            if key not in ignored:
                raise self.wrong(f"unknown field `{key}`")
            audit.setdefault(f"{self.kind}.{key}", []).append(self.name)


def shown(value: Any) -> str:
    """A value in an error message, cut to a line."""
    text = repr(value)
    return text if len(text) < 40 else text[:37] + "..."
