"""What an optimum answers to: its active set, what each control does to a limit, what a limit is worth.

Nothing electrical: a `Program` split by role into states s and controls u with laws F(s, u) = 0, and a
point with multipliers, of the unscaled objective and signed as Ipopt signs them:

    grad f + J' lambda - z_lo + z_hi = 0,     lambda > 0 at an upper limit, < 0 at a lower one
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, cg, splu

from dms.interior import InteriorPoint
from dms.norms import KEPT_PU
from dms.program import Numbers, Program
from feeders.table import Array

LEAST_SHARE = 1e-4
"""A limit whose multiplier is less than this share of the largest is taken as not active."""
DEPENDENT = 1e-5
"""Relative singular value below which active limits ask the same: each then carries an equal part."""
UNDETERMINED = 1e-3
"""Part of a figure that may rest on controls that the optimum leaves free, before it counts as unknown."""
ROUNDING = 1e-12
"""Share of a figure that is none."""
BATCH = 64
"""Adjoint solves at a time; each takes a dense column as long as the states."""
CG_ITERATIONS = 200


@dataclass(frozen=True)
class Active:
    """What holds with equality at an optimum.

    rows  (m,) bool  laws, and limits with a multiplier        free  (n,) bool  variables between their bounds
    """

    rows: Array
    free: Array


def network_rows(program: Program) -> Array:
    """Rows of limits in which a state of the circuit appears, ascending; the others bind controls alone."""
    row, col = program.jacobian_structure
    electrical = np.zeros(program.m, dtype=bool)
    state = np.zeros(program.n, dtype=bool)
    state[program.columns("state", "drawn")] = True
    electrical[row[state[col]]] = True
    limits = program.row_indices("limit")
    return np.asarray(limits[electrical[limits]])


def own_rows(program: Program) -> Array:
    """Rows of limits on controls alone, such as the peak of linf, ascending."""
    return np.setdiff1d(program.row_indices("limit"), network_rows(program))


def active_set(program: Program, numbers: Numbers, point: InteriorPoint) -> Active:
    """Limits and bounds that hold with equality: multiplier and gap compared, each by its own scale.

    At an interior point multiplier x gap is the same small number for all, so the larger of the two tells.
    """
    x, multiplier = point.x, np.abs(point.row_multipliers)
    found = program.constraints(x)
    gap = np.minimum(found - numbers.row_lo, numbers.row_hi - found)
    controls = program.columns("control")
    size = max(float(np.abs(x[controls]).max(initial=0.0)), 1e-12)
    steepest = float(np.abs(program.gradient(x)[controls]).max(initial=0.0))
    rows = np.zeros(program.m, dtype=bool)
    rows[program.row_indices("law", "power")] = True
    network, own = network_rows(program), own_rows(program)
    share = _share(multiplier[network], 1e-6 * steepest)
    rows[network] = (share > LEAST_SHARE) & (share > gap[network])
    rows[own] = _share(multiplier[own], 1e-3 * steepest) > gap[own] / size
    held = np.maximum(np.abs(point.lower_multipliers), np.abs(point.upper_multipliers))
    room = np.minimum(x - numbers.x_lo, numbers.x_hi - x)
    fixed = numbers.x_hi <= numbers.x_lo
    on_bound = np.zeros(program.n, dtype=bool)
    on_bound[controls] = _share(held[controls], 1e-3 * steepest) > room[controls] / size
    return Active(rows, ~(fixed | on_bound))


def _share(values: Array, least: float) -> Array:
    """Of the largest, or of what counts as large in any case."""
    return np.asarray(values / max(float(values.max(initial=0.0)), least, 1e-300))


class Reduced:
    """The programme seen from its controls, the states following by the laws: ds = -F_s^-1 F_u du.

    Raises  RuntimeError  the laws are singular at x
    """

    def __init__(self, program: Program, x: Array) -> None:
        self.program, self.x = program, x
        self.controls = program.columns("control")
        self._states = program.columns("state", "drawn")
        self._jacobian = program.jacobian_matrix(x)
        laws = self._jacobian[program.row_indices("law", "power")]
        self._factor = splu(laws[:, self._states].tocsc())
        self._by_control = laws[:, self.controls].tocsc()
        self._gradients: dict[int, Array] = {}

    def gradient(self, rows: Array) -> Array:
        """dh/du = h_u - h_s F_s^-1 F_u of rows, (len(rows), n_controls), by one adjoint solve a row.

        Rows without states, those of norms, need none; and a row that is asked for again needs no other.
        """
        new = np.array([row for row in rows if row not in self._gradients], dtype=int)
        limits = self._jacobian[new]
        found, by_state = limits[:, self.controls].toarray(), limits[:, self._states]
        on_states = np.flatnonzero(np.diff(by_state.indptr))
        for first in range(0, len(on_states), BATCH):
            some = on_states[first : first + BATCH]
            adjoint = self._transposed(by_state[some].T.toarray())
            found[some] -= (self._by_control.T @ adjoint).T
        self._gradients.update(zip(new.tolist(), found, strict=True))
        return np.array([self._gradients[row] for row in rows.tolist()]).reshape(len(rows), -1)

    def curvature(self, hessian: sp.csr_matrix, moved: Array) -> Array:
        """Z' H Z du: the Lagrangian's Hessian (n, n) along the laws, applied to a move (n_controls,)."""
        full = np.zeros(self.program.n)
        full[self.controls] = moved
        full[self._states] = -self._factor.solve(self._by_control @ moved)
        bent = hessian @ full
        adjoint = self._transposed(bent[self._states])
        return np.asarray(bent[self.controls] - self._by_control.T @ adjoint)

    def _transposed(self, right: Array) -> Array:
        """a from F_s' a = right."""
        return np.asarray(self._factor.solve(right, trans="T"))  # type: ignore[call-overload]


