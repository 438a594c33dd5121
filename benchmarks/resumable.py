"""Many independent cases in parallel processes, one JSON line each: what is in the file is not done again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

Row = dict[str, Any]
CHUNK = 20
"""Cases a pool is made for: one that dies takes no more than these with it, and they are tried once more."""


def run_all(keys: Iterable[str], work: Callable[[str], list[Row]], path: Path, jobs: int) -> list[Row]:
    """Rows of every key by `work`, a function of a module; those of keys in the file are read from there.

    A key whose process dies twice has one row with `crashed` true.
    """
    keys = list(dict.fromkeys(keys))
    path.parent.mkdir(parents=True, exist_ok=True)
    done = _read(path)
    todo = [key for key in keys if key not in done]
    began = time.perf_counter()
    with path.open("a", encoding="utf-8") as file:
        for start in range(0, len(todo), CHUNK):
            chunk = todo[start : start + CHUNK]
            for key, rows in _chunk(chunk, work, jobs):
                done[key] = rows
                file.write(json.dumps({"key": key, "rows": rows}) + "\n")
                file.flush()
            gone = time.perf_counter() - began
            count = start + len(chunk)
            print(
                f"{count}/{len(todo)} in {gone:.0f} s, {gone / count * (len(todo) - count):.0f} s to go",
                flush=True,
            )
    return [row for key in keys for row in done[key]]


def _chunk(chunk: list[str], work: Callable[[str], list[Row]], jobs: int) -> Iterable[tuple[str, list[Row]]]:
    left = set(chunk)
    try:
        with ProcessPoolExecutor(jobs) as pool:
            futures = {pool.submit(work, key): key for key in chunk}
            for future in as_completed(futures):
                key = futures[future]
                rows = future.result()
                left.discard(key)
                yield key, rows
    except BrokenProcessPool:
        for key in sorted(left):  # one by one: only the one that dies is lost
            try:
                with ProcessPoolExecutor(1) as pool:
                    yield key, pool.submit(work, key).result()
            except BrokenProcessPool:
                yield key, [{"key": key, "crashed": True}]


def _read(path: Path) -> dict[str, list[Row]]:
    if not path.is_file():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return {line["key"]: line["rows"] for line in lines}
