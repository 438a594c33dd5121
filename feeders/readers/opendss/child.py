"""The engine's side: compile one master, settle its controls, write every property as JSON.

Run as a script, in a process and a folder of its own, and never imported by the reader:

    python -I child.py MASTER RESULT OPTIONS

It needs only dss_python. Admittances are read for elements that the tables have no law for, in
`fixed_admittance`, and nowhere else.

Of a load that `open` has switched off the engine injects whatever the load's current array last held: the
currents of its last solution, or memory that nobody has written. Of generators it has the switch the wrong
way round: an open one goes on feeding, one that was closed by command stops. So `Opened` takes what is open
out of the circuit before every solution, the master's own ones included.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Any

NATIVE = [
    "Line",
    "Transformer",
    "Load",
    "Capacitor",
    "Reactor",
    "Vsource",
    "Generator",
    "PVSystem",
    "Storage",
    "RegControl",
    "CapControl",
]
TEXTS = ["LineCode", "LineGeometry", "LineSpacing", "WireData", "CNData", "TSData", "XfmrCode"]
"""Classes whose given properties say where a rating comes from."""
PASSIVE = ["Fault", "AutoTrans", "GICTransformer"]
"""Classes without a table here that are linear: their admittance is taken as it is."""
POWERS = ("Generator", "PVSystem", "Storage")
MISLED = {"Load": "Loads", "Generator": "Generators"}
"""Classes that the engine solves wrongly if they are open, and the collection each of them is in."""
UNWRITTEN = {"Reactor": ("RMatrix", "XMatrix"), "Capacitor": ("CMatrix",)}
RELIABILITY = ("FaultRate", "pctPerm", "Repair")
"""Properties that the engine may print from memory it has not written: no table has room for the latter, and
of the former it is enough to know whether they were given."""
CONTROLS_HUNT = 485
"""The engine's number for controls that do not come to rest."""
_NOT_JSON = re.compile(r"(?<=[\[,: ])([+-]?)(nan|inf)(?=[\],} \r\n])", re.IGNORECASE)


