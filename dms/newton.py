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

import numpy as np
import qdldl
import scipy.sparse as sp

from dms.compact import Compact
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

    def __init__(self, program: Compact) -> None:
        self.n, self.m = program.n, program.m
        row, col = program.jacobian_structure
        h_row, h_col = program.hessian_structure
        # The Hessian's lower triangle over the Jacobian: one product serves both.
        stacked = np.concatenate([h_row, self.n + row]), np.concatenate([h_col, col])
        self._stacked = _sorted_csr(*stacked, (self.n + self.m, self.n))
        self._bent = len(h_row)
        self._size = _sorted_csr(h_row, h_col, (self.n, self.n))
        self.jacobian = _sorted_csr(row, col, (self.m, self.n))
        on_diagonal = np.flatnonzero(h_row == h_col)
        self._square, self._square_of = on_diagonal, h_row[on_diagonal]
        eliminated = np.zeros(self.m, dtype=bool)
        eliminated[program.row_indices("limit")] = True
        eliminated &= np.bincount(row, minlength=self.m) <= WIDEST_ELIMINATED
        self.eliminated, self.kept = np.flatnonzero(eliminated), np.flatnonzero(~eliminated)
        self._of_eliminated = np.flatnonzero(eliminated[row])
        place = (np.cumsum(eliminated) - 1)[row[self._of_eliminated]]
        self._limits = _sorted_csr(place, col[self._of_eliminated], (len(self.eliminated), self.n))
        self._compile(row, col, h_row, h_col, ~eliminated)
        # An order is chosen, and storage set up, for numbers that cannot have a zero pivot.
        self._upper.data[self._at_diagonal] = np.where(np.arange(self._upper.shape[0]) < self.n, 1.0, -1.0)
        self._factors = qdldl.Solver(self._upper, upper=True)
        self._shift = np.where(np.arange(self._upper.shape[0]) < self.n, SHIFT, -SHIFT)
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
        """Place of the row, and the two Jacobian entries, of every product that an eliminated row leaves."""
        start, width = self.jacobian.indptr[:-1], np.diff(self.jacobian.indptr)
        found = [(np.zeros(0, dtype=int),) * 3]
        for w in np.unique(width[self.eliminated]):
            places = np.flatnonzero(width[self.eliminated] == w)
            a, b = np.tril_indices(w)
            at = start[self.eliminated[places]][:, None]
            found.append((np.repeat(places, len(a)), (at + a).ravel(), (at + b).ravel()))
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
        hessian = hessian / scale
        self._stacked.data[: self._bent], self._stacked.data[self._bent :] = hessian, jacobian
        self._limits.data[:] = jacobian[self._of_eliminated]
        self._sigma, self._compliance = sigma / scale, compliance * scale
        self._stiffness = 1 / (self._compliance[self.eliminated] + SHIFT)
        pairs = jacobian[self._pair_a] * jacobian[self._pair_b] * self._stiffness[self._pair_row]
        values = self._upper.data
        values[:] = 0.0
        values[self._at_hessian] = hessian
        values[self._at_jacobian] = jacobian[self._of_kept]
        values[self._at_diagonal] += np.concatenate([self._sigma, -self._compliance[self.kept]])
        values[self._at_pairs] += self._sum_pairs @ pairs
        self._diagonal = values[self._at_diagonal]
        self._bend: Array | None = None

    def factorise(self, convexity: float = 0.0) -> bool:
        """Factors of the system with a positive diagonal added to W.

        convexity  0 adds nothing; 1 makes every row of W dominated by its diagonal, but for the linear
                   variables, which get a little; more adds to those only

        Returns  the inertia is right: as many positive pivots as variables and as many negative as rows, so
                 that W + Sigma is positive along the rows and the step one of descent
        """
        self._convexity = self._added(convexity)
        diagonal = self._diagonal + self._shift
        diagonal[: self.n] += self._convexity
        self._upper.data[self._at_diagonal] = diagonal
        self._factors.update(self._upper, upper=True)
        _, pivots, _ = self._factors.factors()
        # A zero pivot ends the factorisation and stays among the pivots.
        right = np.count_nonzero(pivots > 0) == self.n and np.count_nonzero(pivots < 0) == len(self.kept)
        return bool(right and np.isfinite(pivots).all())

    def _added(self, convexity: float) -> Array:
        """(n,) what a convexity adds to the diagonal of W."""
        if convexity == 0.0:
            return np.zeros(self.n)
        if self._bend is None:
            self._size.data[:] = np.abs(self._stacked.data[: self._bent])
            self._bend = self._size @ np.ones(self.n) + self._size.T @ np.ones(self.n)
            self._bend[self._square_of] -= self._size.data[self._square]
        return min(convexity, 1.0) * self._bend + convexity * FLOOR

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
            step = self._precondition(residual)
            image = self._product(step)
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

    def _precondition(self, r: Array) -> Array:
        """The shifted system solved by its factors."""
        n = self.n
        stiff = self._stiffness * r[n:][self.eliminated]
        found = self._factors.solve(np.concatenate([r[:n] + self._limits.T @ stiff, r[n:][self.kept]]))
        step = np.empty(n + self.m)
        step[:n], step[n + self.kept] = found[:n], found[n:]
        step[n + self.eliminated] = self._stiffness * (self._limits @ found[:n]) - stiff
        return step

    def _product(self, d: Array) -> Array:
        """The system as it is, times a vector."""
        n, dx = self.n, d[: self.n]
        image = self._stacked @ dx
        image[:n] += self._stacked.T @ d + (self._sigma + self._convexity) * dx
        image[self._square_of] -= self._stacked.data[self._square] * dx[self._square_of]
        image[n:] -= self._compliance * d[n:]
        return image


def system_of(program: Program) -> NewtonSystem:
    """The programme's system, of its compact form; compiled once for all its stages."""
    return program.once("newton", lambda: NewtonSystem(compact_of(program)))


def compact_of(program: Program) -> Compact:
    """The programme without what is drawn; compiled once for all its stages."""
    return program.once("compact", lambda: Compact(program))


def _sorted_csr(row: Array, col: Array, shape: tuple[int, int]) -> sp.csr_matrix:
    """A matrix of zeros on a pattern that is sorted by row, its values in the pattern's order."""
    starts = np.searchsorted(row, np.arange(shape[0] + 1)).astype(np.int32)
    return sp.csr_matrix((np.zeros(len(row)), col.astype(np.int32), starts), shape=shape)
