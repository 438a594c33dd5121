"""Runs the engine in processes of its own: on copies of the case, bounded in time, memory and disk.

The engine reads memory that it has not written: where it did so, the same file gave other voltages, another
bank or no solution, now and then. So it runs twice, in memory filled with zeros and with something else; what
depends on the filling comes out as a difference.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest
from pathlib import Path
from typing import Any

from feeders.readers.errors import EngineError, LimitError, MissingEngineError, UnsupportedError
from feeders.readers.opendss.scan import Copy

FILE_BYTES = 512 * 2**20
CHILD = Path(__file__).with_name("child.py")
FILLINGS = (0x00, 0x41)
"""Bytes of fresh memory, by process: zeros, and 2.3e6 in a float, far from anything that goes unnoticed."""

Answer = dict[str, Any]


def engine(copy: Copy, master: Path, *, timeout_s: float, memory_bytes: int, tolerance: float) -> Answer:
    """What the engine makes of a collected circuit.

    copy    the files, from `scan.collect`; master is relative to them
    Raises  MissingEngineError  dss_python is not installed
            EngineError         the engine refuses the circuit or finds no solution
            LimitError          it took too long or too much memory, or the engine died
            UnsupportedError    an element is open in part

    "unsteady" in the answer says where the second one differs. It is left to the caller to refuse it: the
    reason may be a circuit in which something has no path to a source, and then that is the better message.
    """
    options = {"memory_bytes": memory_bytes, "file_bytes": FILE_BYTES, "tolerance": tolerance}
    with ThreadPoolExecutor(len(FILLINGS)) as pool:
        tries = [pool.submit(_once, copy, master, timeout_s, options, filling) for filling in FILLINGS]
    text = tries[0].result()
    first = _parsed(text, master.name)
    _refuse(first, master.name, memory_bytes)
    try:
        again = tries[1].result()
        # As text: a number that is none equals itself there.
        first["unsteady"] = "" if again == text else _difference(first, _parsed(again, master.name), "")
    except LimitError as exc:
        first["unsteady"] = str(exc)
    return first


def _once(copy: Copy, master: Path, timeout_s: float, options: dict[str, Any], filling: int) -> str:
    """The answer of one process."""
    with tempfile.TemporaryDirectory(prefix="opendss-") as name:
        folder, result = Path(name) / "case", Path(name) / "result.json"
        _write(folder, copy.files)
        reason = _run([str(folder / master), str(result), json.dumps(options)], folder, timeout_s, filling)
        if not result.exists():
            raise LimitError(f"{master.name}: the OpenDSS engine died ({reason}); is an element malformed?")
        # Messages name files, by the folder they are in.
        return result.read_text(encoding="utf-8").replace(f"{name}/case/", "")


def _parsed(text: str, master: str) -> Answer:
    try:
        found: Answer = json.loads(text)
    except json.JSONDecodeError as exc:
        raise LimitError(f"{master}: the OpenDSS engine stopped while writing its result") from exc
    return found


def _refuse(found: Answer, master: str, memory_bytes: int) -> None:
    """Raise what an answer says instead of a circuit."""
    if "missing" in found:
        raise MissingEngineError(
            "reading OpenDSS files needs dss_python: make setup, or pip install -e '.[opendss]'"
        )
    if "unloadable" in found:
        why = found["unloadable"]
        raise LimitError(f"{master}: the engine does not load in {memory_bytes} bytes of memory: {why}")
    if "partly" in found:
        raise UnsupportedError(f"{found['partly'][0].lower()}: some of its conductors are open")
    if "error" in found:
        raise EngineError(f"{master}: {' '.join(found['error'].split())}")


def _difference(one: Any, other: Any, place: str) -> str:
    """The first place at which two answers differ, and both values."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(key, one.get(key), other.get(key)) for key in dict.fromkeys([*one, *other])]
    elif isinstance(one, list) and isinstance(other, list):
        pairs = [(str(k), a, b) for k, (a, b) in enumerate(zip_longest(one, other))]
    else:
        return f"{place} is {one}, then {other}"
    key, a, b = next((pair for pair in pairs if json.dumps(pair[1]) != json.dumps(pair[2])), ("", one, other))
    return _difference(a, b, f"{place}/{key}".lstrip("/")) if key else f"{place} comes in another order"


def _write(folder: Path, files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _run(arguments: list[str], folder: Path, timeout_s: float, filling: int) -> str:
    """Run the child; why it ended, should it have left no result."""
    command = [sys.executable, "-I", str(CHILD), *arguments]
    environment = _environment(folder.parent, filling)
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, timeout=timeout_s, capture_output=True, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise LimitError(f"{Path(arguments[0]).name}: no result after {timeout_s:g} s") from exc
    if b"MemoryError" in done.stderr:
        raise LimitError(f"{Path(arguments[0]).name}: needs more memory than it may have")
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return ", ".join([f"signal {-done.returncode}" if done.returncode < 0 else "an error", *last])


def _environment(home: Path, filling: int) -> dict[str, str]:
    """What the child inherits.

    home     its own: the engine keeps files there, and processes side by side must not share them
    filling  byte in all memory it is given; only the C library of GNU knows how, and needs the complement.
             Its cache of blocks per thread hands them out as they were left, and is switched off
    """
    tunables = f"glibc.malloc.perturb={0xFF - filling}:glibc.malloc.tcache_count=0"
    alone = {"HOME": str(home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    inherited = {key: value for key, value in os.environ.items() if key != "MALLOC_PERTURB_"}
    return {**inherited, **alone, "GLIBC_TUNABLES": tunables}
