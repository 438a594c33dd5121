"""What the reader keeps beside the circuit, and what it says about the rest."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feeders import (
    Capacitors,
    Connections,
    Generators,
    Lines,
    Loads,
    Regulators,
    Switches,
    Transformers,
    Windings,
)
from feeders.readers.opendss import ReadResult, read

pytest.importorskip("dss", reason="needs dss_python: make setup")

HEAD = "clear\nnew circuit.c basekv=12.47 bus1=a mvasc3=300 mvasc1=320\n"
TAIL = "\nset voltagebases=[12.47 .48]\ncalcvoltagebases\n"

Reader = Callable[[str], ReadResult]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    def run(text: str) -> ReadResult:
        (tmp_path / "m.dss").write_text(HEAD + text + TAIL)
        return read(tmp_path / "m.dss")

    return run


def said(result: ReadResult, part: str) -> list[str]:
    return [str(issue) for issue in result.audit if part in str(issue)]


WIRE = "new wiredata.w rac=.3 runits=mi gmrac=.02 gmrunits=ft diam=.7 radunits=in {rating}\n"
POLE = "new linegeometry.g nconds=3 nphases=3\n" + "".join(
    f"~ cond={k + 1} wire=w x={k} h=9 units=m\n" for k in range(3)
)
RATINGS = {
    "none": ("new line.l bus1=a bus2=b r1=.1 x1=.2 length=1", np.nan),
    "on the line": ("new line.l bus1=a bus2=b r1=.1 x1=.2 length=1 normamps=400", 400.0),
    "on the code": ("new linecode.k r1=.1 normamps=400\nnew line.l bus1=a bus2=b linecode=k", 400.0),
    "code without": ("new linecode.k r1=.1\nnew line.l bus1=a bus2=b linecode=k", np.nan),
    "line over code": ("new linecode.k r1=.1\nnew line.l bus1=a bus2=b linecode=k normamps=250", 250.0),
    "400 over code": (
        "new linecode.k r1=.1\nnew line.l bus1=a bus2=b linecode=k length=1 normamps=400",
        400.0,
    ),
    "edited": ("new line.l bus1=a bus2=b r1=.1 x1=.2\nline.l.normamps=400", 400.0),
    "on the wire": (WIRE.format(rating="normamps=333") + POLE + "new line.l bus1=a bus2=b geometry=g", 333.0),
    "wire of 400": (WIRE.format(rating="normamps=400") + POLE + "new line.l bus1=a bus2=b geometry=g", 400.0),
    "wire without": (WIRE.format(rating="") + POLE + "new line.l bus1=a bus2=b geometry=g", np.nan),
}


@pytest.mark.parametrize("name", RATINGS)
def test_a_rating_counts_only_if_the_text_gives_it(reader: Reader, name: str) -> None:
    text, expected = RATINGS[name]
    result = reader(text + "\nnew load.x bus1=b kv=12.47 kw=9 kvar=3")
    assert result.feeder[Lines].i_max_a[0, :3] == pytest.approx(np.full(3, expected), nan_ok=True)
    assert bool(said(result, "no rating in the text")) == bool(np.isnan(expected))


BODY = """new line.l bus1=a bus2=b length=1 units=km normamps=300 r1=.2 x1=.4 r0=.5 x0=1.2 c1=9 c0=4
new transformer.r phases=1 buses=(b.1 c.1) kvs=(7.2 7.2) kvas=(999 999) xhl=1 %loadloss=.1 normhkva=720
new regcontrol.g transformer=r winding=2 vreg=123 band=2 ptratio=60 ctprim=300 r=3 x=7 delay=20
new transformer.t buses=(b d) conns=(delta wye) kvs=(12.47 .48) kvas=(500 500) xhl=5 %loadloss=1
new load.one phases=1 bus1=c.1 kv=7.2 kw=90 pf=.95 model=4 cvrwatts=.8 cvrvars=3
new load.three bus1=d kv=.48 kw=30 kvar=9 model=5
new load.zip bus1=d.1.2 phases=1 conn=delta kv=.48 kw=3 kvar=1 model=8 zipv=(.1 .2 .7 .3 .3 .4 .6)
new load.off bus1=d kv=.48 kw=5
open load.off 1
new capacitor.q bus1=b kv=12.47 numsteps=2 kvar=(60 60) states=(1 0)
new capcontrol.k element=line.l terminal=1 capacitor=q type=kvar on=9e6 off=-9e6
new pvsystem.p bus1=d kv=.48 kva=60 pmpp=50 irradiance=.5 %cutin=.1 %cutout=.1
new monitor.m element=line.l
"""


def test_tables_of_a_circuit(reader: Reader) -> None:
    feeder = reader(BODY).feeder
    loads = feeder[Loads]
    assert loads.name.tolist() == ["one", "three.1", "three.2", "three.3", "zip"]
    assert loads.model.tolist() == ["cvr", *["constant_current"] * 3, "zip"]
    assert loads.zip[4] == pytest.approx([0.1, 0.2, 0.7, 0.3, 0.3, 0.4])
    assert loads.v_cutoff_pu[4] == 0.6
    assert loads.v_nom_kv == pytest.approx([7.2, *[0.48 / 3**0.5] * 3, 0.48])
    assert (loads.cvr_p[0], loads.cvr_q[0]) == (0.8, 3.0)
    regulator = feeder[Regulators]
    assert feeder[Transformers].name[regulator.transformer[0]] == "r"
    assert (regulator.winding[0], regulator.v_reg_v[0], regulator.x_v[0], regulator.delay_s[0]) == (
        1,
        123,
        7,
        20,
    )
    assert feeder[Windings].tap[1] > 1
    assert feeder[Windings].i_max_a[:2] == pytest.approx([100.0, 100.0])
    assert np.isnan(feeder[Windings].i_max_a[2:]).all()
    bank = feeder[Capacitors]
    assert (bank.steps.tolist(), bank.steps_on.tolist()) == ([2] * 3, [1] * 3)
    assert bank.kvar == pytest.approx([20.0] * 3)


def test_a_pv_system_is_a_connection_and_its_present_power(reader: Reader) -> None:
    feeder = reader(BODY).feeder
    made, ends = feeder[Generators], feeder[Connections]
    assert made.p_kw.sum() == pytest.approx(25.0, rel=1e-9)
    assert ends.prosumer.tolist() == ["pvsystem.p"] * 3
    assert ends.share.sum() == pytest.approx(1.0)
    assert ends.s_inverter_kva.sum() == pytest.approx(60.0)
    assert ends.p_pv_max_kw.sum() == pytest.approx(50.0)


def test_nothing_is_silent(reader: Reader) -> None:
    result = reader(BODY)
    assert said(result, "Loads.pair off: 1: switched off")
    assert said(result, "Capacitors.steps_on k: 1: ")
    assert said(result, "Feeder Monitor: 1 left out")
    assert said(result, "Windings.i_max_a t: 1: no normhkva")
    assert said(result, "Load off: 1: rated voltage") == []
    assert not said(result, "impedance not given")


def test_defaults_are_listed(reader: Reader) -> None:
    bare = "new line.l bus1=a bus2=b\nnew transformer.t buses=(b c)\nnew load.x bus1=c"
    result = reader(bare)
    for part in (
        "Line l: 1: length",
        "Line l: 1: impedance",
        "Line l: 1: capacitance",
        "Transformer t: 1: rated voltages",
        "Transformer t: 1: reactance",
        "Load x: 1: rated voltage",
        "Load x: 1: power",
    ):
        assert said(result, part), part


def test_open_switches_and_loads_outside_their_band(reader: Reader) -> None:
    loop = "new line.l bus1=a bus2=b length=1\nnew line.s bus1=a bus2=b switch=yes\nopen line.s 2\n"
    result = reader(loop + "new load.x bus1=b kv=14 kw=9 kvar=3\nnew load.y bus1=b kv=12.47 kw=9 kvar=3")
    assert result.feeder[Switches].closed.tolist() == [False]
    assert said(result, "Loads.v_min_pu x: 1: outside their voltage band")


def test_engine_voltages_stand_beside_ours(reader: Reader) -> None:
    result = reader(BODY)
    level = np.abs(result.v_engine_v) / result.feeder.v_base_v
    assert len(level) == result.feeder.n_nodes + 1
    assert (level[1:] > 0.9).all()


def test_coordinates(tmp_path: Path) -> None:
    (tmp_path / "xy.csv").write_text("a, 1.5, 2.5\nb, 3, 4\n")
    text = (
        HEAD
        + "new line.l bus1=a bus2=b length=1\nnew load.x bus1=b kv=12.47 kw=9"
        + TAIL
        + "buscoords xy.csv\n"
    )
    (tmp_path / "m.dss").write_text(text)
    buses = read(tmp_path / "m.dss").feeder.buses
    assert dict(zip(buses.name, zip(buses.x, buses.y, strict=True), strict=True)) == {
        "a": (1.5, 2.5),
        "b": (3.0, 4.0),
    }


def test_a_wider_case_folder(tmp_path: Path) -> None:
    (tmp_path / "codes.dss").write_text("new linecode.k r1=.1\n")
    (tmp_path / "sub").mkdir()
    body = (
        "redirect ../codes.dss\nnew line.l bus1=a bus2=b linecode=k length=1\nnew load.x bus1=b kv=12.47 kw=9"
    )
    (tmp_path / "sub" / "m.dss").write_text(HEAD + body + TAIL)
    assert len(read(tmp_path / "sub" / "m.dss", folder=tmp_path).feeder[Lines]) == 1


def test_admittances_are_read_in_one_place_only() -> None:
    """The engine's admittance is the check of the tables, never their source."""
    import feeders.readers.opendss.child as child

    folder = Path(child.__file__).parent
    lines = [
        line for path in folder.glob("*.py") for line in path.read_text().splitlines() if "Yprim" in line
    ]
    assert [line.strip() for line in lines] == [
        'return {"nodes": nodes, "y_s": [float(part) for part in _flat(element.Yprim)]}'
    ]
