"""OpenDSS circuits: `read(master)` compiles with the engine and builds the tables from properties.

>>> from feeders.readers.opendss import read          # doctest: +SKIP
>>> feeder = read("13Bus/IEEE13Nodeckt.dss").feeder   # doctest: +SKIP

The engine runs in two processes of its own, each on a copy of the files, and both must say the same. It
settles taps and capacitors once; what comes back are the elements' properties, from which every table is
computed here. Its admittance matrices are not used, but for elements that have no law here (`Admittances`),
which the audit counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from feeders.checks import Issue, require_ok
from feeders.draft import Draft
from feeders.feeder import Feeder
from feeders.readers.errors import EngineError, FileError, UnsteadyError, UnsupportedError
from feeders.readers.opendss import injections, lines, run, scan, shunts, transformers
from feeders.readers.opendss.case import Case
from feeders.readers.opendss.defaults import note_defaults
from feeders.table import Array

UNSUPPORTED = (
    "Isource",
    "VCCS",
    "UPFC",
    "IndMach012",
    "GICLine",
    "GICsource",
    "VSConverter",
    "WindGen",
    "Generic5",
)
"""Classes that inject or control power by laws that no table holds."""
FIGURES = {
    "Line": ("RMatrix", "XMatrix", "CMatrix", "Length"),
    "Load": ("kV", "kW", "kvar"),
    "Transformer": ("kV", "kVA", "pctR", "XSCArray", "Tap"),
    "Generator": ("kV", "kW", "kvar"),
    "Vsource": ("BasekV", "pu", "Angle"),
}
"""Properties that must be numbers."""
SILENT = ("LoadShape", "GrowthShape", "TCC_Curve", "Spectrum", "XYcurve", "TShape", "PriceShape")
"""Curves; without elements that use them they mean nothing."""


@dataclass(frozen=True)
class ReadResult:
    """A feeder, how it came about, and the engine's own solution of it.

    feeder         tables at the taps and capacitor states in which the engine's controls came to rest
    audit          defaults taken, fields dropped, ratings not given, loads outside their band, elements
                   without a law of their own; then what `feeders.checks` has to say
    v_engine_v     (n_nodes + 1,) the engine's voltages, volt, in the feeder's order; NaN where it has none
    """

    feeder: Feeder
    audit: list[Issue]
    v_engine_v: Array

    @property
    def n_fixed(self) -> int:
        """Elements read as fixed admittances."""
        from feeders.elements import Admittances

        return len(set(self.feeder[Admittances].element))


def read(
    path: str | Path,
    *,
    folder: str | Path | None = None,
    timeout_s: float = 60.0,
    memory_bytes: int = 2**30,
    tolerance: float = 1e-10,
    check: bool = True,
) -> ReadResult:
    """Read an OpenDSS master file.

    folder        the case folder: nothing outside it is read; default: the master's own
    timeout_s     longest time the engine may take
    memory_bytes  most memory it may use, 0 for no bound
    tolerance     of its solution, per unit
    check         refuse a feeder with errors (`feeders.checks`)
    Raises  MissingEngineError  dss_python is not installed
            PathError, FileError, EngineError, LimitError, UnsteadyError, UnsupportedError  named in
                                `feeders.readers.errors`
            FeederError         the circuit is wrong in itself
    """
    master = Path(path).resolve()
    root = Path(folder).resolve() if folder is not None else master.parent
    if not master.is_file():
        raise FileError(f"there is no file {master.name} in {master.parent.name}")
    copy = scan.collect(master, root)
    data = run.engine(
        copy, master.relative_to(root), timeout_s=timeout_s, memory_bytes=memory_bytes, tolerance=tolerance
    )
    if not data["converged"]:
        hint = _suspects(data["classes"])
        raise EngineError(f"{master.name}: the engine finds no solution of this circuit{hint}")
    _refuse(data["others"], master.name)
    name = str(data["name"])
    draft = Draft(name, frequency_hz=float(data["frequency_hz"]), origin=f"OpenDSS, {master.name}")
    case = Case(data, draft)
    for add in (
        injections.add_sources,
        lines.add_lines,
        transformers.add_transformers,
        shunts.add_shunts,
        injections.add_loads,
        injections.add_generators,
    ):
        add(case)
    note_defaults(case)
    _note(case, copy)
    feeder = draft.finish()
    issues = require_ok(feeder) if check else []
    if data["unsteady"]:
        where = data["unsteady"]
        raise UnsteadyError(f"{master.name}: the engine answers differently when asked again: {where}")
    v = [complex(*data["v_volt"].get(node, (np.nan, np.nan))) for node in feeder.node_names[1:]]
    return ReadResult(feeder, [*case.audit, *issues], np.array([0j, *v]))


def _refuse(others: dict[str, int], master: str) -> None:
    foreign = [f"{count} {name}" for name, count in others.items() if name in UNSUPPORTED]
    if foreign:
        raise UnsupportedError(f"{master}: elements without a table here: {', '.join(foreign)}")


def _suspects(classes: dict[str, list[dict[str, Any]]]) -> str:
    """Elements with a figure that is no number, or a rated voltage of zero."""
    found = []
    for kind, columns in FIGURES.items():
        for row in classes[kind]:
            for column in columns:
                values = np.array(row[column], dtype=float).ravel()
                if not np.isfinite(values).all() or (column == "kV" and not values.all()):
                    found.append(f"{kind.lower()}.{row['Name']} ({column})")
    return "; look at " + ", ".join(found[:6]) if found else ""


def _note(case: Case, copy: scan.Copy) -> None:
    """What the circuit as a whole lost on the way."""
    case.note_all("Feeder", "", copy.silenced, "commands left out, they change nothing in the circuit")
    case.note_all("Feeder", "", case.data["notes"], "said by the engine")
    case.note_all("Buses", "name", case.unused_buses, "nothing is connected to them; dropped")
    for name, count in case.data["others"].items():
        if name not in SILENT:
            case.note("Feeder", "", name, f"{count} left out")
    if case.data["mode"].lower() not in ("snap", "snapshot"):
        case.note(
            "Feeder",
            "",
            case.data["mode"],
            "solution mode replaced by a snapshot: load shapes are not applied",
        )
