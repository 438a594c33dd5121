"""BMOPF cases: round trips, what remains without our extension, and files as others write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dms import Network
from feeders import (
    Capacitors,
    Connections,
    Feeder,
    Generators,
    Lines,
    Loads,
    Reactors,
    Sources,
    Transformers,
    WindingPairs,
    Windings,
    library,
    readers,
)
from feeders.readers import bmopf
from feeders.readers.bmopf.read import read_document
from feeders.readers.bmopf.write import document_of
from feeders.readers.errors import UnsupportedError
from feeders.readers.rows import difference, rows_of

CASES: dict[str, tuple[str, dict[str, Any]]] = {  # the parallel form: tests/validation/feeders
    "ieee4": ("ieee4", {}),
    "merged": ("ieee342", {"form": "merged"}),
    "expanded": ("ieee342", {"form": "expanded"}),
    "synthetic": ("synthetic", {"n_buses": 80, "seed": 3, "prosumers": 0.5}),
}


def volts(feeder: Feeder) -> dict[str, complex]:
    flow = Network(feeder).solve_loads()
    assert flow.converged
    return dict(zip(feeder.node_names, flow.v, strict=True))


def documented(feeder: Feeder) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(document_of(feeder)[0], allow_nan=False))
    return document


@pytest.mark.parametrize("case", CASES)
def test_round_trip_with_and_without_our_extension(case: str, tmp_path: Path) -> None:
    """With it the same tables and power flow; without it the same power flow."""
    name, options = CASES[case]
    feeder = library.load(name, **options)
    path = tmp_path / "case.json"
    audit = bmopf.write(feeder, path)
    back = bmopf.read(path)
    assert difference(rows_of(back.feeder), rows_of(feeder)) == {}
    assert (back.feeder.name, back.feeder.origin) == (feeder.name, feeder.origin)
    assert set(back.feeder.node_names) == set(feeder.node_names)
    assert all(issue.message for issue in audit)
    assert not [issue for issue in back.audit if issue.severity == "warning"]
    document = json.loads(path.read_text())
    assert set(document.pop("extras")) == {"anoca"}
    bare = read_document(document, "x").feeder
    ours, base = volts(feeder), dict(zip(feeder.node_names, feeder.v_base_v, strict=True))
    for other in (volts(back.feeder), volts(bare)):
        assert max(abs(ours[node] - other[node]) / base[node] for node in ours) < 1e-9


def test_a_changed_file_is_read_as_changed_and_says_so() -> None:
    document = documented(library.load("ieee4"))
    name = next(iter(document["load"]))
    document["load"][name]["p_nom"] = [1234.0]
    reading = read_document(document, "x")
    assert reading.feeder[Loads].p_kw[0] == pytest.approx(1.234)
    assert any("changed after it was written" in str(issue) for issue in reading.audit)


def foreign() -> dict[str, Any]:
    """A four-wire feeder as another program may write it: letters for terminals, linecodes, no extras."""
    abcn = ["a", "b", "c", "n"]
    series = {f"{q}_series_{k}_{k}": v for k in range(1, 5) for q, v in (("R", 3e-4), ("X", 1e-4))}
    third = 2 * np.pi / 3
    return {
        "meta": {"frequency": 50, "title": "four wires"},
        "terminal_conventions": {"phase": ["a", "b", "c"], "neutral": ["n"]},
        "bus": {
            "s": {"terminal_names": abcn, "perfectly_grounded_terminals": ["n"], "v_max": [300, 300, 300]},
            "m": {"terminal_names": abcn},
            "e": {"terminal_names": abcn},
        },
        "linecode": {"c": {**series, "R_series_1_2": 5e-5, "i_max": [100.0, 100.0, 100.0, 90.0]}},
        "line": {
            "l": {
                "bus_from": "s",
                "bus_to": "m",
                "terminal_map_from": abcn,
                "terminal_map_to": abcn,
                "linecode": "c",
                "length": 200,
            }
        },
        "switch": {
            "w": {
                "bus_from": "m",
                "bus_to": "e",
                "terminal_map_from": abcn,
                "terminal_map_to": abcn,
                "open_switch": False,
            }
        },
        "voltage_source": {
            "g": {
                "bus": "s",
                "terminal_map": abcn,
                "v_magnitude": [230, 230, 230, 0],
                "v_angle": [0, -third, third, 0],
            }
        },
        "load": {
            "wye": {
                "bus": "e",
                "terminal_map": abcn,
                "configuration": "WYE",
                "p_nom": [1000, 800, 1200],
                "q_nom": [200, 160, 240],
                "model": "ZIP",
                "v_nom": [230, 230, 230],
                **{key: [0.2, 0.2, 0.2] for key in ("alpha_z", "beta_z")},
                **{key: [0.3, 0.3, 0.3] for key in ("alpha_i", "beta_i")},
                **{key: [0.5, 0.5, 0.5] for key in ("alpha_p", "beta_p")},
            },
            "del": {
                "bus": "e",
                "terminal_map": ["a", "b", "c"],
                "configuration": "DELTA",
                "p_nom": [300, 0, 0],
                "q_nom": [0, 0, 0],
                "model": "EXPONENTIAL",
                "v_nom": [400, 400, 400],
                "gamma_p": [1.3, 1.3, 1.3],
                "gamma_q": [2, 2, 2],
            },
        },
        "generator": {
            "fixed": {
                "bus": "e",
                "terminal_map": ["a", "n"],
                "configuration": "SINGLE_PHASE",
                "p_min": [500],
                "p_max": [500],
                "q_min": [0],
                "q_max": [0],
                "cost": [0.1],
            },
            "free": {
                "bus": "e",
                "terminal_map": ["b", "n"],
                "configuration": "SINGLE_PHASE",
                "p_min": [0],
                "p_max": [700],
                "q_min": [0],
                "q_max": [0],
            },
        },
        "ibr": {
            "pv": {
                "bus": "e",
                "terminal_map": abcn,
                "topology": "FOUR_LEG",
                "prime_mover": "PV",
                "s_max": [2000, 2000, 2000],
                "p_avail": 4500,
            }
        },
        "shunt": {"earthing": {"bus": "e", "terminal_map": ["n"], "G_1_1": 0.1, "B_1_1": 0.0}},
        "capacitor": {
            "bank": {
                "bus": "e",
                "terminal_map": abcn,
                "configuration": "WYE",
                "q_rated": 3000,
                "v_nom": 400,
            }
        },
    }


def test_a_foreign_file_is_read_by_the_schema() -> None:
    reading = read_document(foreign(), "x")
    f = reading.feeder
    assert f.frequency_hz == 50
    assert list(f.node_names[:5]) == ["0", "s.1", "s.2", "s.3", "m.1"]  # s.n is earth
    assert f[Lines].from_node[0].tolist() == [1, 2, 3, 0]
    assert f[Lines].z_ohm[0, 0, 1] == f[Lines].z_ohm[0, 1, 0] == pytest.approx(0.01)
    assert f[Lines].i_max_a[0].tolist() == [100, 100, 100, 90]
    assert f[Loads].zip[0].tolist() == [0.2, 0.3, 0.5, 0.2, 0.3, 0.5]
    assert f[Loads].v_nom_kv[:3] == pytest.approx(0.23)  # as in the equations: across the phase
    assert f[Loads].model.tolist() == ["zip"] * 3 + ["cvr"] * 3
    assert f[Generators].p_kw.tolist() == [0.5]
    assert f[Connections].prosumer.tolist() == ["free", "pv", "pv", "pv"]
    assert f[Connections].p_pv_max_kw.tolist() == [0.7, 1.5, 1.5, 1.5]
    assert f[Capacitors].kvar.tolist() == [1.0] * 3
    assert f[Capacitors].v_nom_kv == pytest.approx(0.4 / np.sqrt(3))  # as in the schema: line to line
    assert f[Reactors].z_ohm.tolist() == [10]
    assert f.buses.v_base_kv == pytest.approx(0.23)
    assert volts(f)["e.4"] != 0
    said = " | ".join(str(issue) for issue in reading.audit)
    for word in ("phase to neutral", "line to line", "bus.v_max", "generator.cost", "connections, idle"):
        assert word in said


def with_transformer(subtype: str, fields: dict[str, Any], low: list[str]) -> Feeder:
    """A 7.2 kV (phase) source, one transformer to bus `b`, a small load there."""
    third = 2 * np.pi / 3
    document = {
        "meta": {"frequency": 60},
        "bus": {
            "s": {"terminal_names": ["1", "2", "3", "4"], "perfectly_grounded_terminals": ["4"]},
            "b": {"terminal_names": low, "perfectly_grounded_terminals": ["4"] if "4" in low else []},
        },
        "voltage_source": {
            "g": {
                "bus": "s",
                "terminal_map": ["1", "2", "3"],
                "v_magnitude": [7200.0] * 3,
                "v_angle": [0.0, -third, third],
            }
        },
        "transformer": {subtype: {"t": fields}},
    }
    return read_document(document, "x").feeder


ENDS = {"bus_from": "s", "bus_to": "b", "s_rating": 3e5}


def test_wye_delta_and_delta_wye_turn_by_thirty_degrees() -> None:
    """Yd: v_del,k - v_del,k+1 = n (v_wye,k); Dy: v_del,k - v_del,k-1."""
    wye, delta = ["1", "2", "3", "4"], ["1", "2", "3"]
    dy = with_transformer(
        "delta_wye",
        {
            **ENDS,
            "terminal_map_from": delta,
            "terminal_map_to": wye,
            "v_nom_from": 7200 * np.sqrt(3),
            "v_nom_to": 480.0,
            "x_series": 0.02,
            "tap_ratio": 1.05,
        },
        wye,
    )
    v = volts(dy)
    assert v["b.1"] == pytest.approx(480 / np.sqrt(3) / 1.05 * np.exp(-1j * np.pi / 6), rel=1e-9)
    z_base = (480 / np.sqrt(3)) ** 2 / 1e5
    assert dy[WindingPairs].x_pct[0] == pytest.approx(100 * 0.02 / z_base)
    yd = with_transformer(
        "wye_delta",
        {
            **ENDS,
            "terminal_map_from": wye,
            "terminal_map_to": delta,
            "v_nom_from": 7200 * np.sqrt(3),
            "v_nom_to": 480.0,
            "x_series": 20.0,
        },
        delta,
    )
    pairs = yd[Windings].pair[1]
    names = [[str(yd.node_names[k]) for k in pair] for pair in pairs]
    assert names == [["b.1", "b.2"], ["b.2", "b.3"], ["b.3", "b.1"]]


def test_center_tap_and_single_phase_ohms() -> None:
    centre = with_transformer(
        "center_tap",
        {
            **ENDS,
            "terminal_map_from": ["1", "4"],
            "terminal_map_to": ["1", "4", "2"],
            "v_nom_from": 7200.0,
            "v_nom_to": 120.0,
            "x_series_from": 3.0,
            "x_series_to": 0.001,
            "r_series_to": 0.0005,
            "no_load_shunt": {"winding": 2, "g": 1e-4, "b": -2e-4},
        },
        ["1", "2", "4"],
    )
    v = volts(centre)
    assert v["b.1"] == pytest.approx(120, rel=1e-4)
    assert v["b.2"] == pytest.approx(-120, rel=1e-4)
    z_base = 7200**2 / 3e5
    assert centre[WindingPairs].x_pct / 100 * z_base == pytest.approx([6.6, 6.6, 7.2])
    assert centre[Windings].core_pct[1] / 100 / (120**2 / 3e5) == pytest.approx(1e-4 - 2e-4j)
    single = with_transformer(
        "single_phase",
        {
            **ENDS,
            "terminal_map_from": ["1", "4"],
            "terminal_map_to": ["1", "4"],
            "v_nom_from": 7200.0,
            "v_nom_to": 240.0,
            "x_series_from": 3.0,
            "tap_ratio": 1.05,
        },
        ["1", "4"],
    )
    assert volts(single)["b.1"] == pytest.approx(240 / 1.05)
    assert single[WindingPairs].x_pct[0] / 100 * z_base * 1.05**2 == pytest.approx(3.0)
    assert single[Transformers].s_kva[0] == 300


def test_a_step_regulator_raises_by_its_ratio() -> None:
    fields = {
        **ENDS,
        "terminal_map_from": ["1", "4"],
        "terminal_map_to": ["1", "4"],
        "x_series_from": 0.1,
        "tap_ratio": 1.05,
        "regulator_type": "B",
    }
    assert volts(with_transformer("single_phase_autotransformer", fields, ["1", "4"]))[
        "b.1"
    ] == pytest.approx(7560)
    with pytest.raises(UnsupportedError, match=r"open_delta_regulator 't'"):
        with_transformer("open_delta_regulator", fields, ["1", "4"])


def test_source_impedance_is_a_line_behind_an_ideal_source() -> None:
    document = documented(library.load("ieee4"))
    assert document["voltage_source"]["source"]["bus"] == "source_source"
    assert "source_source" in document["line"]
    del document["extras"]
    assert not read_document(document, "x").feeder[Sources].z_ohm.any()


def test_writing_refuses_what_lies_between_buses(tmp_path: Path) -> None:
    feeder = library.load("ieee4")
    a, b = feeder.node("n3.1"), feeder.node("n4.1")
    loads = feeder[Loads].replace(pair=np.array([[a, b]] * len(feeder[Loads])))
    with pytest.raises(UnsupportedError, match="load"):
        bmopf.write(feeder.with_tables(loads), tmp_path / "x.json")
    bmopf.write(feeder, tmp_path / "y.json")
    with pytest.raises(FileExistsError):
        bmopf.write(feeder, tmp_path / "y.json")


def test_the_registry_looks_inside(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    readers.writer(path).write(library.load("ieee4"), path)  # type: ignore[misc]
    assert readers.find(path).name == "bmopf"
    assert len(readers.read(path).feeder[Lines]) == 2
    with pytest.raises(readers.FormatError, match="takes no options"):
        readers.read(path, {"zero_sequence": "equal"})
    path.write_text('{"colour": 1}')
    with pytest.raises(readers.FormatError, match="no BMOPF case, no pandapower network"):
        readers.read(path)
    assert readers.writer(tmp_path / "folder").name == "tables"
    with pytest.raises(readers.FormatError, match="bmopf"):
        readers.writer(tmp_path / "x.xml")
