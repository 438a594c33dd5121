"""The engine's answer must not depend on what its memory holds, or on when something was opened."""

import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feeders import Generators, Loads
from feeders.checks import FeederError
from feeders.readers.errors import EngineError, UnsteadyError, UnsupportedError
from feeders.readers.opendss import ReadResult, read, run

pytest.importorskip("dss", reason="needs dss_python: make setup")
fills_memory = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only the C library of GNU fills memory when told to"
)

HEAD = """clear
new circuit.c basekv=12.47 bus1=a mvasc3=300 mvasc1=320 pu=1.04
new line.l bus1=a bus2=b length=1 units=km normamps=300 r1=.2 x1=.4 r0=.5 x0=1.2 c1=9 c0=4
new load.z bus1=b kv=12.47 kw=300
"""
BASES = "\nset voltagebases=[12.47]\ncalcvoltagebases\n"
SWITCHED = {"load": "kv=12.47 kw=900 {}", "generator": "kv=12.47 kw=900 {}"}
LEFT_OPEN = ("{o}", "solve\n{o}", "{o}\nsolve", "solve\n{o}\nsolve", "{o}\nsolve\n{c}\nsolve\n{o}")
LEFT_CLOSED = ("{c}", "{o}\n{c}", "{o}\nsolve\n{c}", "solve\n{o}\nsolve\n{c}\nsolve")
CONTROLLED = """new transformer.r phases=1 buses=(b.1 c.1) kvs=(7.2 7.2) kvas=(999 999) xhl=1 %loadloss=.1
new regcontrol.g transformer=r winding=2 vreg=123 band=2 ptratio=60 ctprim=300 r=3 x=7
new load.one phases=1 bus1=c.1 kv=7.2 kw=90
new capacitor.q bus1=b kv=12.47 numsteps=2 kvar=(60 60) states=(1 0)
new capcontrol.k element=line.l terminal=1 capacitor=q type=kvar on=9e6 off=-9e6
new load.off bus1=b kv=12.47 kw=5
open load.off 1
"""
ANYTHING = (0x00, 0xFF, 0x05, 0x41, 0x50, 0x64, 0x7D, 0xC8)
"""Fillings that once gave other voltages, another bank or no solution: floats of 1e-283 to 1e296."""

Reader = Callable[[str], ReadResult]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    def run_it(text: str) -> ReadResult:
        (tmp_path / "m.dss").write_text(HEAD + text + BASES)
        return read(tmp_path / "m.dss")

    return run_it


@pytest.fixture
def patched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`patched(old, new, ...)`: the engine's side with pieces of its text replaced."""

    def patch(*changes: tuple[str, str]) -> None:
        text = run.CHILD.read_text()
        for old, new in changes:
            assert text.count(old) == 1
            text = text.replace(old, new)
        (tmp_path / "child.py").write_text(text)
        monkeypatch.setattr(run, "CHILD", tmp_path / "child.py")

    return patch


UNWATCHED = ("events.register_func(AltDSSEvent.Legacy_InitControls, self.update)", "pass")
UNNOTICED = ("late := opened.found(active)", "late := []")


@pytest.mark.parametrize("variant", ["", "conn=delta", "model=2"])
@pytest.mark.parametrize("kind", SWITCHED)
def test_what_is_open_carries_nothing_whenever_it_was_opened(reader: Reader, kind: str, variant: str) -> None:
    """By the engine alone: 1.5 V off after a solution with the load on, anything at all before the first."""
    element = f"new {kind}.o bus1=b {SWITCHED[kind].format(variant)}"
    without = reader(f"{element} enabled=no")
    for order in LEFT_OPEN:
        result = reader(element + "\n" + order.format(o=f"open {kind}.o 1", c=f"close {kind}.o 1"))
        assert result.v_engine_v == pytest.approx(without.v_engine_v, rel=1e-9), order
        assert len(result.feeder[Loads]) == 3
        assert len(result.feeder[Generators]) == 0
        assert any("1: switched off; dropped" in str(issue) for issue in result.audit)


@pytest.mark.parametrize("kind", SWITCHED)
def test_what_was_closed_again_is_as_if_never_opened(reader: Reader, kind: str) -> None:
    """By the engine alone a generator that was closed feeds nothing, its power being unwritten memory."""
    element = f"new {kind}.o bus1=b {SWITCHED[kind].format('')}"
    plain = reader(element)
    for order in LEFT_CLOSED:
        result = reader(element + "\n" + order.format(o=f"open {kind}.o 1", c=f"close {kind}.o 1"))
        assert result.v_engine_v == pytest.approx(plain.v_engine_v, rel=1e-9), order
        assert result.feeder[Loads].p_kw == pytest.approx(plain.feeder[Loads].p_kw, rel=1e-9)
        assert result.feeder[Generators].p_kw == pytest.approx(plain.feeder[Generators].p_kw, rel=1e-9)
        assert not any("switched off" in str(issue) for issue in result.audit)


