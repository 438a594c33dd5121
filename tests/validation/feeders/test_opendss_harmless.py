"""Harmless changes of a master's text, seeded: each must read to the same feeder.

A text is taken apart into statements and put together again in another style: case, white space, comments,
continuation lines, quotes, separators, line ends, abbreviations, includes, and another order where order
carries no meaning. The fast run lets one parent process compile all variants, each in a fork of its own, and
the reader make tables of what comes back; the slow run reads every one of them from scratch. The changes
themselves are in `rewriting.py`.

`pytest tests/validation/feeders/test_opendss_harmless.py -m "slow or not slow"` runs all of it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import pytest

from feeders import Buses, Feeder, Generators, Nodes, Table, Transformers
from feeders.checks import FeederError
from feeders.readers.errors import ReadError
from feeders.readers.opendss import read, run

pytest.importorskip("dss", reason="needs dss_python: make setup")

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("rewriting", HERE / "rewriting.py")
assert _spec is not None
assert _spec.loader is not None
rewriting = sys.modules["rewriting"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rewriting)

Files = dict[str, str]

ROUNDS = 32
"""Variants of each of the five circuits; the first of them have one change each, the others several."""
RTOL = 1e-9
"""Of figures that the engine has solved for, or added up in another order; all others are equal."""

# Circuits --------------------------------------------------------------------------------------------

PUBLISHED = {
    "13Bus": ("IEEE13Nodeckt.dss", "IEEELineCodes.DSS", "IEEE13Node_BusXY.csv"),
    "34Bus": ("ieee34Mod1.dss", "IEEELineCodes.DSS", "IEEE34_BusXY.csv"),
}


def made_here(name: str) -> str:
    return (HERE / "harmless" / f"{name}.dss").read_text()


@pytest.fixture(params=["micro", "poles", *PUBLISHED, "M1"])
def circuit(request: pytest.FixtureRequest, feeder_folder: Callable[[str], Path]) -> Files:
    """The files of a circuit, master first."""
    name = request.param
    if name in ("micro", "poles"):
        return {"m.dss": made_here(name)}
    if name == "M1":
        return {"m.dss": rewriting.m1_fragment(feeder_folder("epri_dpv_M1"))}
    folder = feeder_folder(name)
    return {file: (folder / file).read_text(encoding="latin-1") for file in PUBLISHED[name]}


# Reading and comparing ------------------------------------------------------------------------------

SERVER = """
import importlib.util, json, os, sys
import dss
spec = importlib.util.spec_from_file_location("child", sys.argv[1])
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
for line in sys.stdin:
    order = json.loads(line)
    pid = os.fork()
    if not pid:
        os.chdir(order["folder"])
        sys.argv[1:] = order["words"]
        os._exit(child.main())
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
"""The engine loaded once; every circuit in a fork of its own."""


@pytest.fixture
def forks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The reader's processes are forks of one that has the engine in memory already."""
    server = subprocess.Popen(
        [sys.executable, "-I", "-c", SERVER, str(run.CHILD)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(tmp_path)},
        text=True,
    )
    lock, started = Lock(), subprocess.run

    def forked(command: list[str], **options: Any) -> Any:
        if str(run.CHILD) not in command:
            return started(command, **options)
        words = command[command.index(str(run.CHILD)) + 1 :]
        with lock:
            assert server.stdin
            assert server.stdout
            print(json.dumps({"words": words, "folder": str(options["cwd"])}), file=server.stdin, flush=True)
            code = int(server.stdout.readline())
        return subprocess.CompletedProcess(command, code, b"", b"")

    monkeypatch.setattr(run.subprocess, "run", forked)
    yield
    assert server.stdin
    server.stdin.close()
    server.wait(10)


