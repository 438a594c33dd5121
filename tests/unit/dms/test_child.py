"""A child process may end in any way: the parent gets the result, the exception, or the reason."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dms import child
from dms.child import Lost

pytestmark = pytest.mark.skipif(not child.FORKS, reason="needs processes that can be forked")


def _signal(number: int) -> Callable[[], None]:
    def work() -> None:
        faulthandler.disable()  # the test runner's, which would print a traceback
        os.kill(os.getpid(), number)

    return work


def _raise(exc: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise exc

    return work


class LocalError(Exception):
    """One that pickle cannot bring through: its constructor takes two values."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}, because {why}")


def test_the_result_comes_back_whole_and_from_another_process() -> None:
    large = np.random.default_rng(0).normal(size=10**6)
    pid, found = child.run(lambda: (os.getpid(), large * 2), 60.0)
    assert pid != os.getpid()
    np.testing.assert_array_equal(found, large * 2)


def test_what_is_shared_comes_back_as_the_same_object() -> None:
    shared = np.arange(5), {"a": 1}
    found = child.run(lambda: [shared[1], np.arange(5), shared[0]], 60.0, shared=shared)
    assert found[0] is shared[1]
    assert found[2] is shared[0]
    assert found[1] is not shared[0]


@pytest.mark.parametrize(
    ("work", "reason"),
    [
        (_signal(signal.SIGSEGV), "crashed (signal 11)"),
        (_signal(signal.SIGKILL), "crashed (signal 9)"),
        (_signal(signal.SIGABRT), "crashed (signal 6)"),
        (lambda: os._exit(3), "crashed (exit code 3)"),
        (lambda: os._exit(0), "crashed (exit code 0 without an answer)"),
        (_raise(MemoryError()), "crashed (out of memory)"),
    ],
)
def test_a_death_has_a_reason(work: Callable[[], None], reason: str) -> None:
    assert child.run(work, 60.0) == Lost(reason)


def _children() -> set[int]:
    """Processes of this one, dead but not reaped ones among them; earlier tests may have left some."""
    found: set[int] = set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            found |= {int(entry)} if int(state[1]) == os.getpid() else set()
    return found


@pytest.mark.parametrize("work", [lambda: time.sleep(600), lambda: _asleep_without_a_pipe()])
def test_a_child_that_does_not_end_is_killed_in_time(work: Callable[[], None]) -> None:
    before, began = _children(), time.perf_counter()
    assert child.run(work, 0.2) == Lost("over budget of 0.2 s")
    assert 0.2 <= time.perf_counter() - began < 2.0
    assert _children() <= before  # nothing is left to be reaped


def _asleep_without_a_pipe() -> None:
    os.closerange(3, 64)
    time.sleep(600)


def test_the_budget_counts_from_where_it_began() -> None:
    assert child.run(lambda: 1, 1.0, began=time.perf_counter() - 2.0) == Lost("over budget of 1 s")


@pytest.mark.parametrize("exc", [KeyError("no tap t1"), ValueError("x = 3"), ImportError("gone")])
def test_an_exception_is_raised_as_itself(exc: Exception) -> None:
    with pytest.raises(type(exc)) as caught:
        child.run(_raise(exc), 60.0)
    assert type(caught.value) is type(exc)
    assert caught.value.args == exc.args
    assert "in _raise" not in str(caught.value)
    assert any("in work" in note for note in caught.value.__notes__)


def test_an_exception_that_cannot_be_sent_keeps_its_name_and_message() -> None:
    with pytest.raises(RuntimeError, match="LocalError: the tap, because it sticks"):
        child.run(_raise(LocalError("the tap", "it sticks")), 60.0)


def test_a_result_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises((AttributeError, TypeError), match="pickle"):
        child.run(lambda: lambda: 1, 60.0)


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    open_before = len(os.listdir("/proc/self/fd"))
    found = child.run(lambda: 1, 60.0)
    assert found == Lost("no process could be started (Resource temporarily unavailable)")
    assert len(os.listdir("/proc/self/fd")) == open_before


def test_an_interrupted_parent_leaves_no_child_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(pipe: int, end: float) -> bytes:
        raise KeyboardInterrupt

    before = _children()
    monkeypatch.setattr(child, "_read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        child.run(lambda: time.sleep(600), 60.0)
    assert _children() <= before


def test_no_file_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    child.run(lambda: 1, 60.0)
    child.run(lambda: os._exit(1), 60.0)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("budget_s", [0.0, -1.0, float("nan")])
def test_a_budget_is_positive(budget_s: float) -> None:
    with pytest.raises(ValueError, match="budget_s"):
        child.run(lambda: 1, budget_s)
    assert child.run(lambda: 1, float("inf")) == 1
