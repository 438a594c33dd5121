"""What this package raises: one tree, all of it exported by `hems`.

HemsError
├── HomeError          a home or battery that cannot exist               (also ValueError)
├── ConfigError        a setting with an unknown or impossible value     (also ValueError)
├── TariffError        prices outside the assumption of the paper        (also ValueError)
│   └── ArbitrageError   export pays more than import costs, and nobody allowed it
├── SeriesError        a load, PV or time series that cannot be used     (also ValueError)
│   └── SeriesFileError  the same, in a file: names it, the column and the first bad time
│       └── TicksMissingError  the file does not reach as far, or has gaps
├── SetpointError      an AES outside [0, OES]                           (also ValueError)
├── SequenceError      plan / respond / realise called out of order      (also RuntimeError)
├── BidError           a bid curve of a home that has none               (also RuntimeError)
└── UncertifiedError   `raise_for_status()` on a plan without certificate (also RuntimeError)
"""

from datetime import datetime


class HemsError(Exception):
    """Root of everything that `hems` raises on purpose."""


class HomeError(HemsError, ValueError):
    """A home or its battery is described by impossible numbers."""


class ConfigError(HemsError, ValueError):
    """A setting has an unknown name or an impossible value."""


class TariffError(HemsError, ValueError):
    """Prices are malformed, or pay more for export than import costs."""


class ArbitrageError(TariffError):
    """Export pays more than import costs, and nobody allowed it.

    ticks   how many such ticks there are
    first   the first of them: its time where the tariff has times, else its number
    """

    def __init__(self, message: str, *, ticks: int, first: datetime | int) -> None:
        super().__init__(message)
        self.ticks, self.first = ticks, first


class SeriesError(HemsError, ValueError):
    """A time series has the wrong length, a NaN, a negative power or naive timestamps."""


class SeriesFileError(SeriesError):
    """A file of series cannot be used.

    path    the file
    column  where, or "" when all of the file is meant
    time    first time it concerns, or "" when none is
    """

    def __init__(self, path: object, problem: str, *, column: str = "", time: object = "") -> None:
        self.path, self.column, self.time = str(path), column, str(time)
        super().__init__(f"{path}: {problem}")


class TicksMissingError(SeriesFileError):
    """A file has no row for some ticks; `time` is the first of them."""


class SetpointError(HemsError, ValueError):
    """An adjusted export setpoint is NaN, negative or above what the home asked for."""


class SequenceError(HemsError, RuntimeError):
    """A step of the tick was called before the step it depends on."""


class BidError(HemsError, RuntimeError):
    """The plan of a home left no cost-to-go behind, so that its bid curve is not known."""


class UncertifiedError(HemsError, RuntimeError):
    """A plan was asked to be optimal and some home has no certificate that it is."""
