"""Limits that limit nothing on a feeder: said aloud, since a run keeps them without effort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from dms.limits.find import rated_elements
from dms.limits.stated import Limits
from feeders import Feeder, Lines, Switches, Transformers

NAMES_SHOWN = 5
KINDS: dict[str, type[Lines] | type[Switches] | type[Transformers]] = {
    "line": Lines,
    "switch": Switches,
    "transformer": Transformers,
}


def idle(feeder: Feeder, limits: Limits) -> list[str]:
    """Settings that act on nothing here, one line each: what, why, and what to do."""
    ratings = [*_factors(feeder, limits), *_exempt(feeder, limits)] if limits.current else []
    return [*_band(feeder, limits), *ratings]


def unrated(feeder: Feeder, limits: Limits, *kinds: str) -> list[str]:
    """Elements of these kinds ("line", "switch", "transformer") that have no rating: "line l1"."""
    rated = rated_elements(feeder, replace(limits, elements={}))
    every = [f"{kind} {name}" for kind in kinds for name in feeder[KINDS[kind]].name]
    return [name for name in every if name not in rated]


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f", ... ({more} more)" if more > 0 else "")


def _band(feeder: Feeder, limits: Limits) -> Iterator[str]:
    nodes = feeder.nodes
    kv = feeder.buses.v_base_kv[nodes.bus[(nodes.bus >= 0) & (nodes.terminal <= 3)]] * np.sqrt(3)
    most = limits.band_up_to_kv
    if not (kv <= most * 1.0001).any():
        lowest = f" (the lowest: {kv.min():.4g} kV)" if len(kv) else ""
        yield (
            f"no bus is at or below {most:g} kV{lowest}, so voltages are not limited at all; "
            f"remove limits.band_up_to_kv"
        )
    at = dict(zip(feeder.buses.name.astype(str), feeder.buses.v_base_kv * np.sqrt(3), strict=True))
    for bus in (bus for bus, own in limits.buses.items() if own is not None and at[bus] > most * 1.0001):
        yield (
            f"the own band of bus {bus!r} acts on nothing: it stands at {at[bus]:.4g} kV, above "
            f"limits.band_up_to_kv = {most:g}; raise that, or remove the band"
        )


def _factors(feeder: Feeder, limits: Limits) -> Iterator[str]:
    """A factor of ratings where there are none."""
    rate = {
        "line_scale": (("line", "switch"), "limits.i_max_default_a gives lines one"),
        "transformer_scale": (("transformer",), "give their windings s_max_kva or i_max_a"),
    }
    for name, (kinds, fix) in rate.items():
        without, factor = unrated(feeder, limits, *kinds), getattr(limits, name)
        if factor == 1 or len(without) < sum(len(feeder[KINDS[kind]]) for kind in kinds):
            continue
        why = f"has a rating ({some(without)}); {fix}, or" if without else "is there;"
        yield f"limits.{name} = {factor:g} acts on nothing: no {' or '.join(kinds)} {why} remove it"


def _exempt(feeder: Feeder, limits: Limits) -> Iterator[str]:
    """An exception for what has no limit anyway; a factor of no rating is an error of its own."""
    without = unrated(feeder, limits, *KINDS)
    rated = rated_elements(feeder, replace(limits, elements={}))
    of = {name: [f"{kind} {name}" for kind in KINDS] for name, own in limits.elements.items() if own is None}
    for name, named in of.items():
        if not rated & {name, *named}:
            which = next((n for n in without if n in (name, *named)), name)
            yield f"limits.elements {name!r} acts on nothing: {which} has no rating; remove it"
