"""IEEE 342-node low-voltage network test system: a meshed city-centre secondary network.

Source of the figures: IEEE PES Test Feeder working group, "IEEE 342-Node Low Voltage Network Test
System" (Schneider, Phanivong, Lacroix, PES General Meeting 2014), published with the OpenDSS circuit
`LVTestCaseNorthAmerican` (electricdss-tst, EPRI and DSS-Extensions, BSD-3). The circuit is rebuilt
here from its numbering rules and constants.

    230 kV source P1 -- 2 x 50 MVA -- 13.8 kV, eight radial feeders -- 48 x 1 MVA -- 208 V street grid
                                                                   \\- 20 transformers -- 480 V spot networks

Buses P1 to P150 are primary, S1 to S144 the street grid, S145 to S192 the transformers below it,
S193 to S240 eight spot networks. Between a network transformer and the low-voltage bus stands a
protector, a closed switch. Up to six cables run in parallel along a low-voltage segment; `form`
says how they are written down:

    merged    one line for the parallel cables of a segment                           390 buses
    parallel  every cable a line of its own                                           390 buses
    expanded  every cable cut at mid-length by a bus of its own, two half pi sections 1420 buses

The three describe one circuit: voltages agree to 2e-9 per unit. The 13.8 kV level has no earthed
winding (delta-delta above, delta-wye below); only cable capacitance ties it to earth.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np

from feeders.draft import Draft
from feeders.elements import Lines, Loads, Sources, Switches
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs, wye_pairs
from feeders.feeder import Feeder
from feeders.library.ieee342_loads import LOADS
from feeders.library.parts import FT_M, add_transformer, padded, source_ohm
from feeders.table import Array

Form = Literal["merged", "parallel", "expanded"]
FORMS: tuple[Form, ...] = ("merged", "parallel", "expanded")

ORIGIN = "IEEE PES 342-Node Low Voltage Network Test System; constants of OpenDSS LVTestCaseNorthAmerican"

SOURCE_KV, SOURCE_PU, S_FAULT_MVA = 230.0, 1.05, 200_000.0
SWITCH_OHM = 1e-6 + 1e-6j
SUBSTATION_V_COIL_KV = 229.999  # rated voltage of the 230 kV windings
SUBSTATION_KVA = 50_000.0
GRID_KVA = 1000.0


def _symmetric(*lower: float) -> Array:
    """(3, 3) from aa, ab, bb, ac, bc, cc."""
    aa, ab, bb, ac, bc, cc = lower
    return np.array([[aa, ab, ac], [ab, bb, bc], [ac, bc, cc]])


@dataclass(frozen=True)
class Cable:
    """One cable or line type: series impedance per mile, capacitance per mile, rating."""

    z_ohm_per_mile: Array
    c_nf_per_mile: Array
    i_max_a: float


OVERHEAD = Cable(  # 397.5 kcmil, three wires 10 ft apart, 50 ft high
    _symmetric(0.14519029, 0.09252050, 0.14519029, 0.09251859, 0.09252050, 0.14519029)
    + 1j * _symmetric(1.41011479, 0.69554488, 1.41011479, 0.61143733, 0.69554488, 1.41011479),
    _symmetric(12.42325, -3.11310, 12.98895, -1.63202, -3.11310, 12.42325),
    594.0,
)
PRIMARY = Cable(  # 1000 kcmil, concentric neutrals eliminated
    _symmetric(0.13017958, -0.00000414, 0.13017667, -0.00000812, -0.00000414, 0.13017958)
    + 1j * _symmetric(0.06681948, -0.00022489, 0.06698505, -0.00004283, -0.00022489, 0.06681948),
    _symmetric(566.22761, 0.0, 566.22761, 0.0, 0.0, 566.22761),
    615.0,
)
SECONDARY = Cable(  # 500 kcmil copper, neutral eliminated; one cable
    _symmetric(0.33618982, 0.12857950, 0.32816299, 0.13271927, 0.12857950, 0.33618982)
    + 1j * _symmetric(0.51030723, 0.26868558, 0.57514580, 0.19361415, 0.26868558, 0.51030723),
    _symmetric(34.08660, -12.07890, 34.19518, -4.12143, -12.07890, 34.08660),
    430.0,
)

# Section lengths of a block of five sections, feet.
BLOCK_FT = {"B": (100, 25, 25, 100, 100), "I": (100, 25, 100, 25, 100), "L": (100, 100, 25, 25, 100)}
STREETS = ("BBBB", "IIII", "IIII", "ILLL")  # four streets of 21 buses, west to east
AVENUES = ("LLL", "III", "III", "III", "BBB")  # five avenues, north to south, one block between streets

# Head of every primary feeder, and the length of the lateral at each trunk bus.
PRIMARY_FEEDERS = {
    11: (1, 2, 1, 2, 1, 1),
    27: (1, 1, 1, 1, 1, 2, 1),
    45: (1, 1, 1, 3, 1, 2),
    62: (1, 1, 1, 1, 2, 1, 1, 1),
    81: (1, 2, 1, 2, 1, 1),
    97: (1, 1, 1, 2, 1, 1, 1, 1),
    117: (1, 1, 1, 1, 1, 2, 1),
    134: (1, 2, 1, 3, 1, 1),
}
# Lines of the substation: start, end, feet, type.
SUBSTATION_LINES = (
    *((a, b, 150, OVERHEAD) for a, b in ((1, 2), (2, 3), (2, 7))),
    *((6, b, ft, PRIMARY) for b, ft in ((11, 50), (27, 50), (44, 25))),
    *((44, b, 25, PRIMARY) for b in (45, 62)),
    *((10, b, ft, PRIMARY) for b, ft in ((81, 50), (97, 50), (116, 25))),
    *((116, b, 25, PRIMARY) for b in (117, 134)),
)
SUBSTATION_SWITCHES = ((3, 4), (5, 6), (7, 8), (9, 10))
HIGH_VOLTAGE = (1, 2, 3, 4, 7, 8)  # buses at 230 kV

# Street-grid transformers: primary bus > secondary bus > (protector) > grid bus.
GRID_TRANSFORMERS = """
150>148>27 133>145>4 115>152>28 96>149>9 80>156>29 61>153>14 43>160>30 26>157>19 94>147>44
113>146>33 148>151>49 130>150>34 24>155>54 40>154>35 78>159>59 58>158>36 109>164>68 128>161>45
21>168>69 73>165>50 91>172>70 145>169>55 89>176>71 38>173>60 56>163>85 126>162>74 142>167>90
106>166>75 19>171>95 36>170>76 52>175>100 71>174>77 17>180>109 137>177>86 122>184>110 50>181>91
86>188>111 102>185>96 14>192>112 140>189>101 65>179>126 120>178>115 48>183>131 100>182>116
30>187>136 67>186>117 32>191>141 84>190>118
"""
# Spot networks: load bus, primary bus of every transformer, kVA of each.
SPOT_NETWORKS = (
    (193, (41, 111), 2000.0),
    (198, (61, 131), 1500.0),
    (203, (22, 74, 144), 2000.0),
    (210, (76, 92, 146), 2500.0),
    (217, (34, 55, 107), 2000.0),
    (224, (54, 104, 124), 2500.0),
    (231, (69, 139), 2000.0),
    (236, (16, 87), 2500.0),
)


class Segment(NamedTuple):
    """A stretch of one or more equal cables between two buses."""

    start: str
    end: str
    feet: float
    cable: Cable
    n_cables: int = 1


def build(form: Form = "merged") -> Feeder:
    """The network in one of its forms.

    Raises  ValueError  an unknown form
    """
    if form not in FORMS:
        raise ValueError(f"ieee342: form {form!r} is not one of {', '.join(FORMS)}")
    draft = Draft(f"ieee342-{form}", frequency_hz=60.0, origin=ORIGIN)
    place = positions()
    for bus, (x, y) in place.items():
        draft.add_bus(bus, v_base_kv=_v_ll_kv(bus) / sqrt(3), x=x, y=y)
    draft.add(
        Sources,
        name="source",
        node=draft.phases("P1", width=3),
        z_ohm=source_ohm(SOURCE_KV, s_3ph_mva=S_FAULT_MVA, s_1ph_mva=S_FAULT_MVA),
        e_v=balanced_emf_v(SOURCE_KV, SOURCE_PU),
    )
    for segment in [*_primary(), *_spot_cables(), *_street_grid()]:
        if segment.n_cables == 1 or form == "merged":
            _add_line(draft, f"{segment.start}-{segment.end}", segment)
        elif form == "parallel":
            _add_parallel(draft, segment)
        else:
            _add_halves(draft, segment, place)
    for start, end in _switches():
        nodes = {"from_node": draft.phases(start), "to_node": draft.phases(end)}
        draft.add(Switches, name=f"{start}-{end}", z_ohm=SWITCH_OHM, **nodes)
    _add_transformers(draft)
    _add_loads(draft)
    return draft.finish()


def _v_ll_kv(bus: str) -> float:
    number = int(bus[1:])
    if bus[0] == "P":
        return SOURCE_KV if number in HIGH_VOLTAGE else 13.8
    return 0.208 if number <= 192 else 0.480


def _primary() -> list[Segment]:
    """Substation and the eight feeders, numbered depth first: trunk bus, its lateral, next trunk bus."""
    found = [Segment(f"P{a}", f"P{b}", ft, cable) for a, b, ft, cable in SUBSTATION_LINES]
    for head in PRIMARY_FEEDERS:
        before, feet = head + 1, 2500
        for bus, length in _trunk(head):
            found.append(Segment(f"P{before}", f"P{bus}", feet, PRIMARY))
            found += [Segment(f"P{k}", f"P{k + 1}", 100, PRIMARY) for k in range(bus, bus + length)]
            before, feet = bus, 100
    return found


def _trunk(head: int) -> list[tuple[int, int]]:
    """Trunk buses of a feeder and the length of the lateral at each."""
    bus, found = head + 2, []
    for length in PRIMARY_FEEDERS[head]:
        found.append((bus, length))
        bus += length + 1
    return found


def _grid_bus(street: int, column: int) -> str:
    """Bus of a street (0 to 3) and column (1 to 21)."""
    return f"S{41 * street + column}"


def _avenue_buses(street: int, avenue: int) -> list[str]:
    """Buses of an avenue (0 to 4) from one street to the next, both ends included."""
    column = 5 * avenue + 1
    between = [f"S{41 * street + 21 + 5 * (k - 1) + avenue + 1}" for k in (1, 2, 3, 4)]
    return [_grid_bus(street, column), *between, _grid_bus(street + 1, column)]


def _street_grid() -> list[Segment]:
    found = []
    for street, blocks in enumerate(STREETS):
        found += _cables([_grid_bus(street, c) for c in range(1, 22)], blocks)
    for avenue, blocks in enumerate(AVENUES):
        for street, block in enumerate(blocks):
            found += _cables(_avenue_buses(street, avenue), block)
    return found


def _cables(buses: list[str], blocks: str) -> list[Segment]:
    """Six cables between neighbours; section lengths by block."""
    feet = [ft for block in blocks for ft in BLOCK_FT[block]]
    return [Segment(a, b, ft, SECONDARY, 6) for (a, b), ft in zip(pairwise(buses), feet, strict=True)]


def _spot_buses() -> list[tuple[str, str, str, str, float]]:
    """(load bus, protector bus, transformer bus, primary bus, kVA) of every spot transformer.

    Numbered load bus, protectors, transformers; the last network alternates the two instead.
    """
    found = []
    for load, primaries, kva in SPOT_NETWORKS:
        n = len(primaries)
        for k, primary in enumerate(primaries):
            protector, transformer = (load + 1 + k, load + 1 + n + k)
            if load == 236:
                protector, transformer = (load + 1 + 2 * k, load + 2 + 2 * k)
            found.append((f"S{load}", f"S{protector}", f"S{transformer}", f"P{primary}", kva))
    return found


def _spot_cables() -> list[Segment]:
    return [Segment(protector, load, 10, SECONDARY, 5) for load, protector, *_ in _spot_buses()]


def _grid_transformers() -> list[tuple[str, str, str]]:
    """(primary, secondary, grid bus) of every street-grid transformer."""
    rows = [row.split(">") for row in GRID_TRANSFORMERS.split()]
    return [(f"P{p}", f"S{s}", f"S{grid}") for p, s, grid in rows]


def _switches() -> list[tuple[str, str]]:
    """Substation switches, feeder breakers, network protectors; all closed."""
    return [
        *((f"P{a}", f"P{b}") for a, b in SUBSTATION_SWITCHES),
        *((f"P{head}", f"P{head + 1}") for head in PRIMARY_FEEDERS),
        *((secondary, grid) for _, secondary, grid in _grid_transformers()),
        *((transformer, protector) for _, protector, transformer, *_ in _spot_buses()),
    ]


def _add_parallel(draft: Draft, segment: Segment) -> None:
    """Every cable a line of its own."""
    for k in range(1, segment.n_cables + 1):
        _add_line(draft, f"{segment.start}-{segment.end}/{k}", segment._replace(n_cables=1))


def _add_halves(draft: Draft, segment: Segment, place: dict[str, tuple[float, float]]) -> None:
    """Every cable cut at mid-length by a bus of its own, drawn beside its neighbours."""
    start, end, feet, cable, n = segment
    (xa, ya), (xb, yb) = place[start], place[end]
    length = np.hypot(xb - xa, yb - ya)
    for k in range(1, n + 1):
        middle = f"{start}-{end}/{k}"
        aside = (k - (n + 1) / 2) / n / length
        x, y = (xa + xb) / 2 - aside * (yb - ya), (ya + yb) / 2 + aside * (xb - xa)
        draft.add_bus(middle, v_base_kv=_v_ll_kv(start) / sqrt(3), x=x, y=y)
        _add_line(draft, f"{middle}a", Segment(start, middle, feet / 2, cable))
        _add_line(draft, f"{middle}b", Segment(middle, end, feet / 2, cable))


def _add_line(draft: Draft, name: str, segment: Segment) -> None:
    """Add all cables of a segment as one line."""
    start, end, feet, cable, n = segment
    miles = feet / 5280
    draft.add(
        Lines,
        name=name,
        from_node=draft.phases(start),
        to_node=draft.phases(end),
        z_ohm=padded(cable.z_ohm_per_mile * miles / n),
        c_nf=padded(cable.c_nf_per_mile * miles * n),
        i_max_a=[cable.i_max_a * n] * 3 + [np.nan],
        length_m=feet * FT_M,
    )


def _add_transformers(draft: Draft) -> None:
    """Two delta-delta substation units; delta-wye network units, whose wye lags by 30 degrees."""
    for high, low in (("P4", "P5"), ("P8", "P9")):
        ends = [
            (delta_pairs(draft.phases(high, width=3), lag=False), SUBSTATION_V_COIL_KV),
            (delta_pairs(draft.phases(low, width=3), lag=False), 13.8),
        ]
        add_transformer(draft, f"{high}-{low}", SUBSTATION_KVA, ends, r_pct=0.75, x_pct=7.5)
    units = [(p, s, GRID_KVA, 0.5, 5.0) for p, s, _ in _grid_transformers()]
    units += [(primary, transformer, kva, 0.7, 7.0) for _, _, transformer, primary, kva in _spot_buses()]
    for high, low, kva, r_pct, x_pct in units:
        ends = [
            (delta_pairs(draft.phases(high, width=3), lag=True), 13.8),
            (wye_pairs(draft.phases(low, width=3)), _v_ll_kv(low) / sqrt(3)),
        ]
        add_transformer(draft, f"{high}-{low}", kva, ends, r_pct=r_pct, x_pct=x_pct)


def _add_loads(draft: Draft) -> None:
    """624 loads of constant power, six a bus, named "1" to "624" along the published table."""
    number = 0
    for bus, (kw, power_factor) in LOADS.items():
        a, b, c = draft.phases(bus, width=3)
        pairs = [(a, 0), (b, 0), (c, 0), (a, b), (b, c), (c, a)]
        for pair, p_kw, pf in zip(pairs, kw, power_factor, strict=True):
            number += 1
            draft.add(Loads, name=str(number), pair=pair, p_kw=p_kw, q_kvar=p_kw * sqrt(1 / pf**2 - 1))


def positions() -> dict[str, tuple[float, float]]:
    """Schematic coordinates of the 390 buses, in numbering order.

    The street grid fills 0 <= x <= 20, -15 <= y <= 0; the primary feeders are rows above it and
    the spot networks a row below.
    """
    place: dict[str, tuple[float, float]] = {}
    for street in range(4):
        place |= {_grid_bus(street, c): (c - 1.0, -5.0 * street) for c in range(1, 22)}
    for avenue in range(5):
        for street in range(3):
            for k, bus in enumerate(_avenue_buses(street, avenue)[1:-1], start=1):
                place[bus] = (5.0 * avenue, -5.0 * street - k)
    for _, secondary, grid in _grid_transformers():
        x, y = place[grid]
        place[secondary] = (x + 0.4, y + 0.4)
    column: dict[str, int] = {}
    for n, (load, protector, transformer, *_) in enumerate(_spot_buses()):
        column[load] = column.get(load, n)
        place |= {load: (column[load] + 0.5, -20.0), protector: (n, -19.0), transformer: (n, -18.0)}
    place |= _primary_positions()
    return {bus: place[bus] for bus in sorted(place, key=lambda b: (b[0], int(b[1:])))}


def _primary_positions() -> dict[str, tuple[float, float]]:
    place: dict[str, tuple[float, float]] = {"P1": (-12.0, 19.0), "P2": (-11.0, 19.0)}
    for y, path in ((10.0, (3, 4, 5, 6)), (28.0, (7, 8, 9, 10))):
        place |= {f"P{bus}": (-10.0 + 2 * k, y) for k, bus in enumerate(path)}
    place |= {"P44": (-3.0, 13.0), "P116": (-3.0, 31.0)}
    for row, head in enumerate(PRIMARY_FEEDERS):
        y = 4.0 + 4.5 * row
        place |= {f"P{head}": (-2.0, y), f"P{head + 1}": (-1.0, y)}
        for k, (bus, length) in enumerate(_trunk(head)):
            place |= {f"P{bus + q}": (2.5 * k + 1, y + q) for q in range(length + 1)}
    return place
