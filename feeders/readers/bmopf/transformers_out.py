"""Transformers of a feeder in the subtypes of the schema."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from feeders.elements import Transformers, WindingPairs, Windings
from feeders.readers.bmopf.transformers import ring
from feeders.readers.rows import Row, Rows, same
from feeders.table import Array

if TYPE_CHECKING:
    from feeders.readers.bmopf.write import Writer

MATCH_RTOL = 1e-9


class Unit:
    """One transformer with its figures in ohms: what every subtype is written from."""

    def __init__(self, rows: Rows, name: str, windings: list[Row], pairs: list[Row]) -> None:
        self.name, self.va, self.windings = name, rows[Transformers][name]["s_kva"] * 1e3, windings
        self.legs = [k for k, pair in enumerate(windings[0]["pair"]) if all(pair)]
        self.volt = np.array([w["v_coil_kv"] * 1e3 for w in windings])
        self.tap = np.array([w["tap"] for w in windings])
        self.base = (self.volt * self.tap) ** 2 * len(self.legs) / self.va
        self.r = np.array([w["r_pct"] for w in windings]) / 100 * self.base
        self.x = np.zeros((len(windings), len(windings)))
        for pair in pairs:
            a, b = pair["winding_a"], pair["winding_b"]
            self.x[a, b] = self.x[b, a] = pair["x_pct"] / 100 * self.base[0]
        self.core = np.array([w["core_pct"] for w in windings]) / 100 / self.base

    def coils(self, winding: int) -> list[list[str]]:
        """Node pairs of a winding, leg by leg."""
        return [self.windings[winding]["pair"][leg] for leg in self.legs]

    @property
    def ratio(self) -> float:
        """Coil voltage of winding 0 over that of winding 1, taps included."""
        return float(self.volt[0] * self.tap[0] / (self.volt[1] * self.tap[1]))


def write_transformers(writer: Writer) -> None:
    """Every transformer in the plainest subtype that says it, else leg by leg."""
    windings: dict[str, list[Row]] = {}
    pairs: dict[str, list[Row]] = {}
    for row in writer.rows[Windings].values():
        windings.setdefault(row["transformer"], []).append(row)
    for row in writer.rows[WindingPairs].values():
        pairs.setdefault(row["transformer"], []).append(row)
    for name in writer.rows[Transformers]:
        rows = sorted(windings[name], key=lambda row: int(row["winding"]))
        unit = Unit(writer.rows, name, rows, pairs.get(name, []))
        if not _written(writer, unit):
            writer.lost.append(f"transformer {name}")
        _float_shunts(writer, unit)


def _written(writer: Writer, unit: Unit) -> bool:
    if np.count_nonzero(unit.core) > 1:
        return False
    if len(unit.legs) == 1:
        if len(unit.windings) == 2:
            return _single_phase(writer, unit)
        return _center_tap(writer, unit) or _n_winding(writer, unit)
    if _wye_delta(writer, unit) or _n_winding(writer, unit):
        return True
    return all(_leg(writer, unit, leg) for leg in range(len(unit.legs)))


def _core(unit: Unit) -> dict[str, Any]:
    found = np.flatnonzero(unit.core)
    if not len(found):
        return {}
    y = complex(unit.core[found[0]])
    return {"no_load_shunt": {"winding": int(found[0]) + 1, "g": y.real, "b": y.imag}}


def _rating(unit: Unit, winding: int, count: int, side: str) -> dict[str, Any]:
    i_max = unit.windings[winding]["i_max_a"]
    return {f"i_max_{side}": [i_max] * count} if np.isfinite(i_max) else {}


def _tap(unit: Unit) -> dict[str, float]:
    tap = float(unit.tap[0] / unit.tap[1])
    return {"tap_ratio": tap} if tap != 1 else {}


def _ends(writer: Writer, high: list[str], low: list[str]) -> dict[str, Any] | None:
    places = writer.place(high), writer.place(low)
    if places[0] is None or places[1] is None:
        return None
    return {
        "bus_from": places[0][0],
        "bus_to": places[1][0],
        "terminal_map_from": places[0][1],
        "terminal_map_to": places[1][1],
    }


def _single_phase(writer: Writer, unit: Unit) -> bool:
    """Reactance on the from side, resistances on their own."""
    ends = _ends(writer, unit.coils(0)[0], unit.coils(1)[0])
    if ends is None:
        return False
    # Ohms of the second winding refer through the ratio of taps; its own tap is folded into the from side.
    series = {"r_series_from": unit.r[0], "x_series_from": unit.x[0, 1], "r_series_to": unit.r[1]}
    fields = {"s_rating": unit.va, "v_nom_from": unit.volt[0], "v_nom_to": unit.volt[1], **series}
    limits = _rating(unit, 0, 2, "from") | _rating(unit, 1, 2, "to")
    numbers = {key: float(value) for key, value in fields.items()}
    writer.put_transformer(
        "single_phase", unit.name, **ends, **numbers, **_tap(unit), **_core(unit), **limits
    )
    return True


def _center_tap(writer: Writer, unit: Unit) -> bool:
    """A winding and two alike in series, when a star of three can say their reactances."""
    if len(unit.windings) != 3:
        return False
    (high,), (first,), (second,) = (unit.coils(k) for k in range(3))
    ends = _ends(writer, high, [*first, second[1]])
    alike = same(unit.volt[1], unit.volt[2]) and unit.tap[1] == unit.tap[2] and same(unit.r[1], unit.r[2])
    across = unit.x[1, 2] / 2
    x_from = unit.x[0, 1] - across
    if (
        not alike
        or first[1] != second[0]
        or ends is None
        or not same(unit.x[0, 1], unit.x[0, 2])
        or x_from < 0
    ):
        return False
    limits = [w["i_max_a"] for w in unit.windings]
    if not same(limits[1], limits[2]):
        return False
    fields = {
        "s_rating": unit.va,
        "v_nom_from": unit.volt[0],
        "v_nom_to": unit.volt[1],
        "r_series_from": unit.r[0],
        "x_series_from": x_from,
        "r_series_to": unit.r[1],
        "x_series_to": across / unit.ratio**2,
    }
    numbers = {key: float(value) for key, value in fields.items()}
    rated = _rating(unit, 0, 2, "from") | _rating(unit, 1, 3, "to")
    writer.put_transformer("center_tap", unit.name, **ends, **numbers, **_tap(unit), **_core(unit), **rated)
    return True


def wye_map(coils: list[list[str]]) -> list[str] | None:
    """Phases and neutral of a star; nothing if it is none."""
    return [pair[0] for pair in coils] + [coils[0][1]] if len({pair[1] for pair in coils}) == 1 else None


def delta_roll(coils: list[list[str]]) -> int:
    """Which way round a delta goes, 1 or -1; 0 if it is none."""
    phases = [pair[0] for pair in coils]
    if len(coils) != 3 or len(set(phases)) != 3 or "0" in phases:
        return 0
    return next((roll for roll in (1, -1) if coils == ring(phases, roll)), 0)


def _wye_delta(writer: Writer, unit: Unit) -> bool:
    """Three legs, a wye and a delta that runs the way the subtype fixes."""
    if len(unit.windings) != 2 or len(unit.legs) != 3:
        return False
    rolls = [delta_roll(unit.coils(k)) for k in range(2)]
    if [bool(roll) for roll in rolls] not in ([False, True], [True, False]):
        return False
    wye_first = not rolls[0]
    wye, delta = (0, 1) if wye_first else (1, 0)
    star = wye_map(unit.coils(wye))
    if star is None or rolls[delta] != (1 if wye_first else -1):
        return False
    maps = [star, [pair[0] for pair in unit.coils(delta)]]
    ends = _ends(writer, maps[wye], maps[delta]) if wye_first else _ends(writer, maps[1], maps[0])
    if ends is None:
        return False
    onto = 1.0 if wye_first else unit.ratio**-2
    r = unit.r[wye] + unit.r[delta] * (unit.ratio**2 if wye_first else unit.ratio**-2)
    volt = unit.volt * np.where(np.arange(2) == wye, sqrt(3), 1.0)
    fields = {
        "s_rating": unit.va,
        "v_nom_from": volt[0],
        "v_nom_to": volt[1],
        "r_series": r,
        "x_series": unit.x[0, 1] * onto,
    }
    numbers = {key: float(value) for key, value in fields.items()}
    limits = _rating(unit, 0, 4 if wye_first else 3, "from") | _rating(unit, 1, 3 if wye_first else 4, "to")
    subtype = "wye_delta" if wye_first else "delta_wye"
    writer.put_transformer(subtype, unit.name, **ends, **numbers, **_tap(unit), **_core(unit), **limits)
    return True


def _n_winding(writer: Writer, unit: Unit) -> bool:
    """Any number of stars and deltas."""
    found = []
    for k in range(len(unit.windings)):
        coils = unit.coils(k)
        star, roll = wye_map(coils), delta_roll(coils)
        nodes = star if star is not None else ([pair[0] for pair in coils] if roll else None)
        place = writer.at(nodes) if nodes else None
        if place is None:
            return False
        kind: dict[str, Any] = (
            {"configuration": "WYE"} if star else {"configuration": "DELTA", "delta_roll": roll}
        )
        i_max = unit.windings[k]["i_max_a"]
        numbers = {
            "v_nom": float(unit.volt[k]),
            "r_winding": float(unit.r[k]),
            "tap_ratio": float(unit.tap[k]),
        }
        rated = {"i_max": i_max} if np.isfinite(i_max) else {}
        found.append({**place, **kind, **numbers, **rated})
    fields = {"windings": found, "x_sc": _reactances(unit.x), "s_rating": unit.va}
    writer.put_transformer("n_winding", unit.name, **fields, **_core(unit))
    return True


def _reactances(x: Array) -> dict[str, float]:
    n = len(x)
    return {f"{a + 1}_{b + 1}": float(x[a, b]) for a in range(n) for b in range(a + 1, n)}


def _leg(writer: Writer, unit: Unit, leg: int) -> bool:
    """One leg of a transformer as a unit of its own: the legs have no law in common."""
    found = []
    for k in range(len(unit.windings)):
        place = writer.at(unit.coils(k)[leg])
        if place is None:
            return False
        numbers = {
            "v_nom": float(unit.volt[k]),
            "r_winding": float(unit.r[k]),
            "tap_ratio": float(unit.tap[k]),
        }
        found.append({**place, "configuration": "WYE", **numbers})
    fields = {"windings": found, "x_sc": _reactances(unit.x), "s_rating": unit.va / len(unit.legs)}
    writer.put_transformer("n_winding", f"{unit.name}_leg{leg + 1}", **fields, **_core(unit))
    return True


def _float_shunts(writer: Writer, unit: Unit) -> None:
    """The small shunts to earth at coil ends, winding by winding."""
    from feeders.readers.bmopf.write import put_shunt

    for k, winding in enumerate(unit.windings):
        nodes = [node for pair in unit.coils(k) for node in pair]
        if winding["float_s"] and any(node != "0" for node in nodes):
            live = list(dict.fromkeys(node for node in nodes if node != "0"))
            y = np.diag([winding["float_s"] * nodes.count(node) for node in live])
            put_shunt(writer, f"{unit.name}_float{k + 1}", live, y)
