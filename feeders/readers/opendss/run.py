"""Runs the engine in a process of its own: on a copy of the case, bounded in time, memory and disk."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from feeders.readers.errors import EngineError, LimitError, MissingEngineError
from feeders.readers.opendss.scan import Copy

FILE_BYTES = 512 * 2**20
CHILD = Path(__file__).with_name("child.py")


def engine(
    copy: Copy, master: Path, *, timeout_s: float, memory_bytes: int, tolerance: float
) -> dict[str, Any]:
    """What the engine makes of a collected circuit.

    copy    the files, from `scan.collect`; master is relative to them
    Raises  MissingEngineError  dss_python is not installed
            EngineError         the engine refuses the circuit or finds no solution
            LimitError          it took too long or too much memory, or the engine died
    """
    with tempfile.TemporaryDirectory(prefix="opendss-") as name:
        folder, result = Path(name) / "case", Path(name) / "result.json"
        _write(folder, copy.files)
        options = {"memory_bytes": memory_bytes, "file_bytes": FILE_BYTES, "tolerance": tolerance}
        reason = _run([str(folder / master), str(result), json.dumps(options)], folder, timeout_s)
        if not result.exists():
            raise LimitError(f"{master.name}: the OpenDSS engine died ({reason}); is an element malformed?")
        try:
            found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        except json.JSONDecodeError as exc:
            raise LimitError(f"{master.name}: the OpenDSS engine stopped while writing its result") from exc
    if "missing" in found:
        raise MissingEngineError("reading OpenDSS files needs dss_python: pip install 'anoca[opendss]'")
    if "unloadable" in found:
        why = found["unloadable"]
        text = f"{master.name}: the engine does not load in {memory_bytes} bytes of memory: {why}"
        raise LimitError(text)
    if "error" in found:
        raise EngineError(f"{master.name}: {_plain(found['error'], name)}")
    return found


def _write(folder: Path, files: dict[Path, bytes]) -> None:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def _run(arguments: list[str], folder: Path, timeout_s: float) -> str:
    """Run the child; why it ended, should it have left no result."""
    # A home of its own: the engine keeps files there, and processes side by side must not share them.
    home = {"HOME": str(folder.parent), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    environment = {**os.environ, **home}
    command = [sys.executable, "-I", str(CHILD), *arguments]
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


def _plain(message: str, folder: str) -> str:
    """An engine's message without the folder it ran in."""
    return " ".join(message.replace(folder + "/case/", "").split())
