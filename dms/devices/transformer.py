"""Transformer: leakage impedance and ampere-turn balance, leg by leg; taps fixed or free."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dms.builder import Builder
from dms.phasor import Phasor
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import EARTH, Feeder, Transformers, WindingPairs, Windings
from feeders.elements import transformers
from feeders.table import Array


def build(feeder: Feeder, b: Builder) -> None:
    """Leakage law of every leg, for each number of windings W.

    u_0 - u_k / a_k = sum_l Z_kl j_l     k = 1 .. W-1     rows `leakage<W>_transformer_*`
    current into coil 0 = sum_k j_k,     into coil k = -j_k / a_k,     and y_core u into each

    u volt across a coil, a_k = turns (rated volts x tap) over those of winding 0,
    Z ohm seen from winding 0 at its tap, j ampere in winding 0's coil.

    A coil whose tap is free, tau, stands behind an ideal changer: with tau = 1 in the laws above it sees
    e and draws j_e instead of u and i, where

    u = tau e,   tau i = j_e             rows `ratio_tap_*`, `turns_tap_*`; tau is `position`  (2k)
    """
    units, windings, pairs = feeder[Transformers], feeder[Windings], feeder[WindingPairs]
    fixed = windings.replace(tap=np.where(b.controls.of_winding >= 0, 1.0, windings.tap))
    for number, rows in transformers.group_by_windings(windings):
        ratio = transformers.turns_ratio(fixed, rows)
        z = transformers.short_circuit_ohm(units, fixed, pairs, rows)
        z = z * fixed.tap[rows[:, 0]][:, None, None] ** 2
        core = transformers.core_s(units, fixed, rows)
        control = b.controls.of_winding[rows]
        _build_group(b, windings, Group(units.name[number], number, rows, ratio, z, core, control))


class Group(NamedTuple):
    """Transformers with the same number W of windings.

    name, number (g,)   rows (g, W) of `Windings`   ratio (g, W)   z (g, W-1, W-1) ohm   core (g, W) S
    control (g, W) int  which position is the winding's tap, -1 fixed
    """

    name: Array
    number: Array
    rows: Array
    ratio: Array
    z: Array
    core: Array
    control: Array


def _build_group(b: Builder, windings: Windings, group: Group) -> None:
    name, number, rows, ratio, z, core, _ = group
    g, n_w = rows.shape
    coil = windings.pair[rows]  # (g, W, 3, 2)
    here = np.asarray(transformers.coils(windings)[rows].all(axis=1))  # (g, 3)
    base_node = _base_node(coil[:, 0], here)
    u = [b.across(coil[:, w].reshape(-1, 2)) for w in range(n_w)]  # rows (g, leg)
    e = [_behind_tap(b, group, w, u[w], coil, here) for w in range(n_w)]
    into = [Phasor.zero(g * 3) for _ in range(n_w)]
    label = np.array([f"{t}.{leg + 1}" for t in name for leg in range(3)], dtype=object)
    currents = []
    for k in range(1, n_w):
        names = label if n_w == 2 else np.array([f"{text}.w{k}" for text in label], dtype=object)
        block = f"i{n_w}_{k}_transformer" if n_w > 2 else "i_transformer"
        currents.append(b.add_currents(block, names, base_node, here.ravel()))
        into[0] = into[0] + currents[-1]
        into[k] = -currents[-1].times(np.repeat(1 / ratio[:, k], 3))
    base = b.v_base[base_node]
    for k in range(1, n_w):
        law = e[0] - e[k].times(np.repeat(1 / ratio[:, k], 3))
        for other, j in enumerate(currents):
            law = law - j.times(np.repeat(z[:, k - 1, other], 3))
        block = f"leakage{n_w}_{k}_transformer" if n_w > 2 else "leakage_transformer"
        keep = here.ravel()
        b.add_law(block, label[keep], law.take(keep), base=base[keep])
    for w in range(n_w):
        drawn = into[w] + e[w].times(np.repeat(core[:, w], 3))
        drawn = _through_tap(b, group, w, drawn, coil, here)
        pair, float_s = coil[:, w].reshape(-1, 2), np.repeat(windings.float_s[rows[:, w]], 3)
        _post_coil(b, pair, drawn, float_s)
        leg = np.tile(np.arange(3), g)
        terminal = drawn + b.voltage(pair[:, 0]).times(float_s)
        b.monitor("transformer", np.repeat(number, 3), w * 6 + leg * 2, terminal)


def _base_node(coil: Array, here: Array) -> Array:
    """The node (g * 3,) whose base scales a coil (g, 3, 2): its first end, or its other one at earth."""
    first = np.where(coil[..., 0] > EARTH, coil[..., 0], coil[..., 1])
    return np.where(here, first, 0).ravel()


def _tapped(group: Group, w: int, here: Array) -> tuple[Array, Array, Array]:
    """Coils (g * 3,) of winding w behind a free tap, their names, and the control of every coil."""
    tapped = ((group.control[:, w] >= 0)[:, None] & here).ravel()
    names = [f"{t} winding {w}.{leg + 1}" for t in group.name for leg in range(3)]
    return tapped, np.array(names, dtype=object), np.repeat(group.control[:, w], 3)


def _behind_tap(b: Builder, group: Group, w: int, u: Phasor, coil: Array, here: Array) -> Phasor:
    """u = tau e: the voltage e that the core sees, itself where the tap is fixed."""
    tapped, names, control = _tapped(group, w, here)
    if not tapped.any():
        return u
    node = _base_node(coil[:, w], here)
    block = f"e_{_block(group, w)}"
    e = b.add_voltages_at(block, names, node, tapped)
    base = b.v_base[node[tapped]]
    tau = b.variables("position").start + control[tapped]
    times_tau = (-e.take(tapped)).by(tau)
    b.add_law(f"ratio_{_block(group, w)}", names[tapped], u.take(tapped), base=base, products=times_tau)
    return u.keep(~tapped) + e


def _through_tap(b: Builder, group: Group, w: int, drawn: Phasor, coil: Array, here: Array) -> Phasor:
    """tau i = j_e: the current i that the coil draws, the core's own where the tap is fixed."""
    tapped, names, control = _tapped(group, w, here)
    if not tapped.any():
        return drawn
    node = _base_node(coil[:, w], here)
    i = b.add_currents(f"i_{_block(group, w)}", names, node, tapped)
    tau = b.variables("position").start + control[tapped]
    times_tau = (-i.take(tapped)).by(tau)
    block = f"turns_{_block(group, w)}"
    b.add_law(block, names[tapped], drawn.take(tapped), base=b.i_base[node[tapped]], products=times_tau)
    return drawn.keep(~tapped) + i


def _block(group: Group, w: int) -> str:
    """Name of the tap blocks of winding w in a group of W windings."""
    return f"tap{group.rows.shape[1]}_{w}" if group.rows.shape[1] > 2 else f"tap_{w}"


def _post_coil(b: Builder, pair: Array, current: Phasor, float_s: Array) -> None:
    """Coil current out of one end and into the other, and the small shunt at both ends."""
    for end, sign in ((0, -1.0), (1, 1.0)):
        node = pair[:, end]
        b.inject(node, current.times(sign) - b.voltage(node).times(float_s))


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Free taps are numbers of `dms.controls`; nothing else changes from tick to tick."""