def feeder_of(folder: Path, files: Files) -> Feeder | str:
    """The feeder that these files make, or why there is none."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8"))
    try:
        return read(folder / next(iter(files))).feeder
    except (ReadError, FeederError) as exc:
        return str(exc)


def rows(feeder: Feeder, kind: type[Table], reordered: bool) -> list[tuple[Any, ...]]:
    """A table with nodes and rows of other tables by their names; sorted if their order is free."""
    table: Table = {Buses: feeder.buses, Nodes: feeder.nodes}.get(kind) or feeder[kind]
    columns = []
    for col in table.columns():
        values = getattr(table, col.name)
        if col.check == "node":
            values = np.append(feeder.node_names, "")[values]  # -1, absent, is the last
        elif col.unit == "row of Transformers":
            values = feeder[Transformers].name[values]
        elif col.unit == "row of Buses":
            values = np.append(feeder.buses.name, "")[values]
        columns.append([np.asarray(v).ravel().tolist() for v in values])
    found = list(zip(*columns, strict=True))
    return (
        sorted(found, key=lambda row: str([v for v in row if not isinstance(v[0], float)]))
        if reordered
        else found
    )


def difference(plain: Feeder, other: Feeder | str, reordered: bool) -> str:
    """The first place at which two feeders differ, "" if they are equal; or why there is no other one."""
    if isinstance(other, str):
        return other
    if (plain.name, plain.frequency_hz) != (other.name, other.frequency_hz):
        return f"{plain.name} {plain.frequency_hz}, then {other.name} {other.frequency_hz}"
    for kind in (Buses, Nodes, *sorted({*plain.tables, *other.tables}, key=lambda t: t.__name__)):
        a, b = (rows(feeder, kind, reordered) for feeder in (plain, other))
        if len(a) != len(b):
            return f"{kind.__name__}: {len(a)} rows, then {len(b)}"
        for one, two in zip(a, b, strict=True):
            for col, left, right in zip(kind.columns(), one, two, strict=True):
                exact = not reordered and kind is not Generators  # whose powers the engine has solved for
                if not same(left, right, 0.0 if exact else RTOL):
                    return f"{kind.__name__}.{col.name} of {one[0]}: {left}, then {right}"
    return ""


def same(left: list[Any], right: list[Any], rtol: float) -> bool:
    if left and isinstance(left[0], float | complex):
        return bool(np.allclose(left, right, rtol=rtol, atol=rtol, equal_nan=True))
    return left == right


@pytest.fixture
def short(opendss: Any) -> dict[str, list[str]]:
    """Names of properties, in the engine's order, of the kinds whose names are shortened."""
    opendss.run("clear", "new circuit.c", "new transformer.q")
    found = {}
    for kind in ("line", "load", "capacitor", "reactor", "transformer", "linecode", "wiredata", "pvsystem"):
        opendss.run(f"{'edit' if kind == 'transformer' else 'new'} {kind}.q")
        names = opendss.engine.ActiveCircuit.ActiveDSSElement.AllPropertyNames
        found[kind] = [name.lower() for name in names]
    return found


def check(circuit: Files, short: dict[str, list[str]], folder: Path) -> None:
    plain = feeder_of(folder / "plain", circuit)
    assert isinstance(plain, Feeder), plain
    wrong, made = [], rewriting.variants(circuit, short, ROUNDS)
    for k, variant in enumerate(made):
        found = difference(plain, feeder_of(folder / f"v{k}", variant.files), variant.reordered)
        wrong += [f"v{k} {' '.join(variant.kinds)}: {found}"] if found else []
    assert len(made) == ROUNDS
    assert not wrong, "\n".join(wrong)


@pytest.mark.usefixtures("forks")
def test_variants_read_to_equal_feeders(circuit: Files, short: dict[str, list[str]], tmp_path: Path) -> None:
    check(circuit, short, tmp_path)


@pytest.mark.slow
def test_variants_read_from_scratch(circuit: Files, short: dict[str, list[str]], tmp_path: Path) -> None:
    """The same through processes of the reader's own."""
    check(circuit, short, tmp_path)


@pytest.mark.usefixtures("forks")
@pytest.mark.parametrize(
    ("old", "new"), [("kvar=30", "kvar=31"), ("length=400", "length=401"), ("bus1=e.2", "bus1=e.02")]
)
def test_another_circuit_is_noticed(tmp_path: Path, old: str, new: str) -> None:
    """One figure changed in any statement is a difference; one spelt otherwise is none."""
    text = made_here("micro")
    plain, other = (
        feeder_of(tmp_path / name, {"m.dss": content})
        for name, content in (("plain", text), ("other", text.replace(old, new)))
    )
    assert isinstance(plain, Feeder)
    assert bool(difference(plain, other, True)) == (new != "bus1=e.02")
