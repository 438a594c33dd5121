"""Random circuits, seeded: every unit, phase count, connection and load model in any company.

The slow run takes 300 of them, the fast one a few.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

VOLTAGE_PU = 1e-7
LOOSE_PU = 1e-6
"""Of sections that only float shunts tie to earth; or what rounding of their admittances makes of it."""
ADMITTANCE = 1e-8
CURRENT = 1e-5
UNIT_PER_KM = {"mi": 0.621371, "kft": 3.28084, "km": 1.0, "m": 1000.0, "ft": 3280.84, "none": 1.0}
LAWS = {
    1: "", 2: "", 3: "", 4: "cvrwatts=.7 cvrvars=2.6", 5: "", 6: "", 7: "",
    8: "zipv=(.4 .4 .2 .5 .1 .4 .3)",
}  # fmt: skip


class Maker:
    """Grows a circuit bus by bus; every bus knows its phases, voltage, and whether it is earthed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.text: list[str] = []
        self.buses: list[tuple[str, tuple[int, ...], float, bool]] = []
        self.count = 0

    def pick(self, *options: Any) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def number(self, low: float, high: float) -> str:
        return f"{self.rng.uniform(low, high):.6g}"

    def add(self, line: str) -> None:
        self.text.append(line)

    def name(self) -> str:
        self.count += 1
        return f"n{self.count}"

    def circuit(self, size: int) -> str:
        hz = self.pick(50, 60)
        kv = self.pick(12.47, 22.0, 4.16)
        self.add(f"clear\nset defaultbasefrequency={hz}")
        strength = f"mvasc3={self.number(300, 400)} mvasc1={self.number(250, 400)}"
        self.add(f"new circuit.c basekv={kv} pu={self.number(0.98, 1.05)} bus1=root {strength}")
        self.codes()
        self.buses.append(("root", (1, 2, 3), kv, True))
        for _ in range(size):
            self.pick(self.line, self.line, self.line, self.transformer, self.single, self.switch)()
        for bus in list(self.buses):
            for _ in range(int(self.rng.integers(0, 3))):
                self.pick(self.load, self.load, self.load, self.bank, self.reactor, self.unit)(bus)
        levels = sorted({bus[2] for bus in self.buses}, reverse=True)
        self.add(f"set voltagebases=[{' '.join(f'{level:g}' for level in levels)}]\ncalcvoltagebases")
        return "\n".join(self.text) + "\n"

    def codes(self) -> None:
        """Line codes by matrix and by sequence, and one pole."""
        for n in (1, 2, 3):
            shape = self.rng.uniform(0.02, 0.1, (3, n, n))
            r, x, c = (m + m.T + np.eye(n) * k for m, k in zip(shape, (0.3, 0.7, 9.0), strict=True))
            c -= 0.4 * (1 - np.eye(n))
            rows = ("[" + "|".join(" ".join(f"{v:.7g}" for v in row) for row in m) + "]" for m in (r, x, c))
            r_text, x_text, c_text = rows
            matrices = f"rmatrix={r_text} xmatrix={x_text} cmatrix={c_text}"
            self.add(f"new linecode.k{n} nphases={n} units={self.pick('km', 'mi', 'kft')} {matrices}")
        self.add("new wiredata.w runits=mi rac=.306 gmrunits=ft gmrac=.0244 radunits=in diam=.721")
        for n in (1, 2, 3):
            self.add(f"new linegeometry.g{n} nconds={n + 1} nphases={n} reduce=yes")
            for k in range(n + 1):
                self.add(f"~ cond={k + 1} wire=w x={1.3 * k - 2:g} h={9 - (k == n) * 1.4:g} units=m")

    def order(self, phases: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(int(p) for p in self.rng.permutation(phases))

    def line(self) -> None:
        bus, phases, kv, earthed = self.pick(*self.buses)
        kept = phases if kv < 1 else self.order(phases)[: int(self.rng.integers(1, len(phases) + 1))]
        if not earthed and len(kept) < len(phases):
            kept = phases
        n, new, unit = len(kept), self.name(), self.pick(*UNIT_PER_KM)
        km = self.rng.uniform(0.05, 0.4) * (0.2 if kv < 1 else 1)
        dots = "".join(f".{p}" for p in kept)
        ends = (
            f"phases={n} bus1={bus}{dots} bus2={new}{dots} length={km * UNIT_PER_KM[unit]:.6g} units={unit}"
        )
        r1, x1 = (self.rng.uniform(low, high) / UNIT_PER_KM[unit] for low, high in ((0.1, 0.4), (0.2, 0.6)))
        sequence = f"r1={r1:.6g} x1={x1:.6g} r0={2.1 * r1:.6g} x0={3 * x1:.6g} c1=6 c0=3"
        self.add(f"new line.{new} {ends} {self.pick(f'linecode=k{n}', f'geometry=g{n}', sequence)}")
        self.buses.append((new, tuple(sorted(kept)), kv, earthed))

    def switch(self) -> None:
        bus, phases, kv, earthed = self.pick(*self.buses)
        new, dots = self.name(), "".join(f".{p}" for p in phases)
        self.add(f"new line.{new} phases={len(phases)} bus1={bus}{dots} bus2={new}{dots} switch=yes")
        self.buses.append((new, phases, kv, earthed))

    def transformer(self) -> None:
        whole = [bus for bus in self.buses if len(bus[1]) == 3]
        bus, phases, kv, earthed = self.pick(*whole)
        new, low = self.name(), self.pick(0.48, 0.416, 4.8)
        conns = self.pick("wye wye", "delta wye", "wye delta", "delta delta") if earthed else "delta wye"
        taps = f"taps=({self.pick(1, 0.975, 1.025)} {self.pick(1, 1.00625, 0.99375)})"
        core = self.pick("", "%noloadloss=.3 %imag=.5", "ppm_antifloat=3")
        rated = f"kvs=({kv} {low}) kvas=(800 800) xhl={self.number(3, 7)} %rs=(.5 .6)"
        lead = f"leadlag={self.pick('lag', 'lead')}"
        self.add(f"new transformer.{new} buses=({bus} {new}) conns=({conns}) {rated} {taps} {core} {lead}")
        self.buses.append((new, phases, low, conns.endswith("wye")))

    def single(self) -> None:
        """One-phase units: to earth, between phases, or centre-tapped."""
        high = [bus for bus in self.buses if bus[2] > 1 and bus[3]]
        bus, phases, kv, _ = self.pick(*high)
        new, phase = self.name(), int(self.pick(*phases))
        rated = "kvas=(75 75 75) xhl=2.1 xht=2.1 xlt=1.4 %rs=(.6 1.2 1.2)"
        halves = f"buses=({bus}.{phase}.0 {new}.1.0 {new}.0.2) kvs=({kv / 3**0.5:.6g} .12 .12)"
        if self.rng.random() < 0.5:
            self.add(f"new transformer.{new} phases=1 windings=3 {halves} {rated}")
            self.buses.append((new, (1, 2), 0.208, True))
        elif len(phases) > 1:
            a, b = self.order(phases)[:2]
            ends = f"buses=({bus}.{a}.{b} {new}.{a}.0) kvs=({kv} .24) conns=(delta wye)"
            self.add(f"new transformer.{new} phases=1 {ends} kvas=(50 50) xhl=2.2 %rs=(.5 .7)")
            self.buses.append((new, (a,), 0.24 * 3**0.5, True))

    def place(self, bus: tuple[str, tuple[int, ...], float, bool]) -> tuple[str, int, float]:
        """Where an element goes at a bus: bus and connection, phases, rated voltage."""
        name, phases, kv, earthed = bus
        options = []
        if earthed:
            options.append(("wye", (int(self.pick(*phases)),), kv / 3**0.5))
        if len(phases) == 3:
            options.append(("delta", phases, kv))
            if earthed:
                options.append(("wye", phases, kv))
        if len(phases) > 1:
            options.append(("delta", self.order(phases)[:2], kv))
        conn, nodes, volts = self.pick(*options)
        n = 1 if conn == "delta" and len(nodes) == 2 else len(nodes)
        return f"bus1={name}{''.join(f'.{p}' for p in nodes)} conn={conn}", n, volts

    def load(self, bus: tuple[str, tuple[int, ...], float, bool]) -> None:
        at, n, kv = self.place(bus)
        model = int(self.pick(*LAWS))
        size = f"kw={self.number(1, 12)} kvar={self.number(-1, 5)} {LAWS[model]}"
        band = self.pick("", "vminpu=.8", "vminpu=.9 vmaxpu=1.1", "vmaxpu=1.01")
        self.add(f"new load.{self.name()} {at} phases={n} kv={kv:.7g} {size} model={model} {band}")

    def bank(self, bus: tuple[str, tuple[int, ...], float, bool]) -> None:
        at, n, kv = self.place(bus)
        self.add(f"new capacitor.{self.name()} {at} phases={n} kv={kv:.7g} kvar={self.number(3, 30)}")

    def reactor(self, bus: tuple[str, tuple[int, ...], float, bool]) -> None:
        at, n, kv = self.place(bus)
        self.add(f"new reactor.{self.name()} {at} phases={n} kv={kv:.7g} kvar={self.number(2, 9)} r=.01")

    def unit(self, bus: tuple[str, tuple[int, ...], float, bool]) -> None:
        at, n, kv = self.place(bus)
        sky = f"irradiance={self.number(0.2, 1)} pf={self.number(0.9, 1)}"
        sun = f"pvsystem.{self.name()} {at} kva=12 pmpp=9 {sky}"
        machine = f"generator.{self.name()} {at} kw={self.number(1, 9)} kvar=1 model={self.pick(1, 2)}"
        state = self.pick("charging", "discharging")
        cell = f"storage.{self.name()} {at} kwrated=8 kwhrated=30 %stored=60 state={state}"
        self.add(f"new {self.pick(sun, machine, cell)} phases={n} kv={kv:.7g}")


def check(compare: Callable[..., Any], folder: Path, seed: int) -> None:
    master = folder / f"random{seed}.dss"
    master.write_text(Maker(seed).circuit(size=8 + seed % 17))
    found = compare(master)
    assert found.converged, master.read_text()
    assert found.y_gap <= ADMITTANCE, found.row
    assert found.v_gap_pu <= VOLTAGE_PU, found.row
    assert max(found.raw_v_pu, found.loose_gap_pu) <= max(LOOSE_PU, found.blur_pu), found.row
    assert found.raw_i <= CURRENT, found.row
    assert found.result.n_fixed == 0


@pytest.mark.parametrize("seed", range(12))
def test_random_circuit(compare: Callable[..., Any], tmp_path: Path, seed: int) -> None:
    check(compare, tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(12))
def test_random_circuits(compare: Callable[..., Any], tmp_path: Path, block: int) -> None:
    for seed in range(12 + 24 * block, 36 + 24 * block):
        check(compare, tmp_path, seed)
