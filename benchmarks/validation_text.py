"""The words of docs/validation.md; figures go where the braces are."""

HEAD = """# Validation against OpenDSS

Written by `benchmarks/validation.py` (`make validation`); every figure comes from one run of it. Engines:
dss_python {dss_python} ({engine}), py-dss-interface {second};
Python {python}, numpy {numpy}, scipy {scipy}; one thread.

What is compared. A master file is read by `feeders.readers.opendss`, which takes properties from the engine
and computes every table from them, and solved by `dms.network`, which shares nothing with the engine. The
engine compiles the same file, its controls settle taps and capacitors, are then frozen, and it solves to
1e-10.

- **dV**: largest difference of complex node voltages to earth, over the voltage base of the node; every node.
- **dI**: largest difference of the currents into an element's terminals, over the element's largest current
  or {floor_a:g} A; lines, switches, transformers, capacitors and reactors.
- **dY**: largest difference of an element's primitive admittances, over its largest entry; every linear
  element.
- **solved on**: the same against the engine's own equations with more digits: its primitive admittances added
  up in 80 bits instead of 64, and what its voltages leave in Kirchhoff's law solved for again. See "What is
  left, and why".

Tolerances: dV {v_pu:.0e}, dI {i:.0e}, dY {y:.0e}; single elements dV {micro_pu:.0e}."""

CIRCUITS = """## Circuits

Elements by type as read; loads, generators and capacitor banks count once, whatever their phases."""

NOT_BALANCED = """(1) The engine's own currents at `{master}` do not add up: it misses Kirchhoff's law by
{residual_a:.1e} A, and the currents through its fuses of 5e6 S and more are differences of rounded products.
Beyond the amount by which its currents fail to balance at a node, the difference is {i_gap:.1e}, and against
its equations solved on {sharp_i:.1e}."""

REASONS = """## What is left, and why

**The floor of 3.4e-10** is the engine's degree. The angle of an ideal source's first phase is {measured:.4e}
rad in the engine instead of 0; 360 degrees at ten digits of 180/pi, 360/57.29577951 - 2 pi, are
{expected:.4e} rad. Solved on, no node of any circuit differs by more than {floor:.1e} pu.

**What is above it is rounding in the engine's nodal matrix.** Switches and fuses of 5e5 S and more, rounded
at 1e-16, blur admittances of 1e-10 S: nothing beside a line, but much beside the float shunts of 1e-8 S that
alone tie an ungrounded section to earth. The engine's solution then misses Kirchhoff's law by the residual
below: its own voltages in its own primitive admittances, added up in 80 bits. Refined until that is gone, its
voltages move by as much as they differed from ours, onto ours:"""

TIGHTENED = """It is not the engine's tolerance: tightened, dV of the three worst circuits stays as it is. The
engine's own Newton algorithm, which solves for corrections and so sheds rounding, ends within {newton:.1e} pu
of our voltages. Where it did not converge, 100 rounds did not reach the tolerance asked for, and the voltages
are those it ended with."""

TIMES = """## Time

Seconds to read (two engine processes side by side, properties, tables), the quickest of {readings}; then the
power flow alone, ours and the engine's in one process, in turn, the quickest of {repeats}. Cold: circuit
matrix, factors, solution from the start, ours to 1e-11, the engine to 1e-10; its elements' admittances are at
hand, ours are computed. Warm: from the solution before, loads {more:.0%} up. Ratios are ours over the
engine's. The last column is the engine's cold solution at its usual tolerance of 1e-4."""

COMMANDS = """## On the command line

`anoca feeder check MASTER` and `anoca powerflow MASTER`, as processes of their own; seconds are wall time
from start to exit. dV is that of the complex voltages that `powerflow --json` prints."""

COMPILE = """The 8500-node network compiles, converts and solves in {seconds} s in all, from start to exit
of `anoca powerflow {master}`, {runs} runs; the quickest may take {limit:g} s. All its processes together keep
a processor busy for {cpu} s, the two of the engine side by side: it takes two free cores."""

MICRO = """## One element at a time

A source, a feed, and one element: every connection, unit of length, kind of matrix, load model. dY leaves out
{open}, whose open ends are nodes of their own here.
Elements without a table are read as fixed admittances, and only these:
{fixed}."""

RANDOM = """## Random masters

{n} seeded circuits of {least} to {most} nodes: every unit, phase count, connection and load model in any
company. Largest differences:"""

LOOSE = """The other {n} have a low-voltage section without any tie to earth but float shunts, whose potential
to earth as a whole is decided by rounding, within a known limit: the section's primitive admittances times
2^-53, over its shunts. No difference exceeds it:"""

SECOND = """## A second engine

The C++ engine behind py-dss-interface, on a sample. Where matrices come from a pole's geometry (4Bus) the two
engines differ among themselves: their constants of nature have different digits."""

REPEAT = """## The same as tests

`make test` holds every circuit, every single element and a part of the random masters against these
tolerances; `make test-slow` adds all random masters and the command line on every circuit. Also, in
`tests/validation/feeders`: harmless changes of a master's text (case, white space, comments, continuation,
quotes, order, includes, abbreviations) read to equal feeders (`test_opendss_harmless.py`); broken and hostile
files get an error each (`test_opendss_broken.py`); the engine's admittances are the check of the tables and
never their source (`test_admittances_are_read_in_one_place_only`). The circuits are looked for in the folder
named by `ANOCA_TEST_FEEDERS`."""
