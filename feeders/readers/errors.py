"""What can go wrong when a feeder is read from a file."""

from __future__ import annotations


class ReadError(ValueError):
    """A file cannot be read as a feeder; the message names the file or the element."""


class PathError(ReadError):
    """A file refers to something outside its case folder."""


class FileError(ReadError):
    """A file is missing, includes itself, is too large or not text."""


class FormatError(ReadError):
    """The file does not keep to its format; the message names the element and the field."""


class EngineError(ReadError):
    """The other program refuses the file, in its own words."""


class LimitError(ReadError):
    """Reading took too long or too much memory, or the other program died."""


class UnsteadyError(ReadError):
    """The other program answers differently from one process to the next; the message says in what."""


class UnsupportedError(ReadError):
    """The file has elements that no table here can hold; all of them are named."""


class MissingEngineError(ImportError):
    """The other program is not installed; the message says which extra brings it."""
