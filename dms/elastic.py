"""The elastic programme: the same laws and limits with slack, so that what cannot be kept has a name.

    limits           row_lo <= h(x) + up - down <= row_hi,     up, down >= 0,    min sum up + down
    currents, sparse   Kirchhoff's law + support = 0 at every node,              min sum |support|
    currents, spread   the same,                                                 min sum support^2

The first says which limits no curtailment keeps, and by how much at the least; the others, with all limits
hard, at which nodes current would have to come from elsewhere: few of them, or as evenly as can be. A slack
is in the programme's own scale: relative for ratings, MVA at nominal voltage for currents.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dms.phasor import Products, Terms
from dms.program import Block, Numbers, Objective, Program
from feeders.table import Array


def with_limit_slack(program: Program, rows: Array) -> Program:
    """Some rows of limits may give, up or down; the least sum of what they give is the objective."""
    names = np.array(program.row_names(), dtype=object)[rows]
    up = Block("slack_up", program.n, names, "control")
    down = Block("slack_down", up.stop, names, "control")
    one = np.ones(len(rows))
    terms = Terms(
        np.concatenate([rows, rows]), np.concatenate([up.index, down.index]), np.concatenate([one, -one])
    )
    linear = np.zeros(down.stop)
    linear[up.start :] = 1.0
    return _extended(program, (up, down), terms, Objective(linear, _no_products()), lo=0.0)


def with_support(program: Program, sparse: bool) -> Program:
    """Current may be fed in at every node from nowhere: as few of it (sparse), or as evenly (spread)."""
    blocks: list[Block] = []
    row: list[Array] = []
    coef: list[Array] = []
    at = program.n
    for part in ("re", "im"):
        kcl = program.rows[f"kcl_{part}"]
        for sign, name in ((1.0, "in"), (-1.0, "out")) if sparse else ((1.0, "in"),):
            blocks.append(Block(f"support_{part}_{name}", at, kcl.label, "control"))
            row.append(kcl.index)
            coef.append(np.full(len(kcl.label), sign))
            at = blocks[-1].stop
    added = np.arange(program.n, at)
    terms = Terms(np.concatenate(row), added, np.concatenate(coef))
    linear = np.zeros(at)
    products = _no_products()
    if sparse:
        linear[added] = 1.0
    else:
        products = Products(np.zeros(len(added), dtype=int), added, added, np.ones(len(added)))
    return _extended(
        program, tuple(blocks), terms, Objective(linear, products), lo=0.0 if sparse else -np.inf
    )


def support_of(program: Program, x: Array) -> Array:
    """Complex current (n_nodes,) fed in at the nodes, per unit of each node's base."""
    found = np.zeros(len(program.rows["kcl_re"].label), dtype=complex)
    for part, factor in (("re", 1.0), ("im", 1j)):
        for name, sign in (("in", 1.0), ("out", -1.0)):
            if (block := program.variables.get(f"support_{part}_{name}")) is not None:
                found += sign * factor * x[block.span]
    return found


def numbers_for(elastic: Program, numbers: Numbers, rows: Array, support: Array | None = None) -> Numbers:
    """The tick's numbers, with bounds of the slacks; limits start with the slack that they lack.

    rows     that may give
    support  (n_nodes,) complex, per unit, to start from; default: none
    """
    own = elastic.numbers
    n = len(numbers.x_lo)
    joined = Numbers(
        np.concatenate([numbers.x_lo, own.x_lo[n:]]),
        np.concatenate([numbers.x_hi, own.x_hi[n:]]),
        numbers.row_lo.copy(),
        numbers.row_hi.copy(),
        np.concatenate([numbers.x0, np.zeros(elastic.n - n)]),
    )
    blocks = elastic.variables
    if "slack_up" in blocks:
        found = elastic.constraints(joined.x0)[rows]
        joined.x0[blocks["slack_up"].span] = np.maximum(joined.row_lo[rows] - found, 0.0)
        joined.x0[blocks["slack_down"].span] = np.maximum(found - joined.row_hi[rows], 0.0)
    if support is not None:
        for name, sign in (("in", 1.0), ("out", -1.0)):
            for part, size in (("re", support.real), ("im", support.imag)):
                if (block := blocks.get(f"support_{part}_{name}")) is not None:
                    joined.x0[block.span] = np.maximum(sign * size, elastic.numbers.x_lo[block.span])
    return joined


def _extended(
    program: Program, blocks: tuple[Block, ...], terms: Terms, objective: Objective, *, lo: float
) -> Program:
    """The programme with more variables and another objective."""
    more = blocks[-1].stop - program.n
    old, linear = program.numbers, program.linear
    fill = np.full(more, lo), np.full(more, np.inf), np.zeros(more)
    bounds = (np.concatenate([a, b]) for a, b in zip((old.x_lo, old.x_hi, old.x0), fill, strict=True))
    x_lo, x_hi, x0 = bounds
    pairs = zip(vars(linear).values(), vars(terms).values(), strict=True)
    return replace(
        program,
        n=program.n + more,
        objectives=(objective,),
        stage=-1,
        linear=Terms(*(np.concatenate(pair) for pair in pairs)),
        variables={**program.variables, **{block.name: block for block in blocks}},
        numbers=Numbers(x_lo, x_hi, old.row_lo.copy(), old.row_hi.copy(), x0),
    )


def _no_products() -> Products:
    none = np.zeros(0, dtype=int)
    return Products(none, none, none, np.zeros(0))
