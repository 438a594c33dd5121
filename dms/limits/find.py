"""How each kind of limit is found on a feeder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from dms.limits.family import Family
from dms.limits.stated import Limits
from dms.network import Network
from dms.scaling import KW_PER_PU
from feeders import Feeder, Lines, Switches, Transformers, Windings
from feeders.elements import lines, switches, transformers
from feeders.table import Array

SPLIT_PHASE_DEG, SAME_PHASE_DEG = 150.0, 90.0
"""Conductors further apart are the halves of a split phase; nearer, they have no line-to-line voltage."""
A = np.exp(2j * np.pi / 3)
SEQUENCES = np.array([[1, A, A**2], [1, A**2, A]]) / 3
"""Phase voltages to positive and negative sequence."""
THREE_PHASE_PU = 0.5
"""Open-circuit sequence voltage below which three conductors are no three-phase system."""


# Voltages -------------------------------------------------------------------------------------------


def _limited(feeder: Feeder, limits: Limits) -> Array:
    """(n_nodes + 1,) bool, phases that voltage limits hold at."""
    terminal, bus = feeder.nodes.terminal, feeder.nodes.bus
    v_ll_kv = feeder.buses.v_base_kv[bus] * np.sqrt(3)
    exempt = np.isin(
        feeder.buses.name[bus].astype(str), [n for n, own in limits.buses.items() if own is None]
    )
    within = v_ll_kv <= limits.band_up_to_kv * 1.0001
    return np.asarray((bus >= 0) & (terminal <= 3) & within & ~exempt)


def _phases(feeder: Feeder, limits: Limits) -> list[tuple[str, list[int]]]:
    """Name and limited nodes of every bus, in the order of their phases."""
    at: dict[int, list[int]] = {}
    for node in np.flatnonzero(_limited(feeder, limits)):
        at.setdefault(int(feeder.nodes.bus[node]), []).append(int(node))
    order = feeder.nodes.terminal
    return [(str(feeder.buses.name[bus]), sorted(nodes, key=lambda n: order[n])) for bus, nodes in at.items()]


def _open_circuit_v(feeder: Feeder) -> Array:
    """(n_nodes + 1,) complex volt while nothing is drawn or fed in: it tells how phases are turned."""
    return Network(feeder).solve(np.zeros((0, 2), dtype=int), np.zeros(0, dtype=complex)).v


def _banded(limits: Limits, bus: Array) -> dict[str, Any]:
    """lo, hi, fall and rise of a band at every voltage, by the name of its bus (n,)."""
    own = {name: pair for name, pair in limits.buses.items() if pair is not None}
    alone = limits.band == "relative"
    most = (0.0, np.inf) if alone else (limits.v_min_pu, limits.v_max_pu)
    lo, hi = np.array([own.get(str(b), most) for b in bus]).reshape(-1, 2).T
    band = {"lo": lo.astype(float), "hi": hi.astype(float), "scale": np.ones(len(bus))}
    if limits.band != "absolute":
        apart = np.array([str(b) in own for b in bus], dtype=bool)
        band["fall"] = np.where(apart, np.inf, limits.v_fall_pu)
        band["rise"] = np.where(apart, np.inf, limits.v_rise_pu)
    return band


def _to_ground(feeder: Feeder, limits: Limits) -> list[Family]:
    """(2m): |v| at every limited node, per unit."""
    node = np.flatnonzero(_limited(feeder, limits))
    node = node if limits.band_across != "phase_to_phase" else node[:0]
    bus = feeder.buses.name[feeder.nodes.bus[node]]
    return [
        Family(
            rows="v_band",
            kinds=("v_min", "v_max"),
            unit="pu",
            label=feeder.node_names[node],
            phase=feeder.nodes.terminal[node].astype(str).astype(object),
            place=node[:, None],
            of=_text([""] * len(node)),
            base=feeder.v_base_v[node],
            **_banded(limits, bus),
        )
    ]


def _between_phases(feeder: Feeder, limits: Limits) -> list[Family]:
    """(2m) between two phases of a bus, per unit of the nominal line-to-line voltage.

    That is sqrt(3) v_base between two of three phases and 2 v_base between the halves of a split phase.
    """
    if limits.band_across == "phase_to_ground":
        return []
    v, terminal = _open_circuit_v(feeder), feeder.nodes.terminal
    pairs, nominal, bus, label, phase = [], [], [], [], []
    for name, nodes in _phases(feeder, limits):
        for a, b in [(a, b) for k, a in enumerate(nodes) for b in nodes[k + 1 :]]:
            apart = abs(float(np.rad2deg(np.angle(v[a] / v[b])))) if v[a] * v[b] != 0 else 0.0
            if apart < SAME_PHASE_DEG:
                raise ValueError(
                    f"limits: {feeder.node_names[a]} and {feeder.node_names[b]} stand {apart:.0f} degrees "
                    "apart, so they have no nominal line-to-line voltage; exempt the bus in limits.buses"
                )
            pairs.append((a, b))
            nominal.append(2.0 if apart > SPLIT_PHASE_DEG else np.sqrt(3))
            bus.append(name)
            phase.append(f"{terminal[a]}-{terminal[b]}")
            label.append(f"{name}.{phase[-1]}")
    pair = np.array(pairs, dtype=int).reshape(-1, 2)
    return [
        Family(
            rows="v_ll_band",
            kinds=("v_ll_min", "v_ll_max"),
            unit="pu",
            label=_text(label),
            phase=_text(phase),
            place=pair,
            of=_text([""] * len(label)),
            base=np.array(nominal) * feeder.v_base_v[pair[:, 0]],
            **_banded(limits, np.array(bus, dtype=object)),
        )
    ]


def _sequences(feeder: Feeder, limits: Limits) -> list[Family]:
    """|V2| / |V1| and |V2| at every limited bus with phases 1, 2 and 3.

    V1 = (v_a + a v_b + a^2 v_c) / 3     V2 = (v_a + a^2 v_b + a v_c) / 3     a = exp(2 pi j / 3)

    The phases are taken in the order in which they turn, as the open circuit has them.
    """
    wanted = (
        ("unbalance", "", limits.unbalance_max if limits.unbalance else None),
        ("negative_sequence", "pu", limits.negative_sequence_max_pu),
    )
    if all(most is None for *_, most in wanted):
        return []
    three = [(name, nodes) for name, nodes in _phases(feeder, limits) if len(nodes) == 3]
    place = np.array([nodes for _, nodes in three], dtype=int).reshape(-1, 3)
    v = _open_circuit_v(feeder)[place]
    base = feeder.v_base_v[place[:, 0]] if len(place) else np.zeros(0)
    turning, against = np.abs(sequences(v)).T
    backwards = against > turning
    place[backwards] = place[backwards][:, [0, 2, 1]]
    if (poor := np.flatnonzero(np.maximum(turning, against) < THREE_PHASE_PU * base)).size:
        raise ValueError(
            f"limits: the open circuit has no three-phase voltages at bus {three[int(poor[0])][0]!r}, so "
            "there is no unbalance to limit; exempt the bus in limits.buses"
        )
    label = _text([name for name, _ in three])
    blank, n = _text([""] * len(three)), len(three)
    return [
        Family(
            rows=rows,
            kinds=("", rows),
            unit=unit,
            label=label,
            phase=blank,
            place=place,
            of=blank,
            base=base,
            lo=np.full(n, -np.inf),
            hi=np.full(n, most),
            scale=np.full(n, most),
        )
        for rows, unit, most in wanted
        if most is not None
    ]


def sequences(v: Array) -> Array:
    """Positive and negative sequence (n, 2) of phase voltages (n, 3)."""
    return v @ SEQUENCES.T


# Ratings --------------------------------------------------------------------------------------------


class _Terminal(NamedTuple):
    """One rated terminal."""

    kind: str
    row: int
    slot: int
    rating: float
    element: str
    what: str
    phase: str

    @property
    def label(self) -> str:
        return f"{self.element} {self.what}"


def _ratings(feeder: Feeder, limits: Limits) -> list[Family]:
    """(2j) at both ends of lines and switches and in coils; (2l) apparent power of a coil."""
    if not limits.current:
        return [_rated("i_limit", "i_max", "A", [])]
    currents = [*_conductors(feeder, limits), *_coils(feeder, limits, "i_max_a")]
    powers = [*_coils(feeder, limits, "s_max_kva")]
    for name, factor in limits.elements.items():
        named = (name, *(f"{kind} {name}" for kind in ("line", "switch", "transformer")))
        if factor is not None and not any(t.element in named for t in (*currents, *powers)):
            raise ValueError(f"limits: element {name!r} has no rating to multiply by {factor:g}")
    found = [_rated("i_limit", "i_max", "A", currents)]
    return [*found, _rated("s_limit", "s_max", "VA", powers)] if powers else found


def rated_elements(feeder: Feeder, limits: Limits) -> set[str]:
    """Elements whose rating is enforced: "line l1"."""
    coils = [t for rating in ("i_max_a", "s_max_kva") for t in _coils(feeder, limits, rating)]
    return {t.element for t in (*_conductors(feeder, limits), *coils)}


def _rated(rows: str, kind: str, unit: str, found: list[_Terminal]) -> Family:
    if wrong := [f"{t.label}: {t.rating:g} {unit}" for t in found if not t.rating > 0]:
        raise ValueError(f"ratings must be positive, or NaN for none: {'; '.join(wrong[:4])}")
    rating = np.array([t.rating for t in found], dtype=float)
    return Family(
        rows=rows,
        kinds=("", kind),
        unit=unit,
        label=_text([t.label for t in found]),
        phase=_text([t.phase for t in found]),
        place=np.array([(t.row, t.slot) for t in found], dtype=int).reshape(-1, 2),
        of=_text([t.kind for t in found]),
        base=np.ones(len(found)),
        lo=np.full(len(found), -np.inf),
        hi=rating,
        scale=rating,
        least=0.0,
    )


def _factor(limits: Limits, kind: str, name: str) -> float | None:
    """What a rating is multiplied by; None: it is not enforced."""
    own = [limits.elements[n] for n in (name, f"{kind} {name}") if n in limits.elements]
    if None in own:
        return None
    further = limits.transformer_scale if kind == "transformer" else limits.line_scale
    return float(limits.i_scale * further * np.prod([factor for factor in own if factor is not None]))


def _conductors(feeder: Feeder, limits: Limits) -> Iterator[_Terminal]:
    i_line = feeder[Lines].i_max_a
    if limits.i_max_default_a is not None:
        i_line = np.where(np.isnan(i_line), limits.i_max_default_a, i_line)
    for kind, name, rating, exists in (
        ("line", feeder[Lines].name, i_line, lines.conductors(feeder[Lines])),
        ("switch", feeder[Switches].name, feeder[Switches].i_max_a, switches.poles(feeder[Switches])),
    ):
        for r, k in np.argwhere(exists & ~np.isnan(rating)).tolist():
            if (factor := _factor(limits, kind, str(name[r]))) is None:
                continue
            for slot, end in ((k, "from"), (k + 4, "to")):
                most, what = float(rating[r, k]) * factor, f"phase {k + 1} {end}"
                yield _Terminal(kind, r, slot, most, f"{kind} {name[r]}", what, str(k + 1))


def _coils(feeder: Feeder, limits: Limits, rating: Literal["i_max_a", "s_max_kva"]) -> Iterator[_Terminal]:
    windings, units = feeder[Windings], feeder[Transformers]
    coils = transformers.coils(windings)
    per_coil = {
        "i_max_a": windings.i_max_a,
        "s_max_kva": windings.s_max_kva * 1e3 / np.maximum(coils.sum(axis=1), 1),
    }[rating]
    of = "" if rating == "i_max_a" else " power"
    for r in np.flatnonzero(~np.isnan(per_coil)):
        t, w = int(windings.transformer[r]), int(windings.winding[r])
        if (factor := _factor(limits, "transformer", str(units.name[t]))) is None:
            continue
        for leg in np.flatnonzero(coils[r]).tolist():
            element, what = f"transformer {units.name[t]}", f"winding {w} leg {leg + 1}{of}"
            slot, most = w * 6 + leg * 2, float(per_coil[r]) * factor
            yield _Terminal("transformer", t, slot, most, element, what, str(leg + 1))


def coil_pairs(feeder: Feeder, transformer: Array, slot: Array) -> Array:
    """Node pairs (n, 2) of the coils that begin at slots (n,) of transformers (n,)."""
    windings = feeder[Windings]
    names = zip(windings.transformer.tolist(), windings.winding.tolist(), strict=True)
    row = {name: r for r, name in enumerate(names)}
    at = [row[int(t), int(s) // 6] for t, s in zip(transformer, slot, strict=True)]
    return np.asarray(windings.pair[at, slot % 6 // 2]).reshape(-1, 2)


# Substation -----------------------------------------------------------------------------------------


def _reverse_power(feeder: Feeder, limits: Limits) -> list[Family]:
    """Real power into all sources, kW; below 1 MW the tolerance stays that of 1 MW."""
    most = limits.reverse_power_max_kw
    if most is None:
        return []
    return [
        Family(
            rows="reverse_power",
            kinds=("", "reverse_power"),
            unit="kW",
            label=_text(["sources"]),
            phase=_text([""]),
            place=np.zeros((1, 0), dtype=int),
            of=_text(["source"]),
            base=np.array([1e3]),
            lo=np.array([-np.inf]),
            hi=np.array([most], dtype=float),
            scale=np.array([KW_PER_PU]),
            power=1,
            least=KW_PER_PU,
        )
    ]


def _text(names: Sequence[str]) -> Array:
    return np.array(names, dtype=object)


FIND: tuple[Callable[[Feeder, Limits], list[Family]], ...] = (
    _to_ground,
    _between_phases,
    _sequences,
    _ratings,
    _reverse_power,
)
"""Every kind of limit, in the order of the rows."""