def worth(
    reduced: Reduced, point: InteriorPoint, active: Active, figure: Array, pinned: Array
) -> tuple[Array, Array]:
    """d(figure.u) / d(bound) at the optimum, for the bounds of active rows and of pinned controls.

    figure  (n_controls,)  weights of the controls in what is asked for, such as 1 for every curtailment
    pinned  (n_pinned,) int, controls that stand at a bound, among `reduced.controls`
    Returns (m,), zero where a row is not active, and (n_pinned,)

    How an optimum moves with a bound is the derivative of its KKT conditions on the active set, reduced to
    the free controls: B = Z' H Z, A the active limits. Its matrix is symmetric, so that one solve with
    the figure on the right gives the answer mu for all bounds at once:

        [ B  A' ] [ y  ]   [ figure ]
        [ A  0  ] [ mu ] = [ 0      ]

    Limits that ask the same of the controls share what moving all of them is worth. Where the norm does not
    curve (l1, linf), B is the weak curvature of the laws alone; a figure that depends on it holds for no
    practical step, and is NaN.
    """
    program, controls = reduced.program, reduced.controls
    free, limits = active.free[controls], program.row_indices("limit")
    free[pinned] = True
    at = limits[active.rows[limits]]
    lagrangian = _lagrangian(program, point)
    bend = _own_bend(program, lagrangian)[controls][free]
    counted = figure[free] != 0
    curved = bool(counted.any() and (bend[counted] > 0).all())
    scale = 1 / np.sqrt(np.where(bend > 0, bend, 1.0)) if curved else np.ones(len(bend))
    pins = np.zeros((len(pinned), len(controls)))
    pins[np.arange(len(pinned)), pinned] = 1.0
    held = Held(np.vstack([reduced.gradient(at), pins])[:, free] * scale)
    goal = figure[free] * scale
    rest = held.along(goal)
    if np.linalg.norm(rest) <= ROUNDING * np.linalg.norm(goal):
        pass  # the limits hold all of it, and what is left to solve for is rounding
    elif curved:

        def bent(vector: Array) -> Array:
            moved = np.zeros(len(controls))
            moved[free] = vector * scale
            return reduced.curvature(lagrangian, moved)[free] * scale

        n = len(goal)
        operator = LinearOperator((n, n), matvec=lambda v: held.along(bent(held.along(v))), dtype=float)
        y, failed = cg(operator, rest, rtol=1e-6, maxiter=CG_ITERATIONS)
        goal = np.full(n, np.nan) if failed else goal - bent(held.along(y))
    elif np.linalg.norm(rest) > UNDETERMINED * np.linalg.norm(goal):
        goal = np.full(len(goal), np.nan)
    mu, of_rows = held.multipliers(goal), np.zeros(program.m)
    of_rows[at] = mu[: len(at)]
    return of_rows, mu[len(at) :]


class Held:
    """Limits (rows of `asked`) that a move must not touch, and the multipliers that hold it back.

    The projection must be exact: one that gives by a trifle lets limits that are all but opposed move along
    their difference, and what that is worth is then off by orders of magnitude (case 2, linf_l2).
    """

    def __init__(self, asked: Array) -> None:
        length = np.linalg.norm(asked, axis=1)
        self._length = np.where(length > 0, length, np.inf)
        left, size, right = np.linalg.svd(asked / self._length[:, None], full_matrices=False)
        kept = size > DEPENDENT * size.max(initial=0.0)
        self._basis, self._back = right[kept], left[:, kept] / size[kept]

    def along(self, move: Array) -> Array:
        """The part of a move that changes no limit."""
        return np.asarray(move - self._basis.T @ (self._basis @ move))

    def multipliers(self, pull: Array) -> Array:
        """mu with asked' mu nearest to a pull, equal for rows that are alike."""
        return np.asarray(self._back @ (self._basis @ pull) / self._length)


def _own_bend(program: Program, lagrangian: sp.csr_matrix) -> Array:
    """Second derivative (n,) of the objective along each variable, that of a kept export at its curtailment.

    kept KEPT_PU + P_C = P_export: the utility of alpha_fair curves in the one, and so in the other.
    """
    bend, blocks = lagrangian.diagonal(), program.variables
    if "kept" in blocks:
        bend[blocks["p_curtail"].span] += bend[blocks["kept"].span] / KEPT_PU**2
    return np.asarray(bend)


def _lagrangian(program: Program, point: InteriorPoint) -> sp.csr_matrix:
    """Hessian of the Lagrangian, both triangles."""
    values = program.hessian(point.x, point.row_multipliers, 1.0)
    lower = sp.coo_matrix((values, program.hessian_structure), shape=(program.n, program.n)).tocsr()
    return lower + sp.tril(lower, -1).T
