"""Benchmarks, one module each: `anoca bench NAME` runs `anoca.studies.bench.NAME.run`.

A benchmark takes a `Plan` and returns its table, long, with at least the columns of `COLUMNS`. To add one,
add its module here; what benchmarks share is in `anoca.studies.benching`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import pandas as pd

from anoca.errors import InputError

COLUMNS = ("bench", "case", "method", "norm", "n", "seconds", "runs", "ratio_to", "ratio")

Progress = Callable[[int, int, str], None]
"""Called after every row with (done, of how many, what is worth saying)."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a benchmark; an empty tuple means all there are.

    quick    the smallest case alone, few rounds
    starts   "cold", "warm", "go_ahead"
    runs     rounds of every row
    memory   also measure peak memory, each in a process of its own
    """

    quick: bool = False
    cases: tuple[str, ...] = ()
    norms: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    runs: int = 3
    memory: bool = False


Bench = Callable[[Plan, Progress, Callable[[pd.DataFrame], None]], pd.DataFrame]
"""Plan, progress, and what is called with the table so far; returns the whole table."""


def names() -> list[str]:
    """Benchmarks that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Bench:
    """A benchmark by its name.

    Raises  InputError  there is none of that name
    """
    if name not in names():
        raise InputError(f"unknown benchmark {name!r}; known: {', '.join(names())}")
    bench: Bench = import_module(f"{__name__}.{name}").run
    return bench


def rounds(name: str) -> int:
    """Rounds of a benchmark unless said otherwise.

    Raises  InputError  there is none of that name
    """
    load(name)
    return int(getattr(import_module(f"{__name__}.{name}"), "ROUNDS", Plan.runs))


def chosen(asked: tuple[str, ...], known: list[str], what: str) -> list[str]:
    """Those asked for in the order given, all where none is.

    Raises  InputError  one that is not known
    """
    if unknown := [name for name in asked if name not in known]:
        raise InputError(f"unknown {what} {', '.join(map(repr, unknown))}; known: {', '.join(known)}")
    return list(asked) or list(known)
