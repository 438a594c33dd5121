"""Transformer: leakage impedance and ampere-turn balance, leg by leg; fixed taps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dms.builder import Builder
from dms.phasor import Phasor
from dms.program import Numbers, Program
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
    """
    units, windings, pairs = feeder[Transformers], feeder[Windings], feeder[WindingPairs]
    for number, rows in transformers.group_by_windings(windings):
        ratio = transformers.turns_ratio(windings, rows)
        z = transformers.short_circuit_ohm(units, windings, pairs, rows)
        z = z * windings.tap[rows[:, 0]][:, None, None] ** 2
        core = transformers.core_s(units, windings, rows)
        _build_group(b, windings, Group(units.name[number], number, rows, ratio, z, core))


class Group(NamedTuple):
    """Transformers with the same number W of windings.

    name, number (g,)   rows (g, W) of `Windings`   ratio (g, W)   z (g, W-1, W-1) ohm   core (g, W) S
    """

    name: Array
    number: Array
    rows: Array
    ratio: Array
    z: Array
    core: Array


def _build_group(b: Builder, windings: Windings, group: Group) -> None:
    name, number, rows, ratio, z, core = group
    g, n_w = rows.shape
    coil = windings.pair[rows]  # (g, W, 3, 2)
    here = transformers.coils(windings)[rows].all(axis=1)  # (g, 3)
    base_node = np.where(here, np.where(coil[:, 0, :, 0] > EARTH, coil[:, 0, :, 0], coil[:, 0, :, 1]), 0)
    u = [b.across(coil[:, w].reshape(-1, 2)) for w in range(n_w)]  # rows (g, leg)
    into = [Phasor.zero(g * 3) for _ in range(n_w)]
    label = np.array([f"{t}.{leg + 1}" for t in name for leg in range(3)], dtype=object)
    currents = []
    for k in range(1, n_w):
        names = label if n_w == 2 else np.array([f"{text}.w{k}" for text in label], dtype=object)
        block = f"i{n_w}_{k}_transformer" if n_w > 2 else "i_transformer"
        currents.append(b.add_currents(block, names, base_node.ravel(), here.ravel()))
        into[0] = into[0] + currents[-1]
        into[k] = -currents[-1].times(np.repeat(1 / ratio[:, k], 3))
    base = b.v_base[base_node.ravel()]
    for k in range(1, n_w):
        law = u[0] - u[k].times(np.repeat(1 / ratio[:, k], 3))
        for other, j in enumerate(currents):
            law = law - j.times(np.repeat(z[:, k - 1, other], 3))
        block = f"leakage{n_w}_{k}_transformer" if n_w > 2 else "leakage_transformer"
        keep = here.ravel()
        b.add_law(block, label[keep], law.take(keep), base=base[keep])
    for w in range(n_w):
        into[w] = into[w] + u[w].times(np.repeat(core[:, w], 3))
        pair, float_s = coil[:, w].reshape(-1, 2), np.repeat(windings.float_s[rows[:, w]], 3)
        _post_coil(b, pair, into[w], float_s)
        leg = np.tile(np.arange(3), g)
        terminal = into[w] + b.voltage(pair[:, 0]).times(float_s)
        b.monitor("transformer", np.repeat(number, 3), w * 6 + leg * 2, terminal)


def _post_coil(b: Builder, pair: Array, current: Phasor, float_s: Array) -> None:
    """Coil current out of one end and into the other, and the small shunt at both ends."""
    for end, sign in ((0, -1.0), (1, 1.0)):
        node = pair[:, end]
        b.inject(node, current.times(sign) - b.voltage(node).times(float_s))


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, v: Array | None = None
) -> None:
    """Taps are fixed; nothing changes from tick to tick."""
