"""Work in a child process that may crash or hang: back come its result, its exception, or the reason.

The child is a fork, so that whatever the work needs is there without being sent; only the result is, by
pickle, through a pipe. A solver in native code can then end its process, loop for ever or eat all memory, and
the parent goes on. Where processes cannot be forked safely (`FORKS`), callers work in their own process.
"""

from __future__ import annotations

import gc
import io
import math
import os
import pickle
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeVar

T = TypeVar("T")

FORKS = hasattr(os, "fork") and sys.platform != "darwin"
"""Windows has no fork; on macOS the system's own libraries (Accelerate among them) may crash after one."""

CHUNK = 1 << 20
LATE_S = 5.0
"""A child whose parent is gone ends itself this long after its time, even inside native code."""
LONGEST_POLL_S = 3600.0
"""An infinite budget is waited for in such pieces."""
REAP_S = 1e-3
"""Between two looks at a child that has closed its pipe and is not gone yet."""


@dataclass(frozen=True)
class Lost:
    """Nothing came back; the reason as a person reads it, "crashed (signal 11)" or "over budget of 60 s"."""

    reason: str


@dataclass(frozen=True)
class _Raised:
    exception: BaseException


def run(
    work: Callable[[], T], budget_s: float, *, began: float | None = None, shared: Sequence[object] = ()
) -> T | Lost:
    """What `work` returns in a forked child; `Lost` where that dies, or runs out of memory or of time.

    An exception of `work` is raised here as it was there, with the child's traceback as a note.

    budget_s  seconds after `began` at which the child is killed; infinite: never
    began     time.perf_counter(); default: now
    shared    what the parent has and the result may lead to: sent by its number, and the same object again
    Raises    ValueError  a budget that is not positive
    """
    require_budget(budget_s)
    end = (time.perf_counter() if began is None else began) + budget_s
    receive, send = os.pipe()
    try:
        pid = os.fork()
    except OSError as exc:
        os.close(receive)
        os.close(send)
        return Lost(f"no process could be started ({exc.strerror})")
    if pid == 0:
        _be_the_child(work, send, end, shared)
    os.close(send)
    status: int | None = None
    try:
        sent = _read(receive, end)
        status = _wait(pid, end)
    finally:  # on Ctrl-C too, no child is left behind
        os.close(receive)
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if status is None:
        return Lost(over_budget(budget_s))
    if status != 0:
        return Lost(f"crashed ({f'signal {-status}' if status < 0 else f'exit code {status}'})")
    if not sent:
        return Lost("crashed (exit code 0 without an answer)")
    found: T | Lost | _Raised = _Unpickler(sent, shared).load()
    if isinstance(found, _Raised):
        raise found.exception
    return found


def require_budget(budget_s: float) -> None:
    """A budget is a positive number of seconds; infinite is one.

    Raises  ValueError  otherwise
    """
    if not budget_s > 0:
        raise ValueError(f"budget_s = {budget_s:g}: give a positive number of seconds")


def over_budget(budget_s: float) -> str:
    """The reason of what ran out of time."""
    return f"over budget of {budget_s:g} s"


class _Pickler(pickle.Pickler):
    """Writes what is shared by its number."""

    def __init__(self, shared: Sequence[object]) -> None:
        self._file = io.BytesIO()
        super().__init__(self._file, protocol=pickle.HIGHEST_PROTOCOL)
        self._number = {id(one): k for k, one in enumerate(shared)}

    def persistent_id(self, obj: object) -> int | None:
        return self._number.get(id(obj))

    def packed(self, found: object) -> memoryview:
        self.dump(found)
        return self._file.getbuffer()


class _Unpickler(pickle.Unpickler):
    """Reads what `_Pickler` wrote."""

    def __init__(self, sent: bytes, shared: Sequence[object]) -> None:
        super().__init__(io.BytesIO(sent))
        self._shared = shared

    def persistent_load(self, pid: int) -> object:
        return self._shared[pid]


# The parent -------------------------------------------------------------------------------------


def _read(pipe: int, end: float) -> bytes:
    """Everything until the pipe is closed at its other end, or until it is time."""
    parts: list[bytes] = []
    poll = select.poll()  # select itself knows no file numbers beyond 1023
    poll.register(pipe, select.POLLIN)
    while (left := end - time.perf_counter()) > 0:
        if not poll.poll(1 + 1e3 * min(left, LONGEST_POLL_S)):
            continue
        part = os.read(pipe, CHUNK)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def _wait(pid: int, end: float) -> int | None:
    """Exit code of a child, minus the signal that ended it; None if it lives on when it is time."""
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.perf_counter() >= end:
            return None
        time.sleep(REAP_S)


# The child --------------------------------------------------------------------------------------


def _be_the_child(work: Callable[[], object], pipe: int, end: float, shared: Sequence[object]) -> NoReturn:
    """Work, send, and be gone: nothing of the parent's clean-up may run here."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the child
        if math.isfinite(end):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, max(end - time.perf_counter(), 0.0) + LATE_S)
        gc.freeze()  # a collection would touch, and so copy, every page shared with the parent
        left = _packed(work, shared)
        while left:
            left = left[os.write(pipe, left) :]
        code = 0
    finally:
        os._exit(code)


def _packed(work: Callable[[], object], shared: Sequence[object]) -> memoryview:
    try:
        return _Pickler(shared).packed(work())
    except MemoryError:
        return memoryview(pickle.dumps(Lost("crashed (out of memory)")))
    except BaseException as exc:  # nothing is hidden: the parent raises it
        exc.add_note(f"In the child process:\n{traceback.format_exc()}")
        return memoryview(_packed_exception(exc))


def _packed_exception(exc: BaseException) -> bytes:
    """Itself where pickle brings it through, else a RuntimeError with its name and message."""
    try:
        sent = pickle.dumps(_Raised(exc))
        pickle.loads(sent)
    except (pickle.PickleError, TypeError, AttributeError, ValueError):
        plain = RuntimeError(f"{type(exc).__name__}: {exc}")
        for note in exc.__notes__:
            plain.add_note(note)
        return pickle.dumps(_Raised(plain))
    return sent
