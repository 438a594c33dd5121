"""Newton systems of a `Program`'s barrier problems: analysed once, then factorised again and again.

One system per iterate (`dms.barrier`), symmetric, in the variables and all rows:

    [W + Sigma   J'] [dx]   [rx]
    [J           -C] [dy] = [ry]

W Hessian of the Lagrangian, Sigma >= 0 barrier terms of the variables, C >= 0 compliance of the rows: zero
for an equation, (slack / multiplier) for a range. Rows of limits have few entries and are taken out first,
dy = (J dx - ry) / C; what is left is factorised as L D L' in an order that is chosen once (QDLDL with AMD).
Small shifts (+ on the variables, - on the rows) keep that order stable whatever the numbers (Vanderbei,
"Symmetric quasidefinite matrices", SIAM J. Optim. 5, 1995); steps of minimal residual on the system as it
is, preconditioned by the shifted factors, take them out again.
"""

from __future__ import annotations

import weakref

import numpy as np
import qdldl
import scipy.sparse as sp

from dms.program import Program
from feeders.table import Array

WIDEST_ELIMINATED = 12
"""Entries of the widest limit row that is taken out: a row of w entries leaves w^2 in the variables."""
FLOOR = 1e-4
"""What a convexity of one adds to variables that W is flat in."""
SHIFT = 1e-8
"""Added to the variables' diagonal and taken from the rows', of the system divided by `scale`."""
REFINEMENTS = 12
"""Most steps of minimal residual per solution; one or two is usual."""


