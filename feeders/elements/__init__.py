"""Elements: what each thing is, its table and its primitive law in SI.

`primitives(feeder)` is the one list of everything linear in a feeder.
"""

from __future__ import annotations

from feeders.elements import admittances, capacitors, lines, reactors, sources, switches, transformers
from feeders.elements.admittances import Admittances
from feeders.elements.capacitors import Capacitors
from feeders.elements.connections import Connections
from feeders.elements.generators import GENERATOR_MODELS, Generators
from feeders.elements.lines import Lines
from feeders.elements.loads import LOAD_MODELS, Loads
from feeders.elements.primitive import Primitive
from feeders.elements.reactors import Reactors
from feeders.elements.regulators import Regulators
from feeders.elements.sources import Sources
from feeders.elements.switches import Switches
from feeders.elements.transformers import Transformers, WindingPairs, Windings
from feeders.feeder import Feeder

__all__ = [
    "GENERATOR_MODELS",
    "LOAD_MODELS",
    "Admittances",
    "Capacitors",
    "Connections",
    "Generators",
    "Lines",
    "Loads",
    "Primitive",
    "Reactors",
    "Regulators",
    "Sources",
    "Switches",
    "Transformers",
    "WindingPairs",
    "Windings",
    "primitives",
]


def primitives(feeder: Feeder) -> list[Primitive]:
    """The primitive laws of every linear element of a feeder; empty tables are left out."""
    f = feeder.frequency_hz
    found = [
        sources.primitive(feeder[Sources], f),
        lines.primitive(feeder[Lines], f),
        switches.primitive(feeder[Switches], f),
        capacitors.primitive(feeder[Capacitors]),
        reactors.primitive(feeder[Reactors]),
        admittances.primitive(feeder[Admittances]),
    ]
    units, windings, pairs = feeder[Transformers], feeder[Windings], feeder[WindingPairs]
    groups = transformers.group_by_windings(windings)
    found += [transformers.primitive(units, windings, pairs, rows) for _, rows in groups]
    return [p for p in found if len(p.element)]
