"""JSON files, read strictly: no NaN, no key twice, an object on top."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from feeders.readers.errors import FileError

MAX_BYTES = 2**28


def load(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises  FileError  missing, too large, not text, not JSON, a key twice, NaN, or something else than
                       an object on top
    """
    try:
        stat = path.stat()
    except OSError as exc:
        raise FileError(f"{path}: there is no such file") from exc
    return _load(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)  # asked first which format it is, then read
def _load(path: Path, _changed: int, size: int) -> dict[str, Any]:
    if size > MAX_BYTES:
        raise FileError(f"{path}: {size / 2**20:.0f} MiB, at most {MAX_BYTES / 2**20:.0f} are read")
    try:
        document = json.loads(
            path.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_refuse
        )
    except UnicodeDecodeError as exc:
        raise FileError(f"{path}: not text in UTF-8") from exc
    except (ValueError, RecursionError) as exc:  # also a number of thousands of digits
        raise FileError(f"{path}: not JSON, or cut off: {exc}") from exc
    except OSError as exc:
        raise FileError(f"{path}: cannot be read: {exc.strerror}") from exc
    except _InvalidError as exc:
        raise FileError(f"{path}: {exc}") from exc
    if not isinstance(document, dict):
        raise FileError(f"{path}: holds {type(document).__name__}, expected an object")
    return document


class _InvalidError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _InvalidError(f"{key!r} is there twice in one object")
        found[key] = value
    return found


def _refuse(constant: str) -> Any:
    raise _InvalidError(f"{constant} is not a number that JSON knows")
