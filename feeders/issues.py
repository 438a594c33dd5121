"""`Issue`: one finding about a feeder, and how findings are made row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from feeders.table import Array, Table

Severity = Literal["error", "warning", "audit"]


@dataclass(frozen=True)
class Issue:
    """One finding: where it is (table, column, name of the row) and what to do about it."""

    severity: Severity
    table: str
    column: str
    name: str
    message: str

    def __str__(self) -> str:
        place = ".".join(part for part in (self.table, self.column) if part)
        return f"{self.severity}: {place} {self.name}: {self.message}"


def error(table: type[Table], column: str, name: object, message: str) -> Issue:
    """An error at one row."""
    return Issue("error", table.__name__, column, str(name), message)


def errors(table: type[Table], column: str, names: Array, bad: Array, message: str) -> Iterator[Issue]:
    """One error for every row of `bad`, (n,) or (n, ...) bool."""
    rows = np.asarray(bad).reshape(len(names), -1).any(axis=1) if len(names) else np.zeros(0, dtype=bool)
    for name in names[rows]:
        yield error(table, column, name, message)