def test_a_cleared_circuit_leaves_nothing_behind(reader: Reader) -> None:
    """What was open in it is another element afterwards, which its own text has disabled."""
    load = "new load.o bus1=b kv=12.47 kw=900"
    result = reader(f"{load}\nopen load.o 1\nsolve\n{HEAD}{load} enabled=no\nsolve")
    assert len(result.feeder[Loads]) == 3
    assert not any("switched off" in str(issue) for issue in result.audit)


@pytest.mark.parametrize("kind", ["load", "generator", "pvsystem", "storage"])
def test_open_in_part_is_unsupported_in_any_memory(
    reader: Reader, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for filling in ANYTHING:
        monkeypatch.setattr(run, "FILLINGS", (filling, filling))
        with pytest.raises(UnsupportedError, match=rf"{kind}\.o: some of its conductors are open"):
            reader(f"new {kind}.o bus1=b kv=12.47\nopen {kind}.o 1 2")


@pytest.mark.parametrize(
    "text",
    [
        "new pvsystem.o bus1=b kv=12.47 pmpp=50 kva=60\nopen pvsystem.o 1",
        "new storage.o bus1=b kv=12.47 kwrated=50 state=discharging\nopen storage.o 1",
        "new capacitor.o bus1=b kv=12.47 cmatrix=(1|0 1|0 0 1)",
        "new reactor.o bus1=b bus2=e rmatrix=(1|0 1|0 0 1) xmatrix=(1|0 1|0 0 1)",
    ],
)
def test_what_the_engine_makes_up_but_no_table_needs_is_no_difference(reader: Reader, text: str) -> None:
    assert len(reader(text).feeder[Loads]) == 3


@fills_memory
def test_no_filling_of_memory_shows(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for filling in ANYTHING:
        monkeypatch.setattr(run, "FILLINGS", (filling, 0x41))
        found.append(reader(CONTROLLED))
    for result in found[1:]:
        assert (result.v_engine_v == found[0].v_engine_v).all()
        assert [str(issue) for issue in result.audit] == [str(issue) for issue in found[0].audit]


@fills_memory
def test_the_second_process_shows_what_the_first_took_from_memory(
    reader: Reader, patched: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flaw as it was: the open load solved with, here in one filling and in two."""
    patched(UNWATCHED, UNNOTICED)
    with pytest.raises(UnsteadyError, match=r"m\.dss: the engine answers differently when asked again: \w+"):
        reader(CONTROLLED)
    monkeypatch.setattr(run, "FILLINGS", (0x41, 0x41))
    level = np.abs(reader(CONTROLLED).v_engine_v)
    assert level.max() > 1e6  # volt: what nobody would have noticed as an error


def test_an_element_opened_behind_our_back_is_an_error(reader: Reader, patched: Callable[..., None]) -> None:
    patched(UNWATCHED)
    with pytest.raises(EngineError, match=r"load\.off was opened while the engine solved"):
        reader(CONTROLLED)


@fills_memory
def test_a_part_without_a_source_is_named_rather_than_its_unsteady_voltages(reader: Reader) -> None:
    with pytest.raises(FeederError, match=r"no path to a source for b\.4"):
        reader("new fault.f phases=4 bus1=b.1.2.3.4")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ("found['v_volt']['b.1'][0] += 1e-9 * filled", r"v_volt/b\.1/0 is 7\d+\.\d+, then 7\d+\.\d+"),
        ("found['classes']['Load'] *= 1 + filled", "classes/Load/1 is None, then {'Name': 'z'"),
        ("found['v_volt']['b.1'][0] = float('nan') if filled else 1.0", r"v_volt/b\.1/0 is 1\.0, then nan"),
        ("filled and found['v_volt'].update(x=found['v_volt'].pop('a.1'))", r"v_volt/a\.1 is \[.*then None"),
        ("filled and found['v_volt'].update({'a.1': found['v_volt'].pop('a.1')})", "v_volt comes in another"),
        ("filled and found.update(error='no')", "error is None, then no"),
        ("filled and sys.exit(3)", r"m\.dss: the OpenDSS engine died"),
        ("filled and sys.exit(bool(open(result, 'w').write('{')))", "stopped while writing"),
    ],
)
def test_any_difference_is_refused_and_placed(
    reader: Reader, patched: Callable[..., None], change: str, place: str
) -> None:
    filled = "import os\n    filled = 'perturb=255' not in os.environ['GLIBC_TUNABLES']\n    "
    patched(("    return _write(result, found)", f"    {filled}{change}\n    return _write(result, found)"))
    with pytest.raises(UnsteadyError, match="asked again: .*" + place):
        reader("")


def test_equal_answers_that_are_no_numbers_are_equal(reader: Reader, patched: Callable[..., None]) -> None:
    change = "    found['v_volt']['nowhere'] = [float('nan')] * 2"
    patched(("    return _write(result, found)", f"{change}\n    return _write(result, found)"))
    assert len(reader("").feeder[Loads]) == 3
