"""pandapower networks: what each table becomes, on a network written by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dms import Network
from feeders import (
    Capacitors,
    Generators,
    Lines,
    Loads,
    Reactors,
    Sources,
    Switches,
    Transformers,
    Windings,
    readers,
)
from feeders.readers.errors import FileError, FormatError, ReadError, UnsupportedError
from feeders.readers.pandapower import read
from feeders.readers.pandapower.transformers import arrangement
from feeders.readers.result import Reading

Tables = dict[str, list[dict[str, Any]]]
FUZZ = 60


def tables() -> Tables:
    """20 kV: 0 - line - 1 - transformer - 2 (0.4 kV) - line - 3."""
    line = {"r_ohm_per_km": 0.3, "x_ohm_per_km": 0.1, "c_nf_per_km": 200.0, "length_km": 2.0, "parallel": 2}
    zero = {"r0_ohm_per_km": 0.9, "x0_ohm_per_km": 0.4, "c0_nf_per_km": 100.0, "max_i_ka": 0.2, "df": 0.5}
    trafo = {"hv_bus": 1, "lv_bus": 2, "sn_mva": 0.4, "vn_hv_kv": 20.0, "vn_lv_kv": 0.4, "vk_percent": 4.0}
    more = {
        "vkr_percent": 1.0,
        "pfe_kw": 1.0,
        "i0_percent": 0.4,
        "shift_degree": 150.0,
        "vector_group": "Dyn5",
    }
    sequence = {
        "vk0_percent": 4.0,
        "vkr0_percent": 1.0,
        "mag0_percent": 100.0,
        "mag0_rx": 0.0,
        "si0_hv_partial": 0.9,
    }
    return {
        "bus": [{"name": f"b{k}", "vn_kv": v} for k, v in enumerate([20.0, 20.0, 0.4, 0.4])],
        "ext_grid": [{"bus": 0, "vm_pu": 1.02, "va_degree": 10.0, "s_sc_max_mva": 100.0, "rx_max": 0.1}],
        "line": [
            {"from_bus": 0, "to_bus": 1, **line, **zero},
            {"from_bus": 2, "to_bus": 3, **line, **zero, "length_km": 0.1},
        ],
        "trafo": [{**trafo, **more, **sequence}],
        "load": [{"bus": 3, "p_mw": 0.03, "q_mvar": 0.006, "scaling": 0.5, "type": "wye"}],
        "asymmetric_load": [{"bus": 3, "p_a_mw": 0.01, "p_b_mw": 0.0, "p_c_mw": 0.02, "type": "delta"}],
        "sgen": [{"bus": 3, "p_mw": 0.009, "type": "PV", "sn_mva": 0.01}],
        "asymmetric_sgen": [{"bus": 3, "p_b_mw": 0.001, "q_b_mvar": 0.0005}],
        "shunt": [{"bus": 3, "q_mvar": -0.012, "p_mw": 0.0, "step": 2, "vn_kv": 0.4}],
        "switch": [{"bus": 2, "element": 3, "et": "b", "closed": False}],
    }


def network(content: Tables) -> dict[str, Any]:
    """A document as `pp.to_json` writes it."""
    found: dict[str, Any] = {"f_hz": 50.0, "name": "hand", "version": "3.1.0"}
    for name, rows in content.items():
        columns = list(dict.fromkeys(key for row in rows for key in row if key != "index"))
        index = [row.get("index", k) if isinstance(row, dict) else k for k, row in enumerate(rows)]
        data = [[row.get(column) for column in columns] for row in rows]
        frame = json.dumps({"columns": columns, "index": index, "data": data})
        found[name] = {
            "_module": "pandas.core.frame",
            "_class": "DataFrame",
            "_object": frame,
            "orient": "split",
        }
    return {"_module": "pandapower.auxiliary", "_class": "pandapowerNet", "_object": found}


def reading(content: Tables, folder: Path, **options: Any) -> Reading:
    path = folder / "net.json"
    path.write_text(json.dumps(network(content)))
    return read(path, **options)


def test_tables_become_tables(tmp_path: Path) -> None:
    found = reading(tables(), tmp_path)
    f = found.feeder
    assert (f.name, f.frequency_hz, f.origin) == ("hand", 50, "pandapower 3.1.0")
    assert list(f.buses.name) == ["b0", "b1", "b2", "b3"]
    lines = f[Lines]
    z1, z0 = 0.3 + 0.1j, 0.9 + 0.4j
    assert lines.z_ohm[0, 0, 0] == pytest.approx((2 * z1 + z0) / 3)  # 2 km, two in parallel
    assert lines.z_ohm[0, 0, 1] == pytest.approx((z0 - z1) / 3)
    assert lines.c_nf[0, 0, 0] - lines.c_nf[0, 0, 1] == pytest.approx(200.0 * 4)
    assert lines.i_max_a[0, 0] == pytest.approx(200)  # 0.2 kA x 0.5 x 2
    assert not f[Sources].z_ohm.any()
    assert f[Loads].p_kw.tolist() == [5, 5, 5, 10, 20]
    ends = [[str(f.node_names[k]) for k in pair] for pair in f[Loads].pair]
    assert ends[3:] == [["b3.1", "b3.2"], ["b3.3", "b3.1"]]
    assert f[Generators].p_kw.tolist() == pytest.approx([3, 3, 3, 1])
    assert f[Capacitors].kvar.tolist() == pytest.approx([4] * 3)
    assert f[Capacitors].steps_on.tolist() == [2] * 3
    assert f[Switches].closed.tolist() == [False]
    assert f[Transformers].s_kva[0] == 400
    flow = Network(f).solve_loads()
    assert flow.converged
    said = " | ".join(str(issue) for issue in found.audit)
    for word in ("no connection (PV)", "columns not read", "voltage is held"):
        assert word in said


def test_equal_sequences_earth_the_star_point_directly(tmp_path: Path) -> None:
    content = tables()
    del content["trafo"][0]["mag0_percent"]
    content["trafo"][0] |= {"pfe_kw": 0.0, "i0_percent": 0.0}
    assert len(reading(content, tmp_path).feeder[Reactors]) == 0
    content["trafo"][0]["vk0_percent"] = 5.0
    assert len(reading(content, tmp_path).feeder[Reactors]) == 1


def test_short_circuit_power_gives_the_source_an_impedance(tmp_path: Path) -> None:
    z = reading(tables(), tmp_path, source="short_circuit").feeder[Sources].z_ohm[0]
    assert abs(z[0, 0] - z[0, 1]) == pytest.approx(1.1 * 20**2 / 100)


@pytest.mark.parametrize(
    ("group", "hours"),
    [(g, h) for g in ("Dyn", "Yzn", "Yd", "Dy") for h in (1, 3, 5, 7, 9, 11)]
    + [(g, h) for g in ("YNyn", "Dd", "Yy") for h in (0, 2, 4, 6, 8, 10)],
)
def test_clock_numbers_turn_by_thirty_degrees_an_hour(group: str, hours: int, tmp_path: Path) -> None:
    content = {key: value for key, value in tables().items() if key in ("bus", "ext_grid", "line", "trafo")}
    small = {"vk0_percent": 2.0, "vkr0_percent": 0.5}
    content["trafo"][0] |= {"vector_group": group, "shift_degree": 30.0 * hours, **small}
    feeder = reading(content, tmp_path).feeder
    v = Network(feeder).solve_loads().v
    turn = np.angle(v[feeder.node("b1.1")] / v[feeder.node("b2.1")], deg=True)
    assert (turn - 30 * hours + 180) % 360 - 180 == pytest.approx(0, abs=0.2)


def test_a_group_cannot_have_every_clock_number() -> None:
    with pytest.raises(StopIteration):
        arrangement("Dyn", 0)


def test_open_switches_and_what_is_out_of_service(tmp_path: Path) -> None:
    content = tables()
    content["switch"] = [
        {"bus": 3, "element": 1, "et": "l", "closed": False},
        {"bus": 1, "element": 0, "et": "l", "closed": True},
        {"bus": 1, "element": 0, "et": "t", "closed": True},
    ]
    content["load"].append({"bus": 2, "p_mw": 1.0, "in_service": False})
    found = reading(content, tmp_path)
    f = found.feeder
    assert list(f.buses.name) == ["b0", "b1", "b2", "line1 open"]  # b3 has no supply: its loads go with it
    assert len(f[Loads]) == 0
    said = " | ".join(str(issue) for issue in found.audit)
    for word in ("without supply", "out of service", "its branch hangs", "nothing to add"):
        assert word in said
    content["switch"][2]["closed"] = False
    assert len(reading(content, tmp_path).feeder[Transformers]) == 0


def test_taps_and_parallel_transformers(tmp_path: Path) -> None:
    content = tables()
    tap = {
        "tap_side": "lv",
        "tap_pos": -2,
        "tap_neutral": 0,
        "tap_step_percent": 2.5,
        "tap_min": -3,
        "tap_max": 3,
    }
    content["trafo"][0] |= {**tap, "parallel": 2}
    f = reading(content, tmp_path).feeder
    assert f[Windings].tap.tolist() == [1, pytest.approx(0.95)]
    assert f[Windings].tap_min[1] == pytest.approx(0.925)
    assert f[Transformers].s_kva[0] == 800


def test_the_registry_looks_inside(tmp_path: Path) -> None:
    content = tables()
    for line in content["line"]:
        del line["r0_ohm_per_km"]
    path = tmp_path / "n.json"
    path.write_text(json.dumps(network(content)))
    assert readers.find(path).name == "pandapower"
    with pytest.raises(FormatError, match="line '0': `r0_ohm_per_km` is missing"):
        readers.read(path)
    assert len(readers.read(path, {"zero_sequence": "equal"}).feeder[Lines]) == 2
    with pytest.raises(FormatError, match="use error, equal or a factor"):
        readers.read(path, {"zero_sequence": "twice"})
    with pytest.raises(FormatError, match="can be written"):
        readers.writer(path, "pandapower")


def put(table: str, column: str, value: Any) -> Callable[[Tables], None]:
    def change(content: Tables) -> None:
        if value is None:
            content[table][0].pop(column, None)
        else:
            content[table][0][column] = value

    return change


BROKEN: dict[str, tuple[Callable[[Tables], None], str]] = {
    "no grid": (lambda c: c.pop("ext_grid") and None, "no external grid"),
    "three windings": (lambda c: c.update(trafo3w=[{"hv_bus": 0}]), "not read: trafo3w"),
    "machine": (lambda c: c.update(gen=[{"bus": 0, "p_mw": 1}]), "not read: gen"),
    "wards": (lambda c: c.update(ward=[{"bus": 0}], xward=[{"bus": 0}]), "not read: ward, xward"),
    "store": (lambda c: c.update(storage=[{"bus": 0, "p_mw": 1}]), "not read: storage"),
    "bus twice": (lambda c: c["bus"][1].update(index=0), "bus: index|the index is there twice"),
    "bus index": (lambda c: c["bus"][1].update(index="a"), "index 'a' is no whole number"),
    "bus voltage": (put("bus", "vn_kv", 0.0), "bus '0': `vn_kv` is 0"),
    "bus no voltage": (put("bus", "vn_kv", None), "bus '0': `vn_kv` is missing"),
    "bus voltage text": (put("bus", "vn_kv", "high"), "bus '0': `vn_kv` is 'high'"),
    "bus service": (put("bus", "in_service", "yes"), "bus '0': `in_service` is 'yes'"),
    "grid bus": (put("ext_grid", "bus", 99), "ext_grid '0': `bus`: there is no bus 99"),
    "grid volts": (put("ext_grid", "vm_pu", None), "ext_grid '0': `vm_pu` is missing"),
    "line bus": (put("line", "from_bus", 99), "line '0': `from_bus`: there is no bus 99"),
    "line bus text": (put("line", "to_bus", "b"), "line '0': `to_bus` is 'b'"),
    "line length": (put("line", "length_km", -1), "line '0': `length_km` is -1"),
    "line resistance": (put("line", "r_ohm_per_km", None), "line '0': `r_ohm_per_km` is missing"),
    "line zero": (put("line", "x0_ohm_per_km", None), "line '0': `x0_ohm_per_km` is missing; choose"),
    "line c0": (put("line", "c0_nf_per_km", None), "line '0': `c0_nf_per_km` is missing; choose"),
    "line leak": (put("line", "g_us_per_km", 1.0), "line '0': `g_us_per_km`"),
    "line parallel": (put("line", "parallel", 0), "line '0': `parallel` is 0"),
    "unit bus": (put("trafo", "hv_bus", 99), "trafo '0': `hv_bus`"),
    "unit group": (put("trafo", "vector_group", "Zigzag"), "trafo '0': vector group 'Zigzag'"),
    "unit no group": (put("trafo", "vector_group", None), "trafo '0': `vector_group` is missing"),
    "unit shift": (put("trafo", "shift_degree", 10.0), "trafo '0': `shift_degree` is 10"),
    "unit clock": (put("trafo", "shift_degree", 0.0), "trafo '0': `vector_group` Dyn cannot shift by 0"),
    "unit rating": (put("trafo", "sn_mva", 0), "trafo '0': `sn_mva` is 0"),
    "unit vk": (put("trafo", "vk_percent", None), "trafo '0': `vk_percent` is missing"),
    "unit vkr": (put("trafo", "vkr_percent", 9.0), "trafo '0': `vkr_percent`"),
    "unit vk0": (put("trafo", "vk0_percent", None), "trafo '0': `vk0_percent` is missing; choose"),
    "unit split": (put("trafo", "si0_hv_partial", 1.5), "trafo '0': `si0_hv_partial` is 1.5"),
    "unit table": (put("trafo", "tap_dependency_table", True), "trafo '0': `tap_dependency_table`"),
    "unit parallel": (put("trafo", "parallel", 1.5), "trafo '0': `parallel` is 1.5"),
    "unit halves": (put("trafo", "leakage_reactance_ratio_hv", 0.3), "trafo '0': `leakage_reactance"),
    "load bus": (put("load", "bus", 99), "load '0': `bus`: there is no bus 99"),
    "load power": (put("load", "p_mw", None), "load '0': `p_mw` is missing"),
    "load list": (put("load", "p_mw", [1.0]), r"load '0': `p_mw` is \[1.0\]"),
    "load true": (put("load", "p_mw", True), "load '0': `p_mw` is True"),
    "load scaling": (put("load", "scaling", "half"), "load '0': `scaling` is 'half'"),
    "load infinite": (
        put("load", "q_mvar", 1e999),
        "load '0': `q_mvar` is not finite|Infinity is not a number",
    ),
    "shunt volts": (put("shunt", "vn_kv", -1), "shunt '0': `vn_kv`"),
    "shunt table": (put("shunt", "step_dependency_table", True), "shunt '0': `step_dependency_table`"),
    "switch kind": (put("switch", "et", "q"), "switch '0': `et` is 'q'"),
    "switch state": (put("switch", "closed", None), "switch '0': `closed` is missing"),
    "switch element": (put("switch", "element", "x"), "switch '0': `element` is 'x'"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_is_named(what: str, tmp_path: Path) -> None:
    content = tables()
    change, message = BROKEN[what]
    change(content)
    with pytest.raises(ReadError, match=message):
        reading(content, tmp_path)


@pytest.mark.parametrize("seed", range(FUZZ))
def test_random_damage_is_read_or_refused_by_name(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    content = tables()
    for _ in range(2):
        table = str(rng.choice(list(content)))
        row = content[table][rng.integers(len(content[table]))]
        column = str(rng.choice(list(row)))
        values: list[Any] = [None, "", "x", -1, 0, 1e30, True, False, [], {}, [1], 99, 1.5, "1", 1]
        row[column] = values[rng.integers(len(values))]
    try:
        reading(content, tmp_path)
    except (FormatError, UnsupportedError, FileError) as exc:
        message = str(exc)
        assert any(f"{table} '" in message or table in message for table in tables())


def test_frames_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "n.json"
    for damage in (
        '{"columns": [1]}',
        "[1, 2]",
        '{"columns": ["a"], "index": [0], "data": [[1, 2]]}',
        "{{",
        7,
    ):
        document = network(tables())
        document["_object"]["line"]["_object"] = damage
        path.write_text(json.dumps(document))
        with pytest.raises(FormatError, match="line: "):
            read(path)
    path.write_text(json.dumps(network(tables()))[:500])
    with pytest.raises(FileError, match="cut off"):
        read(path)
    path.write_text('{"bus": {}}')
    with pytest.raises(FormatError, match="no network that pandapower wrote"):
        read(path)
