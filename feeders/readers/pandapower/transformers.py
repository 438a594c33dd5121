"""Two-winding transformers of any clock number as coils on three legs.

A leg's coil lies between phases or at a star point, in an order and polarity that gives the phase shift. The
leakage is that of the positive sequence. Where the zero sequence differs, by its own impedance or by its
magnetising, the difference is an impedance at the star point beside a delta, else fixed admittances.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np

from feeders.elements import Admittances, Reactors, Transformers, WindingPairs, Windings
from feeders.readers.element import Element
from feeders.readers.errors import UnsupportedError
from feeders.readers.pandapower.frames import Net, around
from feeders.table import EARTH

GROUPS = ("Dyn", "YNd", "YNyn", "Yyn", "YNy", "Yzn", "Dd", "Dy", "Yd", "Yy")
RATIO_CHANGERS = ("Ratio", "Symmetrical", "None")
SMALL = 1e-9
"""Per unit of the transformer: admittances below this are nothing."""
MIDDLE_S = -1e-9j
"""Ties the middle of a zigzag winding to earth, which has no path there of its own; 1e-10 pu and less."""


@dataclass(frozen=True)
class Figures:
    """A transformer in per unit of itself: leakage, shunts at both ends, and the zero sequence of its T.

    z, y_hv, y_lv    positive sequence, pi
    z0, z0_mag       zero sequence leakage and magnetising impedance
    split            part of z0 at the high-voltage side
    """

    z: complex
    y_hv: complex
    y_lv: complex
    z0: complex
    z0_mag: complex
    split: float


@dataclass(frozen=True)
class Unit:
    """One transformer: name, buses, rating, tapped and rated voltages (line to line, kV)."""

    name: str
    hv: int
    lv: int
    mva: float
    kv: tuple[float, float]
    tap: tuple[float, float]
    group: str
    shift: int

    def siemens(self, side: int, other: int) -> float:
        """Siemens of one per unit between two sides, taps included."""
        return self.mva / (self.kv[side] * self.tap[side] * self.kv[other] * self.tap[other])


def add_transformers(net: Net) -> None:
    """All transformers in service between supplied buses, none of their switches open."""
    opened = {
        (e.get("element", int)) for e in net.elements("switch") if _of_trafo(e) and not e.get("closed", bool)
    }
    for element in net.elements("trafo"):
        if int(element.name) in opened:
            net.note("trafo: a switch of it is open, left out", element)
        elif net.live(element, "hv_bus", "lv_bus"):
            _add(net, element)


def _of_trafo(switch: Element) -> bool:
    return bool(switch.get("et", str) == "t")


def _add(net: Net, element: Element) -> None:
    unit = _unit(net, element)
    figures = _figures(net, element, unit)
    legs, roll = arrangement(unit.group, unit.shift)
    add = {"Yzn": _zigzag}.get(unit.group, _two_windings)
    add(net, element, unit, figures, (legs, roll))


def _unit(net: Net, element: Element) -> Unit:
    group = _group(net, element)
    shift = element.number("shift_degree", 0.0) % 360
    hours = round(shift / 30)
    if abs(shift - 30 * hours) > 1e-6:
        raise element.wrong(f"`shift_degree` is {shift:g}, no multiple of 30")
    kv = (element.positive("vn_hv_kv"), element.positive("vn_lv_kv"))
    tap = _taps(element)
    parallel = element.number("parallel", 1, at_least=1)
    mva = element.positive("sn_mva") * parallel
    if parallel != round(parallel):
        raise element.wrong(f"`parallel` is {parallel:g}, no whole number")
    name = net.name(element, "trafo")
    hv, lv = net.bus_of(element, "hv_bus"), net.bus_of(element, "lv_bus")
    unit = Unit(name, hv, lv, mva, kv, tap, group, hours % 12)
    try:
        arrangement(group, unit.shift)
    except StopIteration as exc:
        raise element.wrong(f"`vector_group` {group} cannot shift by {shift:g} degrees") from exc
    return unit


def _group(net: Net, element: Element) -> str:
    if "vector_group" not in element.fields:
        if net.zero_sequence == "error":
            raise element.wrong("`vector_group` is missing; choose zero_sequence to derive it from the shift")
        odd = round(element.number("shift_degree", 0.0) / 30) % 2
        group = "Dyn" if odd else "YNyn"
        net.note(f"trafo.vector_group: missing, {group} by the shift", element)
        return group
    word = element.get("vector_group", str).rstrip("0123456789")
    known = {group.lower(): group for group in GROUPS}
    if word.lower() not in known:
        raise UnsupportedError(
            f"trafo {element.name!r}: vector group {word!r} is not read; known: {', '.join(GROUPS)}"
        )
    return known[word.lower()]


def _taps(element: Element) -> tuple[float, float]:
    """Factors on the rated voltages of both sides."""
    moved = element.number("tap_pos", 0) != element.number("tap_neutral", 0)
    turns = element.get("tap_changer_type", str, "Ratio") not in RATIO_CHANGERS
    if moved and (turns or element.number("tap_step_degree", 0.0)):
        raise element.wrong("a tap changer that turns the phase is not read")
    if element.get("tap_dependency_table", bool, False):
        raise element.wrong("`tap_dependency_table`: impedances that follow the tap are not read")
    if element.number("tap2_pos", 0.0) != element.number("tap2_neutral", 0.0):
        raise element.wrong("`tap2_pos`: a second tap changer is not read")
    if "tap_pos" not in element.fields or "tap_side" not in element.fields:
        return (1.0, 1.0)
    steps = element.number("tap_pos") - element.number("tap_neutral", 0.0)
    factor = 1 + steps * element.number("tap_step_percent", 0.0) / 100
    if factor <= 0:
        raise element.wrong(f"tap factor {factor:g}, must be above zero")
    side = element.choice("tap_side", ("hv", "lv"))
    return (factor, 1.0) if side == "hv" else (1.0, factor)


def _leakage(element: Element, size: float, real: float) -> complex:
    if abs(real) > abs(size):
        raise element.wrong("`vkr_percent` or `vkr0_percent` is above the whole short-circuit voltage")
    return complex(real, sqrt(size**2 - real**2)) / 100


def _figures(net: Net, element: Element, unit: Unit) -> Figures:
    """Per unit of the whole parallel set; the positive sequence from its T with equal halves."""
    mva = unit.mva
    each = element.number("sn_mva")
    z = _leakage(element, element.positive("vk_percent"), element.number("vkr_percent", at_least=0.0))
    g = element.number("pfe_kw", 0.0, at_least=0.0) / 1e3 / each
    i0 = element.number("i0_percent", 0.0, at_least=0.0) / 100
    y = complex(g, -sqrt(max(i0**2 - g**2, 0.0)))
    for key in ("leakage_resistance_ratio_hv", "leakage_reactance_ratio_hv"):
        if element.number(key, 0.5) != 0.5:
            raise element.wrong(f"`{key}`: only halves of the leakage on both sides are read")
    half = y / (2 + z * y / 2) if y else 0j
    series = z + z**2 * y / 4
    if unit.group in ("Dd", "Dy", "Yd", "Yy"):
        return Figures(series, half, half, z, complex(np.inf), 0.5)
    z0 = _leakage(
        element,
        net.zero(element, "vk0_percent", "vk_percent"),
        net.zero(element, "vkr0_percent", "vkr_percent"),
    )
    if z0 == 0:
        net.note("trafo.vk0_percent: zero, the positive sequence taken as pandapower does", element)
        z0 = z
    split = element.number("si0_hv_partial", 0.5)
    if not 0 < split < 1:
        raise element.wrong(f"`si0_hv_partial` is {split:g}, must be between 0 and 1")
    magnetising = complex(np.inf)
    if "mag0_percent" in element.fields:
        rx = element.number("mag0_rx", 0.0)
        size = abs(z0) * element.number("mag0_percent") / 100
        magnetising = complex(size * rx, size) / sqrt(rx**2 + 1)
    else:
        net.note("trafo.mag0_percent: missing, no zero-sequence magnetising", element)
    neutral = complex(element.number("rn_ohm", 0.0), element.number("xn_ohm", 0.0))
    if neutral:
        side = 0 if unit.group in ("YNd", "YNy", "YNyn") else 1
        z0 += 3 * neutral * mva / unit.kv[side] ** 2
    return Figures(series, half, half, z0, magnetising, split)


def arrangement(group: str, hours: int) -> tuple[tuple[int, int], int]:
    """How to wind a clock number: ((phase offset, reversed) of the low-voltage coils, way of the delta).

    Phase p of the low voltage lies on leg p + offset. Two deltas or two stars need no direction.
    Raises  StopIteration  the group cannot have this clock number
    """
    kind = {"D": "d", "Y": "y"}[group[0]] + group.lstrip("DYN")[0]
    turn = {"dy": -1, "yd": 1, "yz": -1}.get(kind, 0)
    return next(
        ((offset, flip), roll)
        for offset, flip, roll in product(range(3), (0, 1), (1, -1))
        if (4 * offset + turn * roll + 6 * flip) % 12 == hours
    )


def _coils(kind: str, phases: list[int], star: int, roll: int) -> list[list[int]]:
    """Coil ends of one winding, phase by phase."""
    if kind == "y":
        return [[phase, star] for phase in phases]
    return [[phases[k], phases[(k + roll) % 3]] for k in range(3)]


def _wound(coils: list[list[int]], offset: int, flip: int) -> list[list[int]]:
    """Coils by leg: that of phase p on leg p + offset, perhaps the other way round."""
    placed = [coils[(leg - offset) % 3] for leg in range(3)]
    return [pair[::-1] for pair in placed] if flip else placed


def _two_windings(
    net: Net, element: Element, unit: Unit, figures: Figures, wound: tuple[tuple[int, int], int]
) -> None:
    (offset, flip), roll = wound
    kinds = [unit.group[0].lower(), unit.group.lstrip("DYN")[0]]
    earthed = [unit.group.startswith("YN"), unit.group.endswith("n")]
    if kinds == ["y", "y"] and not any(earthed):
        kinds = ["d", "d"]  # without star points in use, two deltas are the same circuit
    z_star = _star_impedances(unit, figures, kinds, earthed)
    coils = []
    for side, bus in enumerate((unit.hv, unit.lv)):
        star = EARTH
        if kinds[side] == "y" and (z_star[side] != 0 or not earthed[side]):
            star = net.star_point(bus)
        if star and z_star[side] != 0:
            label = f"{unit.name} star point"
            net.draft.add(Reactors, name=label, pair=[star, EARTH], z_ohm=z_star[side])
            net.note("trafo: star-point impedance makes up for its zero sequence", element)
        coils.append(_coils(kinds[side], net.phases(bus), star, roll))
    coils[1] = _wound(coils[1], offset, flip)
    volt = [unit.kv[k] / (sqrt(3) if kinds[k] == "y" else 1.0) for k in range(2)]
    number = net.draft.add(Transformers, name=unit.name, s_kva=unit.mva * 1e3)
    for side in range(2):
        low, high = _tap_range(element, unit, side)
        net.draft.add(
            Windings,
            transformer=number,
            winding=side,
            pair=coils[side],
            v_coil_kv=volt[side],
            r_pct=100 * figures.z.real if side == 0 else 0.0,
            tap=unit.tap[side],
            tap_min=low,
            tap_max=high,
            core_pct=100 * (figures.y_hv, figures.y_lv)[side],
        )
    net.draft.add(WindingPairs, transformer=number, winding_a=0, winding_b=1, x_pct=100 * figures.z.imag)
    if kinds == ["y", "y"]:
        _zero_admittances(net, unit, figures, earthed, -1.0 if flip else 1.0)


def _tap_range(element: Element, unit: Unit, side: int) -> tuple[float, float]:
    """Lowest and highest tap factor of a side; the present one when no range is given."""
    tap = unit.tap[side]
    if element.fields.get("tap_side") != ("hv", "lv")[side] or "tap_min" not in element.fields:
        return min(tap, 1.0), max(tap, 1.0)
    neutral, step = element.number("tap_neutral", 0.0), element.number("tap_step_percent", 0.0) / 100
    ends = [1 + (element.number(key, neutral) - neutral) * step for key in ("tap_min", "tap_max")]
    if min(ends) <= 0:
        raise element.wrong("the tap range reaches zero")
    return min(*ends, tap), max(*ends, tap)


def _tee(figures: Figures) -> tuple[complex, complex, complex]:
    """Pi of the zero-sequence T: admittances at the high side, at the low side, and between."""
    z1, z2 = figures.split * figures.z0, (1 - figures.split) * figures.z0
    if np.isinf(figures.z0_mag):
        return 0j, 0j, 1 / figures.z0
    total = z1 * z2 + z2 * figures.z0_mag + z1 * figures.z0_mag
    return z2 / total, z1 / total, figures.z0_mag / total


def _star_impedances(unit: Unit, figures: Figures, kinds: list[str], earthed: list[bool]) -> list[complex]:
    """Ohms from star point to earth that give a wye beside a delta its zero sequence; 0 solid."""
    found = [0j, 0j]
    for side in range(2):
        if kinds[side] != "y" or kinds[1 - side] != "d" or not earthed[side]:
            continue
        high, low, between = _tee(figures)
        wanted = between + (high, low)[side]
        own = 1 / figures.z + (figures.y_hv, figures.y_lv)[side]
        z = (1 / wanted - 1 / own) / 3
        if abs(z) > SMALL:
            found[side] = z / unit.siemens(side, side)
    return found


def _zero_admittances(net: Net, unit: Unit, figures: Figures, earthed: list[bool], sign: float) -> None:
    """Zero-sequence admittances between the sides that two stars alone do not have."""
    high, low, between = _tee(figures)
    if all(earthed):
        wanted = np.array([[high + between, -between], [-between, low + between]])
        own = np.array([[figures.y_hv, 0], [0, figures.y_lv]]) + np.array([[1, -1], [-1, 1]]) / figures.z
    else:
        side = 1 if earthed[1] else 0
        alone = (1 - figures.split if side else figures.split) * figures.z0 + figures.z0_mag
        wanted, own = np.zeros((2, 2), dtype=complex), np.zeros((2, 2), dtype=complex)
        wanted[side, side] = 0j if np.isinf(alone) else 1 / alone
        far, near = (figures.y_hv, figures.y_lv) if side else (figures.y_lv, figures.y_hv)
        own[side, side] = near + (1 / (figures.z + 1 / far) if far else 0j)
    extra = wanted - own
    if np.abs(extra).max() <= SMALL:
        return
    nodes = [net.phases(unit.hv), net.phases(unit.lv)]
    for a, b in product(range(2), repeat=2):
        y = extra[a, b] * unit.siemens(a, b) / 3 * (sign if a != b else 1.0)
        for to, of in product(nodes[a], nodes[b]) if y else ():
            net.draft.add(Admittances, element=f"{unit.name} zero", to_node=to, of_node=of, y_s=complex(y))
    net.noted.setdefault("trafo: fixed admittances make up for its zero sequence", []).append(unit.name)


def _zigzag(
    net: Net, element: Element, unit: Unit, figures: Figures, wound: tuple[tuple[int, int], int]
) -> None:
    """Every phase of the low voltage in two halves on two legs, the second one reversed."""
    (offset, flip), roll = wound
    z_star = net.star_point(unit.hv)
    low, middle = net.phases(unit.lv), [net.star_point(unit.lv) for _ in range(3)]
    outer = _wound([[low[k], middle[k]] for k in range(3)], offset, flip)
    z, z0 = figures.z, figures.z0
    neutral, excess = EARTH, z0.real - z.real
    if excess > SMALL:  # more than windings can have: the rest is at the star point
        neutral, z0 = net.star_point(unit.lv), z0 - excess
        z_ohm = complex(excess / 3 / unit.siemens(1, 1))
        net.draft.add(Reactors, name=f"{unit.name} star point", pair=[neutral, EARTH], z_ohm=z_ohm)
        net.note("trafo: star-point impedance makes up for its zero sequence", element)
    inner = _wound([[neutral, middle[k]] for k in range(3)], offset + roll, flip)
    r = [z.real - z0.real, 1.5 * z0.real, 1.5 * z0.real]
    x = {(0, 1): z.imag + z0.imag / 2, (0, 2): z.imag + z0.imag / 2, (1, 2): 3 * z0.imag}
    coils = [[[phase, z_star] for phase in net.phases(unit.hv)], outer, inner]
    volt = [unit.kv[0] / sqrt(3), unit.kv[1] / 3, unit.kv[1] / 3]
    taps = [unit.tap[0], unit.tap[1], unit.tap[1]]
    number = net.draft.add(Transformers, name=unit.name, s_kva=unit.mva * 1e3)
    for k in range(3):
        low_tap, high_tap = _tap_range(element, unit, min(k, 1))
        core = 100 * figures.y_hv if k == 0 else 0j
        net.draft.add(
            Windings,
            transformer=number,
            winding=k,
            pair=coils[k],
            v_coil_kv=volt[k],
            r_pct=100 * max(r[k], 0.0),
            tap=taps[k],
            tap_min=low_tap,
            tap_max=high_tap,
            core_pct=core,
            float_s=MIDDLE_S if k else 0j,
        )
    for (a, b), value in x.items():
        net.draft.add(WindingPairs, transformer=number, winding_a=a, winding_b=b, x_pct=100 * value)
    for k, pair in enumerate(around(low), 1) if figures.y_lv else ():
        z_ohm = 3 / (figures.y_lv * unit.siemens(1, 1))  # round the phases: nothing in the zero sequence
        net.draft.add(Reactors, name=f"{unit.name} no load.{k}", pair=pair, z_ohm=z_ohm)
    net.note("trafo: a zigzag's no-load half lies between its phases; float shunts of 1 nS", element)
