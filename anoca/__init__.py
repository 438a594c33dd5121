"""ANOCA simulator: exports of prosumers kept within the limits of an AC network by optimal curtailment."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("anoca")
except PackageNotFoundError:  # a source tree that has not been installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
