"""How a home comes to believe what load and PV will be: methods by name, and the user's own.

"noisy"        the truth with seeded errors that grow with the lead time (`hems.forecast`)
"perfect"      the truth
"persistence"  what was there at the same clock time of the day before, drawn towards what was there last
"module:Class" a class of the user's, see `ForecastMethod`
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hems.checks import check_series
from hems.config import check_choice
from hems.errors import ConfigError, SeriesError
from hems.forecast import Forecaster, ForecastNoise

Floats = NDArray[np.float64]
Kind = Literal["load", "pv"]


@dataclass(frozen=True, eq=False)
class ForecastView:
    """What a method is shown when it forecasts one series of all homes.

    kind         "load" or "pv" (available PV, not what was left after curtailment)
    names        (n,) homes
    tick         number of the current tick
    times_past   (P,) tz-aware starts of the ticks before this one, oldest first
    past_kw      (n, P) what was measured then
    times_ahead  (T,) starts of the horizon; the first is the current tick
    true_kw      (n, T) what will really be: for oracles and errors around them. A method that is to be
                 compared with others leaves it alone
    """

    kind: Kind
    names: Sequence[str]
    tick: int
    times_past: pd.DatetimeIndex
    past_kw: Floats
    times_ahead: pd.DatetimeIndex
    true_kw: Floats


class ForecastMethod(Protocol):
    """A method of forecasting; a class of the user's is made as Class(seed=..., dt_h=..., **options).

    A draw should hang on (seed, home, tick) alone, see `hems.generator` with a stream number from 100 on.
    """

    @property
    def history_h(self) -> float:
        """Hours of the past that `forecast` needs at the first tick already; 0 where a class has none."""
        ...

    def forecast(self, view: ForecastView) -> ArrayLike:
        """Return believed powers (n, T), kW, finite and not negative."""
        ...


class Perfect:
    """The truth."""

    history_h = 0.0

    def forecast(self, view: ForecastView) -> ArrayLike:
        """Return the true powers (n, T)."""
        return view.true_kw


@dataclass(frozen=True)
class Noisy:
    """The truth with seeded errors."""

    forecaster: Forecaster
    history_h: float = 0.0

    def forecast(self, view: ForecastView) -> ArrayLike:
        """Return what `hems.Forecaster` makes of the true powers (n, T)."""
        made = self.forecaster.load_kw if view.kind == "load" else self.forecaster.pv_kw
        return made(view.true_kw, names=view.names, tick=view.tick)


@dataclass(frozen=True)
class Persistence:
    """Tomorrow is like today, and the next minutes are like the last ones.

    load:  w last + (1 - w) y_k        y_k at the clock time of step k on the last day that has been measured
    PV:    y_k (1 + w (r - 1))         r = last / y at the last tick, between 0 and 3; 0 stays 0 at night
    w = exp(-lead / blend_h)           lead from the last tick, hours; blend_h = 0: the day before alone

    Raises  ConfigError for a negative or infinite blend_h
    """

    blend_h: float = 1.0
    history_h: float = 26.0  # the day of 25 hours, and the tick before it

    def __post_init__(self) -> None:
        if not 0.0 <= self.blend_h < np.inf:
            raise ConfigError(f"blend_h={self.blend_h!r} must be finite and not negative.")

    def forecast(self, view: ForecastView) -> ArrayLike:
        """Return believed powers (n, T); raise SeriesError with less than a day of past."""
        before = view.past_kw[:, _days_before(view.times_ahead, view.times_past)]
        if self.blend_h == 0.0:
            return before
        last = view.past_kw[:, -1:]
        lead_h = np.asarray((view.times_ahead - view.times_past[-1]) / pd.Timedelta(hours=1), dtype=float)
        w = np.exp(-lead_h / self.blend_h)
        if view.kind == "load":
            return w * last + (1.0 - w) * before
        then = view.past_kw[:, _days_before(view.times_past[-1:], view.times_past[:-1])]
        ratio = np.where(then > 0.0, last / np.maximum(then, 1e-9), 1.0)
        return before * (1.0 + w * (np.clip(ratio, 0.0, 3.0) - 1.0))


def _days_before(ahead: pd.DatetimeIndex, past: pd.DatetimeIndex) -> NDArray[np.intp]:
    """Return for each time ahead the place in the past of the same clock time, one day or more before."""
    wall = ahead.tz_localize(None)
    days = np.maximum(np.ceil(np.asarray((ahead - past[-1]) / pd.Timedelta(days=1), dtype=float)), 1.0)
    found = np.full(len(ahead), -1, dtype=np.intp)
    for _ in range(2):  # a day of 25 hours may ask for one day more
        back = (wall - pd.to_timedelta(days, unit="D")).tz_localize(
            ahead.tz, ambiguous=np.zeros(len(ahead), dtype=bool), nonexistent="shift_forward"
        )
        found = np.asarray(past.searchsorted(back, side="right"), dtype=np.intp) - 1
        days = np.where(np.asarray(back > past[-1]), days + 1.0, days)
    if (found < 0).any():
        raise SeriesError(
            f"persistence needs the day before {ahead[0]}, the past begins at {past[0]}: give a longer past."
        )
    return found


_OWN: dict[str, Callable[..., ForecastMethod]] = {}
BUILT_IN = ("noisy", "perfect", "persistence")


def register_forecaster(name: str, make: Callable[..., ForecastMethod]) -> None:
    """Make a method known by a name; make(seed=..., dt_h=..., **options) returns it.

    Raises  ConfigError  the name is taken, or has a colon
    """
    if name in BUILT_IN or name in _OWN or ":" in name:
        raise ConfigError(f"a forecaster cannot be called {name!r}: the name is taken or has a colon.")
    _OWN[name] = make


def make_forecaster(
    method: str,
    *,
    seed: int,
    dt_h: float,
    noise: ForecastNoise | None = None,
    options: Mapping[str, Any] | None = None,
) -> ForecastMethod:
    """Return a method by its name or dotted path.

    noise    of "noisy"
    options  of "persistence" (blend_h), of a registered method, or of the user's class
    Raises   ConfigError: unknown name, module, class or option; a class without `forecast`
    """
    more = dict(options or {})
    if method == "noisy" or method == "perfect":
        if more:
            raise ConfigError(f"forecaster {method!r} takes no options; given: {', '.join(more)}.")
        return Perfect() if method == "perfect" else Noisy(Forecaster(seed, noise or ForecastNoise(), dt_h))
    make: Callable[..., Any] = Persistence
    if method != "persistence":
        check_method(method)
        make = _named_class(method) if ":" in method else _OWN[method]
        more |= {"seed": seed, "dt_h": dt_h}
    try:
        made = make(**more)
    except TypeError as exc:
        raise ConfigError(f"forecaster {method!r}: {exc}") from exc
    if not callable(getattr(made, "forecast", None)):
        raise ConfigError(f"forecaster {method!r} has no method `forecast(view)`.")
    checked: ForecastMethod = made
    return checked


def check_method(method: str) -> None:
    """Raise ConfigError, with the nearest name, unless `method` is known by name or is a dotted path."""
    if ":" not in method:
        check_choice("forecaster", method, [*BUILT_IN, *_OWN])


def _named_class(method: str) -> Callable[..., Any]:
    """Return the class that a dotted path names."""
    module, _, name = method.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except ImportError as exc:
        raise ConfigError(
            f"forecaster {method!r}: {exc}; its folder must be on the Python path (PYTHONPATH)."
        ) from exc
    except (AttributeError, ValueError) as exc:
        raise ConfigError(f"forecaster {method!r}: module {module!r} has no {name!r}.") from exc
    made: Callable[..., Any] = found
    return made


def own_module(method: str) -> Path | None:
    """Return the file of the user's class that a dotted path names, None for other methods."""
    module = method.partition(":")[0] if ":" in method else ""
    try:
        spec = importlib.util.find_spec(module) if module else None
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec is not None and spec.origin else None


def believed(method: ForecastMethod, view: ForecastView) -> Floats:
    """Return a method's forecast (n, T), checked.

    Raises  SeriesError: another shape, NaN or negative powers; names the home and the step
    """
    shape = (len(view.names), len(view.times_ahead))
    what = f"{type(method).__name__}'s forecast of {view.kind}"
    return check_series(what, method.forecast(view), names=view.names, shape=shape)
