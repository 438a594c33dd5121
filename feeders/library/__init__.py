"""Feeders that come with the project, built from published figures.

>>> from feeders import library
>>> library.names()
['ieee342', 'ieee342-expanded', 'ieee342-merged', 'ieee342-parallel', 'ieee4', 'synthetic']
>>> library.load("ieee4").n_nodes
12
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import Any

from feeders.feeder import Feeder
from feeders.library import ieee4, ieee342
from feeders.library.synthetic import synthetic

__all__ = ["UnknownFeederError", "load", "names", "options", "synthetic"]

_BUILDERS: dict[str, Callable[..., Feeder]] = {
    "ieee4": ieee4.build,
    "ieee342": ieee342.build,
    **{f"ieee342-{form}": partial(ieee342.build, form) for form in ieee342.FORMS},
    "synthetic": synthetic,
}


class UnknownFeederError(KeyError):
    """The library has no feeder of that name; the message suggests the nearest one."""

    def __str__(self) -> str:
        return str(self.args[0])


def names() -> list[str]:
    """Names that `load` knows, in alphabetical order."""
    return sorted(_BUILDERS)


def load(name: str, **options: Any) -> Feeder:
    """Build a feeder of the library.

    name     one of `names()`
    options  passed on: `form` for "ieee342"; `n_buses`, `seed` and more for "synthetic"
    Raises   UnknownFeederError  no such feeder; TypeError  an option it does not take;
             ValueError  an option's value
    """
    if name not in _BUILDERS:
        raise UnknownFeederError(
            f"there is no feeder {name!r};{_near(name)} known: {', '.join(names())}; a circuit of your "
            "own is given by its file (Master.dss, case.json)"
        )
    return _BUILDERS[name](**options)


def _near(name: str) -> str:
    """A misspelt name put right; another number is another feeder, and no slip of the pen."""
    number = sorted(c for c in name if c.isdigit())
    same = [known for known in names() if sorted(c for c in known if c.isdigit()) == number]
    near = get_close_matches(name, same, n=1, cutoff=0.75)
    return f" did you mean {near[0]!r}?" if near else ""


def options(name: str) -> str:
    """What a feeder's builder takes, as its signature: `n_buses: int, seed: int, meshed: float = 0.1`.

    Raises  KeyError  no such feeder
    """
    given = inspect.signature(_BUILDERS[name]).parameters.values()
    words = [str(p).replace("'", "").replace('"', "") for p in given]
    return ", ".join(words) or "none"