class NewtonSystem:
    """Pattern, index maps and factors for one `Program`; values change with every `assemble`."""

    def __init__(self, program: Program) -> None:
        self.n, self.m = program.n, program.m
        row, col = program.jacobian_structure
        h_row, h_col = program.hessian_structure
        self.jacobian = _sorted_csr(row, col, (self.m, self.n))
        self.hessian = _sorted_csr(h_row, h_col, (self.n, self.n))
        on_diagonal = np.flatnonzero(h_row == h_col)
        self._square, self._square_of = on_diagonal, h_row[on_diagonal]
        eliminated = np.zeros(self.m, dtype=bool)
        eliminated[program.row_indices("limit")] = True
        eliminated &= np.bincount(row, minlength=self.m) <= WIDEST_ELIMINATED
        self.eliminated, self.kept = np.flatnonzero(eliminated), np.flatnonzero(~eliminated)
        self._compile(row, col, h_row, h_col, ~eliminated)
        # An order is chosen, and storage set up, for numbers that cannot have a zero pivot.
        self._upper.data[self._at_diagonal] = np.where(np.arange(self._upper.shape[0]) < self.n, 1.0, -1.0)
        self._factors = qdldl.Solver(self._upper, upper=True)
        self.scale = 1.0

    def _compile(self, row: Array, col: Array, h_row: Array, h_col: Array, kept: Array) -> None:
        """Places of every contribution among the values of the upper triangle, by columns."""
        dim = self.n + len(self.kept)
        self._of_kept = np.flatnonzero(kept[row])
        bordered = self.n + (np.cumsum(kept) - 1)[row[self._of_kept]]
        self._pair_row, self._pair_a, self._pair_b = self._pairs()
        one, other = col[self._pair_a], col[self._pair_b]
        diagonal = np.arange(dim)
        column = np.concatenate([h_row, diagonal, bordered, np.maximum(one, other)]).astype(np.int64)
        within = np.concatenate([h_col, diagonal, col[self._of_kept], np.minimum(one, other)])
        keys, place = np.unique(column * dim + within, return_inverse=True)
        starts = np.cumsum([len(h_row), dim, len(bordered)])
        self._at_hessian, self._at_diagonal, self._at_jacobian, at_pair = np.split(place, starts)
        columns, rows = np.divmod(keys, dim)
        pattern = _sorted_csr(columns, rows, (dim, dim))
        self._upper = sp.csc_matrix((pattern.data, pattern.indices, pattern.indptr), shape=(dim, dim))
        self._at_pairs, which = np.unique(at_pair, return_inverse=True)
        shape = (len(self._at_pairs), len(which))
        self._sum_pairs = sp.csr_matrix((np.ones(len(which)), (which, np.arange(len(which)))), shape=shape)

    def _pairs(self) -> tuple[Array, Array, Array]:
        """Row and the two Jacobian entries of every product that an eliminated row leaves."""
        start, width = self.jacobian.indptr[:-1], np.diff(self.jacobian.indptr)
        found = [(np.zeros(0, dtype=int),) * 3]
        for w in np.unique(width[self.eliminated]):
            rows = self.eliminated[width[self.eliminated] == w]
            a, b = np.tril_indices(w)
            at = start[rows][:, None]
            found.append((np.repeat(rows, len(a)), (at + a).ravel(), (at + b).ravel()))
        row, one, other = (np.concatenate(part) for part in zip(*found, strict=True))
        return row, one, other

    def assemble(
        self, hessian: Array, jacobian: Array, sigma: Array, compliance: Array, scale: float
    ) -> None:
        """Numbers of a system; all but the Jacobian are divided by `scale`, the size of the multipliers.

        hessian, jacobian  values on the programme's structures       sigma (n,), compliance (m,)
        """
        self.scale = scale
        self.jacobian.data[:] = jacobian
        self.hessian.data[:] = hessian / scale
        self._sigma, self._compliance = sigma / scale, compliance * scale
        self._stiffness = np.zeros(self.m)
        self._stiffness[self.eliminated] = 1 / (self._compliance[self.eliminated] + SHIFT)
        pairs = jacobian[self._pair_a] * jacobian[self._pair_b] * self._stiffness[self._pair_row]
        values = self._upper.data
        values[:] = 0.0
        values[self._at_hessian] = self.hessian.data
        values[self._at_jacobian] = jacobian[self._of_kept]
        values[self._at_diagonal] += np.concatenate([self._sigma, -self._compliance[self.kept]])
        values[self._at_pairs] += self._sum_pairs @ pairs
        self._diagonal = values[self._at_diagonal]
        size = abs(self.hessian)
        self._bend = size @ np.ones(self.n) + size.T @ np.ones(self.n)
        self._bend[self._square_of] -= size.data[self._square]
        self._shift = np.concatenate([np.full(self.n, SHIFT), np.full(len(self.kept), -SHIFT)])

    def factorise(self, convexity: float = 0.0) -> bool:
        """Factors of the system with a positive diagonal added to W.

        convexity  0 adds nothing; 1 makes every row of W dominated by its diagonal, but for the linear
                   variables, which get a little; more adds to those only

        Returns  the inertia is right: as many positive pivots as variables and as many negative as rows, so
                 that W + Sigma is positive along the rows and the step one of descent
        """
        self._convexity = min(convexity, 1.0) * self._bend + convexity * FLOOR
        self._upper.data[self._at_diagonal] = self._diagonal + self._shift
        self._upper.data[self._at_diagonal[: self.n]] += self._convexity
        self._factors.update(self._upper, upper=True)
        _, pivots, _ = self._factors.factors()
        # A zero pivot ends the factorisation and stays among the pivots.
        right = np.count_nonzero(pivots > 0) == self.n and np.count_nonzero(pivots < 0) == len(self.kept)
        return bool(right and np.isfinite(pivots).all())

    def solve(self, rx: Array, ry: Array, tolerance: float) -> tuple[Array, Array]:
        """dx (n,) and dy (m,) of the system, to a residual of `tolerance` times the right-hand side's.

        Generalised conjugate residuals (Eisenstat, Elman and Schultz, SIAM J. Numer. Anal. 20, 1983).
        """
        n = self.n
        residual = np.concatenate([rx / self.scale, ry])
        solution = np.zeros(n + self.m)
        aim = tolerance * np.linalg.norm(residual)
        steps: list[tuple[Array, Array]] = []
        while len(steps) < REFINEMENTS and np.linalg.norm(residual) > aim:
            step = self._precondition(residual[:n], residual[n:])
            image = self._product(step[:n], step[n:])
            for earlier, image_earlier in steps:
                along = image_earlier @ image
                image, step = image - along * image_earlier, step - along * earlier
            length = np.linalg.norm(image)
            if not (np.isfinite(length) and length > 0):
                break
            image, step = image / length, step / length
            gain = image @ residual
            solution += gain * step
            residual -= gain * image
            steps.append((step, image))
        return solution[:n], solution[n:] * self.scale

    def _precondition(self, rx: Array, ry: Array) -> Array:
        """The shifted system solved by its factors."""
        stiff = self._stiffness * ry
        found = self._factors.solve(np.concatenate([rx + self.jacobian.T @ stiff, ry[self.kept]]))
        dx = found[: self.n]
        dy = self._stiffness * (self.jacobian @ dx) - stiff
        dy[self.kept] = found[self.n :]
        return np.concatenate([dx, dy])

    def _product(self, dx: Array, dy: Array) -> Array:
        """The system as it is, times a vector."""
        h = self.hessian
        top = h @ dx + h.T @ dx + (self._sigma + self._convexity) * dx + self.jacobian.T @ dy
        top[self._square_of] -= h.data[self._square] * dx[self._square_of]
        return np.concatenate([top, self.jacobian @ dx - self._compliance * dy])


_SYSTEMS: dict[int, NewtonSystem] = {}


def system_of(program: Program) -> NewtonSystem:
    """The programme's system, compiled once for all its stages; it goes with the programme."""
    key = id(program.linear)  # the stages of a programme share their terms, and so their pattern
    if key not in _SYSTEMS:
        _SYSTEMS[key] = NewtonSystem(program)
        weakref.finalize(program.linear, _SYSTEMS.pop, key, None)
    return _SYSTEMS[key]


def _sorted_csr(row: Array, col: Array, shape: tuple[int, int]) -> sp.csr_matrix:
    """A matrix of zeros on a pattern that is sorted by row, its values in the pattern's order."""
    starts = np.searchsorted(row, np.arange(shape[0] + 1)).astype(np.int32)
    return sp.csr_matrix((np.zeros(len(row)), col.astype(np.int32), starts), shape=shape)