def main() -> int:
    """Read the arguments, write the result, return 0 if there is one."""
    master, result, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    if options["memory_bytes"]:
        resource.setrlimit(resource.RLIMIT_AS, (options["memory_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (options["file_bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        import dss
    except ImportError as exc:
        # Short of memory, a library that is installed fails to load.
        absent = isinstance(exc, ModuleNotFoundError) and exc.name == "dss"
        return _write(result, {"missing" if absent else "unloadable": str(exc)})
    opened = Opened(dss.dss)
    try:
        found = circuit(dss.dss, master, options, opened)
    except dss.DSSException as exc:
        found = {"error": " ".join(str(part) for part in exc.args)}
    if opened.partly:
        # Solved all the same, from memory nobody has written: an error of that solution says nothing.
        found = {"partly": opened.partly}
    return _write(result, found)


def _write(path: str, found: dict[str, Any]) -> int:
    with open(path, "w", encoding="utf-8") as file:
        json.dump(found, file)
    return 0


class Opened:
    """Loads and generators that are open, disabled as long as they are.

    off     names of those disabled here, kind.name
    partly  names of those with some conductors open and some not, in any solution
    """

    def __init__(self, engine: Any) -> None:
        from dss.enums import AltDSSEvent
        from dss.IDSSEvents import get_manager_for_ctx

        self.off: list[str] = []
        self.partly: list[str] = []
        self._engine = engine
        events = get_manager_for_ctx(engine._api_util.ctx)
        events.register_func(AltDSSEvent.Clear, lambda *_: self.off.clear())
        events.register_func(AltDSSEvent.Legacy_InitControls, self.update)

    def update(self) -> None:
        """Disable what is open and enable what is closed again; the engine calls this before it solves."""
        active = self._engine.ActiveCircuit
        before = active.ActiveCktElement.Name
        for name in list(self.off):
            active.SetActiveElement(name)
            if not active.ActiveCktElement.IsOpen(1, 0):
                active.ActiveCktElement.Enabled = True
                self.off.remove(name)
        # Switching something on or off is what makes the engine build its matrix anew.
        if active.Solution.SystemYChanged:
            self._disable(active)
        active.SetActiveElement(before)

    def _disable(self, active: Any) -> None:
        for name, rest in self.found(active):
            if rest:
                self.partly.append(name)
            else:
                active.SetActiveElement(name)
                active.ActiveCktElement.Enabled = False
                self.off.append(name)
        for name in self._names(active, "Generator"):
            # The command `close` has set the generator's own switch to open. To open a conductor that there
            # is none of sets it back, and does nothing else.
            active.SetActiveElement(name)
            active.ActiveCktElement.Open(1, int(active.ActiveCktElement.NumConductors) + 1)

    def found(self, active: Any) -> list[tuple[str, bool]]:
        """Enabled loads and generators with open conductors, and whether enough are left to carry current."""
        found = []
        for name in [name for kind in MISLED for name in self._names(active, kind)]:
            active.SetActiveElement(name)
            element = active.ActiveCktElement
            if element.Enabled and element.IsOpen(1, 0):
                n_open = sum(element.IsOpen(1, c + 1) for c in range(int(element.NumConductors)))
                found.append((name, n_open < int(element.NumPhases)))
        return found

    def _names(self, active: Any, kind: str) -> list[str]:
        all_of_kind = getattr(active, MISLED[kind])
        # The engine's word for an empty collection is a single "none".
        return [f"{kind}.{name}" for name in all_of_kind.AllNames] if all_of_kind.Count else []


def circuit(engine: Any, master: str, options: dict[str, Any], opened: Opened) -> dict[str, Any]:
    """Everything the reader wants to know about one circuit."""
    engine.AllowForms = False
    engine.AllowEditor = False
    engine.AllowDOScmd = False
    engine.AllowChangeDir = False
    notes = _commands(engine, "clear", f'compile "{master}"')
    if not engine.NumCircuits:
        return {"error": "the file defines no circuit"}
    active = engine.ActiveCircuit
    mode = active.Solution.ModeID
    notes += _settle(engine, options)
    if late := opened.found(active):
        return {"error": f"{late[0][0].lower()} was opened while the engine solved, which it gets wrong"}
    elements = _elements(active)
    given = {name: _class(engine, name, full=False) for name in [*TEXTS, *NATIVE]}
    unmodelled = _unmodelled(elements, given)
    return {
        "name": active.Name,
        "notes": notes,
        "mode": mode,
        "converged": bool(active.Solution.Converged),
        "frequency_hz": float(active.Solution.Frequency),
        "load_mult": float(active.Solution.LoadMult),
        "year": int(active.Solution.Year),
        "classes": {name: _class(engine, name, full=True) for name in NATIVE},
        "given": given,
        "fixed": {name: fixed_admittance(active, name) for name in unmodelled},
        "others": _others(engine),
        "off": opened.off,
        "elements": elements,
        "buses": _buses(active),
        "v_volt": _voltages(active),
    }


def _commands(engine: Any, *commands: str) -> list[str]:
    """Carry out commands; controls that hunt are worth a note, everything else is an error."""
    import dss

    notes = []
    for command in commands:
        try:
            engine.Text.Command = command
        except dss.DSSException as exc:
            if exc.args[0] != CONTROLS_HUNT:
                raise
            notes.append(" ".join(str(part) for part in exc.args))
    return notes


def _settle(engine: Any, options: dict[str, Any]) -> list[str]:
    """Let the controls come to rest, freeze them, and solve as tightly as it goes."""
    solution = engine.ActiveCircuit.Solution
    iterations, control = max(solution.MaxIterations, 100), max(solution.MaxControlIterations, 100)
    return _commands(
        engine,
        "set mode=snapshot",
        f"set maxiterations={iterations}",
        f"set maxcontroliter={control}",
        "solve",
        "set controlmode=off",
        "set maxiterations=1000",
        f"set tolerance={options['tolerance']}",
        "solve",
    )


def _class(engine: Any, name: str, *, full: bool) -> list[dict[str, Any]]:
    """Properties of all enabled elements of a class: all of them, or those that were given."""
    from dss.enums import DSSJSONFlags

    engine.SetActiveClass(name)
    if not engine.ActiveClass.Count:
        return []
    flags = DSSJSONFlags.ExcludeDisabled | (DSSJSONFlags.Full if full else 0)
    text = engine.ActiveClass.ToJSON(flags)
    found: list[dict[str, Any]] = json.loads(_NOT_JSON.sub(_number, text))
    random = {*UNWRITTEN.get(name, ()), *RELIABILITY}
    return [{key: None if key in random else value for key, value in row.items()} for row in found]


def _number(match: re.Match[str]) -> str:
    """What the engine writes for no number, as Python's JSON reads it."""
    return "NaN" if match[2].lower() == "nan" else match[1].strip("+") + "Infinity"


def _others(engine: Any) -> dict[str, int]:
    """How many elements there are of every class that is left out."""
    counts = {}
    for name in engine.Classes:
        if name not in (*NATIVE, *TEXTS, *PASSIVE):
            engine.SetActiveClass(name)
            counts[name] = int(engine.ActiveClass.Count)
    return {name: count for name, count in counts.items() if count}


def _elements(active: Any) -> dict[str, dict[str, Any]]:
    """Terminals, open conductors and present power of every enabled element."""
    found = {}
    for name in active.AllElementNames:
        active.SetActiveElement(name)
        element = active.ActiveCktElement
        kind = name.split(".", 1)[0]
        if not element.Enabled or kind.lower().endswith(("control", "meter", "monitor")):
            continue
        n, order = int(element.NumConductors), [int(k) for k in element.NodeOrder]
        buses = [bus.split(".")[0].lower() for bus in element.BusNames]
        terminals = [[bus, order[k * n : (k + 1) * n]] for k, bus in enumerate(buses)]
        record: dict[str, Any] = {"terminals": terminals}
        opened = [[k, c] for k in range(len(buses)) if element.IsOpen(k + 1, 0) for c in range(n)]
        record["open"] = [[k, c] for k, c in opened if element.IsOpen(k + 1, c + 1)]
        if kind in POWERS and not record["open"]:
            powers = list(element.Powers)
            record["s_kva"] = [sum(powers[0::2]), sum(powers[1::2])]
        found[name] = record
    return found


def _buses(active: Any) -> dict[str, list[float | None]]:
    """Voltage base, kV to earth (0 unknown), and coordinates."""
    found: dict[str, list[float | None]] = {}
    for k in range(active.NumBuses):
        bus = active.Buses(k)
        place = [float(bus.x), float(bus.y)] if bus.Coorddefined else [None, None]
        found[bus.Name.lower()] = [float(bus.kVBase), *place]
    return found


def _voltages(active: Any) -> dict[str, list[float]]:
    """Voltage of every node, real and imaginary, volt."""
    flat = [float(v) for v in _flat(active.AllBusVolts)]
    names = [name.lower() for name in active.AllNodeNames]
    return {name: flat[2 * k : 2 * k + 2] for k, name in enumerate(names)}


def _flat(values: Any) -> list[float]:
    """Real and imaginary parts in turn, whichever way the engine hands out complex numbers."""
    parts: list[float] = []
    for value in values:
        parts += [value.real, value.imag] if isinstance(value, complex) else [value]
    return parts


def _unmodelled(elements: dict[str, dict[str, Any]], given: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Elements that no table has a law for: passive classes, banks given as matrices, many phases."""
    found = [name for name in elements if name.split(".", 1)[0] in PASSIVE]
    for kind, limit in (("Line", 4), ("Transformer", 3)):
        found += [f"{kind}.{row['Name']}" for row in given[kind] if int(row.get("Phases", 3)) > limit]
    for row in given["Capacitor"]:
        filter_in_delta = row.get("Conn") == "delta" and ("XL" in row or "R" in row or "Harm" in row)
        if filter_in_delta or "CMatrix" in row:
            found.append(f"Capacitor.{row['Name']}")
    for name, element in elements.items():
        kind, n = name.split(".", 1)[0], len(element["terminals"][0][1])
        part = 0 < len(element["open"]) < n
        if (kind == "Transformer" and element["open"]) or (kind in ("Capacitor", "Reactor") and part):
            found.append(name)
    for row in given["Reactor"]:
        name = f"Reactor.{row['Name']}"
        by_matrix = {"RMatrix", "XMatrix", "RCurve", "LCurve"} & set(row)
        if by_matrix or ("Z1" in row and not (name in elements and _series_by_sequence(row, elements[name]))):
            found.append(name)
    return [name for name in dict.fromkeys(found) if name in elements]


def _series_by_sequence(row: dict[str, Any], element: dict[str, Any]) -> bool:
    """Whether a reactor lies between two buses and is last given by z1 and z0, z2 being z1."""
    order = list(row)
    others = [order.index(key) for key in ("X", "R", "Z", "LmH", "kvar") if key in row]
    last = order.index("Z1") > max(others, default=-1)
    buses = [bus for bus, _ in element["terminals"]]
    return last and "Z2" not in row and int(row.get("Phases", 3)) == 3 and len(set(buses)) == 2


def fixed_admittance(active: Any, name: str) -> dict[str, Any]:
    """The primitive admittance of one element, and the node of each of its rows.

    y_s is row by row, real and imaginary in turn, siemens; a node is "bus.number", "" for earth
    """
    active.SetActiveElement(name)
    element, order = active.ActiveCktElement, [str(node).lower() for node in active.YNodeOrder]
    nodes = [order[ref - 1] if ref else "" for ref in element.NodeRef]
    return {"nodes": nodes, "y_s": [float(part) for part in _flat(element.Yprim)]}


if __name__ == "__main__":
    sys.exit(main())
