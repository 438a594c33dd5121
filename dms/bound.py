"""A proven lower bound of a tick's objective, where one can be had: how far from the *global* optimum?

The problem is not convex, and where reverse power binds the usual relaxations (SDP, second-order cone)
are loose: they burn the surplus in losses that do not exist. This bound uses what they throw away: every
feasible state obeys the same power laws.

Let x* be the point found, f* its objective, and compare it with any feasible x = x* + delta of no larger
objective. With multipliers lambda of the limits (of the right sign, otherwise dropped) and those of all
laws by an adjoint solve, the Lagrangian is quadratic and stationary in the states, so exactly

    f(x) >= f* + sum_r lambda_r (c_r(x*) - b_r) + rho . du + 1/2 delta' H delta           (a)

du  change of the controls, rho  reduced gradient, H  Hessian of the Lagrangian (its cost part C apart)

Linear laws give every state from the currents i drawn, so delta' H delta = 2 d^H W d with d = i - i* complex
and W Hermitian. Each device's power law u conj(i) = s, once at x and once at x*, gives

    u conj(d) = ds - (u - u*) conj(i*)   =>   |d| <= D (|ds| + |i*| |Z| |d|),  D = 1 / (floor of |u|)   (b)

with Z the impedance matrix between devices. Where the spectral radius of K = D |i*| |Z| is below one,

    |d| <= E |du|,   E = (I - K)^-1 D T,   |ds| <= T |du|                                   (c)

*for every feasible state with |u| above its floor*, on whatever branch of the power flow. What is negative in
(a) is then at least -1/2 |du|' M |du| with M = 2 E' |W_neg| E, and (a) is minimised over du alone: bounds,
rows that hold controls only (the peak of Linf), and f(x) <= f*.

Floors: the band in force of the voltage across a device, if it has one. Elsewhere (a delta device where only
voltages to earth are limited, nodes without a band) `ASSUMED_FLOOR` of the voltage found is *assumed*; the
number of such devices is reported, and the bound holds among states that keep it. Arithmetic is double
precision, not interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog
from scipy.sparse.linalg import splu

from dms.kkt import BANDS, Elimination, Multipliers
from dms.program import Numbers, Program
from feeders.table import Array

ASSUMED_FLOOR = 0.85
"""Of the voltage found across a device whose lower limit follows from no band."""
MOST_DEVICES = 1500
"""Devices that draw or feed in; beyond, the dense matrices take minutes."""
CONTRACTION = 0.95
"""Spectral radius of K beyond which (c) is not worth having."""
FLOOR_ROUNDS = 4
"""Times that (c) raises the floors, and is formed anew with them."""
STRUCTURE_RTOL = 1e-7


class NoBoundError(ValueError):
    """No bound can be had for this programme; the message says why."""


@dataclass(frozen=True)
class LowerBound:
    """Lower bound of the objective over all feasible points (nan: none, see `reason`).

    gap          (objective - value) / objective; 1 where only the trivial bound zero is left
    contraction  spectral radius of K: below one, feasible states are near each other
    assumed      devices whose lower voltage is assumed
    """

    value: float
    gap: float
    contraction: float
    assumed: int
    reason: str = ""


def lower_bound(
    program: Program, numbers: Numbers, x: Array, multipliers: Multipliers, objective: float
) -> LowerBound:
    """The bound at a point x (n,) with the multipliers of its limits.

    objective  of the set-points as sent: points of no larger objective are compared with x
    """
    try:
        return _lower_bound(program, numbers, x, multipliers, objective)
    except NoBoundError as exc:
        return LowerBound(np.nan, np.nan, np.nan, 0, str(exc))


def _lower_bound(
    program: Program, numbers: Numbers, x: Array, multipliers: Multipliers, objective: float
) -> LowerBound:
    devices = Devices.of(program)
    lagrangian = Lagrangian.at(program, numbers, x, multipliers)
    domain = Domain.of(program, numbers, x, lagrangian, objective)
    response = Response.of(program, x, devices)
    steps, radius, assumed = farthest_currents(program, numbers, x, devices, response, domain)
    rows_hessian = _symmetric(program, program.hessian(x, lagrangian.multipliers, 0.0))
    weight = 2 * steps.T @ response.negative_part(rows_hessian) @ steps
    value = objective - _loss(weight, lagrangian, domain, program.objective(x), objective)
    value = min(max(value, 0.0), objective)
    return LowerBound(value, (objective - value) / objective, radius, assumed)


@dataclass(frozen=True)
class Devices:
    """What draws or feeds in: columns of i_re, i_im and rows of p, q, (k,) each; voltage u x, u (k, n)."""

    re: Array
    im: Array
    p: Array
    q: Array
    u: sp.csr_matrix

    @staticmethod
    def of(program: Program) -> Devices:
        """From the blocks of the programme.

        Raises  NoBoundError  something is drawn that is no current with constant power
        """
        parts: list[list[Array]] = [[], [], [], []]
        for name, block in program.variables.items():
            if block.role != "drawn":
                continue
            rows = tuple(f"{part}_{name[2:-3]}" for part in "pq")
            if not name.startswith("i_") or any(row not in program.rows for row in rows):
                raise NoBoundError(f"`{name}` is drawn and is no current of constant power")
            if name.endswith("_re"):
                twins = block, program.variables[f"{name[:-3]}_im"], *(program.rows[row] for row in rows)
                if len({len(twin.label) for twin in twins}) > 1:
                    raise NoBoundError(f"`{name}`: a device stands between earth and earth")
                for part, twin in zip(parts, twins, strict=True):
                    part.append(twin.index)
        re, im, p, q = (np.concatenate(part) if part else np.zeros(0, dtype=int) for part in parts)
        if not 0 < len(re) <= MOST_DEVICES:
            raise NoBoundError(f"{len(re)} devices; a bound is tried for 1 to {MOST_DEVICES}")
        if len(re) + len(im) != len(program.columns("drawn")) or len(program.powers.row):
            raise NoBoundError("loads that follow the voltage")
        u = (_across(program, p, re) + 1j * _across(program, p, im)).tocsr()
        in_q = _across(program, q, im) + 1j * _across(program, q, re)
        if abs(in_q + u.conj()).max() > STRUCTURE_RTOL:  # q = u_im i_re - u_re i_im
            raise NoBoundError("a power that is not u conj(i)")
        return Devices(re, im, p, q, u)


def _across(program: Program, rows: Array, columns: Array) -> sp.csr_matrix:
    """Coefficient of columns (k,) in rows (k,), itself linear in x: matrix (k, n)."""
    q = program.products
    place = np.full(program.m, -1)
    place[rows] = np.arange(len(rows))
    here = place[q.row] >= 0
    row, i, j, coef = place[q.row[here]], q.i[here], q.j[here], q.coef[here]
    first, second = columns[row] == i, columns[row] == j
    entries = np.concatenate([coef[first], coef[second]])
    at = np.concatenate([row[first], row[second]]), np.concatenate([j[first], i[second]])
    return sp.csr_matrix((entries, at), shape=(len(rows), program.n))


@dataclass(frozen=True)
class Lagrangian:
    """multipliers (m,) of all dualised rows; constant and reduced gradient (n,) of (a); kept rows (k,)."""

    multipliers: Array
    constant: float
    gradient: Array
    kept: Array

    @staticmethod
    def at(program: Program, numbers: Numbers, x: Array, multipliers: Multipliers) -> Lagrangian:
        """Limits that hold controls only are kept as they are; the others and all laws are dualised."""
        jacobian, value = program.jacobian_matrix(x), program.constraints(x)
        limits = program.row_indices("limit")
        controls = program.columns("control")
        own = np.zeros(program.n, dtype=bool)
        own[controls] = True
        curved = np.unique(program.products.row)
        foreign = np.unique(jacobian.tocoo().row[~own[jacobian.tocoo().col]])
        kept = np.setdiff1d(limits, np.union1d(curved, foreign))
        dualised = np.setdiff1d(limits, kept)
        found = np.zeros(program.m)
        given = multipliers.rows[dualised]
        given = np.where(np.isfinite(numbers.row_hi[dualised]), given, np.minimum(given, 0.0))
        found[dualised] = np.where(np.isfinite(numbers.row_lo[dualised]), given, np.maximum(given, 0.0))
        gradient = program.gradient(x) + jacobian.T @ found
        found += Elimination.at(program, jacobian).law_multipliers(gradient, program.m)
        end = np.where(found > 0, numbers.row_hi, numbers.row_lo)
        here = found != 0
        constant = float(found[here] @ (value[here] - end[here]))
        return Lagrangian(found, constant, program.gradient(x) + jacobian.T @ found, kept)


@dataclass(frozen=True)
class Domain:
    """What the controls (k,) of any point of no larger objective may be.

    here, low, high   (k,)       columns  their place in x
    linear, square    (k,)       objective's coefficients, cost = linear.x + square.x^2
    budget            the objective that none may exceed
    a, a_lo, a_hi     kept rows  a_lo <= a x <= a_hi
    """

    columns: Array
    here: Array
    low: Array
    high: Array
    linear: Array
    square: Array
    budget: float
    a: sp.csr_matrix
    a_lo: Array
    a_hi: Array

    @staticmethod
    def of(program: Program, numbers: Numbers, x: Array, lagrangian: Lagrangian, objective: float) -> Domain:
        """From the bounds, the kept rows and the objective.

        Raises  NoBoundError  controls meet states in a product, or a cost that is not convex
        """
        columns = program.columns("control")
        columns = columns[numbers.x_lo[columns] < numbers.x_hi[columns]]
        _check_linear(program, numbers, columns)
        cost = _symmetric(program, program.hessian(x, np.zeros(program.m), 1.0))
        square, linear = cost.diagonal()[columns] / 2, program.gradient(x)[columns]
        linear = linear - 2 * square * x[columns]
        off = cost - sp.diags_array(cost.diagonal())
        if off.count_nonzero() or (square < 0).any() or (linear < 0).any():
            raise NoBoundError("the objective is no sum of convex terms that grow with each control")
        low, high = numbers.x_lo[columns], numbers.x_hi[columns]
        budget = max(objective, program.objective(x)) * (1 + 1e-9)
        if (low[(linear > 0) | (square > 0)] < 0).any():
            raise NoBoundError("a control with a cost may be negative")
        with np.errstate(divide="ignore"):
            high = np.minimum(high, np.where(linear > 0, budget / linear, np.inf))
            high = np.minimum(high, np.where(square > 0, np.sqrt(budget / square), np.inf))
        a = program.jacobian_matrix(x)[lagrangian.kept][:, columns]
        high = _propagated(a, numbers.row_lo[lagrangian.kept], low, high)
        here = x[columns]
        low, high = np.minimum(low, here), np.maximum(high, here)  # by rounding
        a_lo, a_hi = numbers.row_lo[lagrangian.kept], numbers.row_hi[lagrangian.kept]
        return Domain(columns, here, low, high, linear, square, budget, a, a_lo, a_hi)

    @property
    def reach(self) -> Array:
        """Largest |du| of each control."""
        return np.maximum(self.high - self.here, self.here - self.low)

    def most(self, a: Array) -> Array:
        """An upper bound of a |du| for every row of a >= 0, by the bounds and by the objective."""
        reach = np.where(np.isfinite(self.reach), self.reach, 1e30)
        in_all = [a @ reach]
        for cost, size in ((self.linear, 2 * self.budget), (np.sqrt(self.square), 2 * np.sqrt(self.budget))):
            paid = cost > 0
            if paid.any():
                share = a[:, paid] / cost[paid]
                largest = share.max(axis=1) if cost is self.linear else np.sqrt((share**2).sum(axis=1))
                in_all.append(size * largest + a[:, ~paid] @ reach[~paid])
        return np.asarray(np.min(in_all, axis=0))


def _check_linear(program: Program, numbers: Numbers, controls: Array) -> None:
    """Laws are linear with held controls at their figures; controls that move stand alone, in power rows."""
    moves = numbers.x_lo < numbers.x_hi
    steered = np.zeros(program.n, dtype=bool)
    steered[controls] = True
    law = np.zeros(program.m, dtype=bool)
    law[program.row_indices("law")] = True
    q, linear = program.products, program.linear
    if (steered[q.i] | steered[q.j]).any():
        raise NoBoundError("a control that moves multiplies something (a free tap, an inverter's circle)")
    if (law[q.row] & moves[q.i] & moves[q.j]).any() or (law[linear.row] & steered[linear.col]).any():
        raise NoBoundError("a law that is not linear in states and currents")


def _propagated(a: sp.csr_matrix, a_lo: Array, low: Array, high: Array) -> Array:
    """Upper bounds tightened once by rows a x >= a_lo: with r >= w c and r bounded, c is."""
    entries = a.tocoo()
    with np.errstate(invalid="ignore"):
        most = np.maximum(entries.data * low[entries.col], entries.data * high[entries.col])
    total = np.bincount(entries.row, most, a.shape[0])
    room = a_lo[entries.row] - (total[entries.row] - most)
    falls = (entries.data < 0) & np.isfinite(room)
    tighter = high.copy()
    np.minimum.at(tighter, entries.col[falls], room[falls] / entries.data[falls])
    return np.maximum(tighter, low)


@dataclass(frozen=True)
class Response:
    """Linear response to currents drawn: x_re, x_im (n, k) of all variables to i_re and i_im of a device.

    z  (k, k) complex: voltage across each device per current of each
    """

    x_re: Array
    x_im: Array
    z: Array

    @staticmethod
    def of(program: Program, x: Array, devices: Devices) -> Response:
        """By the laws that are linear with the controls held.

        Raises  NoBoundError  re and im parts do not answer alike
        """
        laws, states = program.row_indices("law"), program.columns("state")
        jacobian = program.jacobian_matrix(x)[laws].tocsc()
        factor = splu(jacobian[:, states].tocsc())
        x_re, x_im = np.zeros((2, program.n, len(devices.re)))
        for columns, to in ((devices.re, x_re), (devices.im, x_im)):
            to[states] = -factor.solve(jacobian[:, columns].toarray())
            to[columns, np.arange(len(columns))] = 1.0
        z = devices.u @ x_re
        if not np.allclose(devices.u @ x_im, 1j * z, atol=STRUCTURE_RTOL * np.abs(z).max(initial=1e-30)):
            raise NoBoundError("a law that is not linear in complex voltages and currents")
        return Response(x_re, x_im, z)

    def negative_part(self, hessian: sp.csr_matrix) -> Array:
        """N >= 0 (k, k) with 1/2 delta' H delta >= -|d|' N |d| for every complex d.

        N is |W| less what is positive on the diagonal, or |W_neg| of W's negative eigenvalues, whichever
        is smaller.
        """
        on_re, on_im = hessian @ self.x_re, hessian @ self.x_im
        a, c = self.x_re.T @ on_re, self.x_im.T @ on_im
        b = self.x_im.T @ on_re
        scale = STRUCTURE_RTOL * max(np.abs(a).max(initial=0.0), 1e-30)
        if np.abs(a - c).max() > scale or np.abs(b + b.T).max() > scale:
            raise NoBoundError("a limit that is not of complex magnitudes")
        w = (a + c) / 4 + 1j * (b - b.T) / 4
        entries = np.abs(w)
        np.fill_diagonal(entries, np.maximum(-w.diagonal().real, 0.0))
        value, vector = np.linalg.eigh(w)
        negative = np.abs((vector * np.minimum(value, 0.0)) @ vector.conj().T)
        return negative if negative.sum() < entries.sum() else entries


def farthest_currents(
    program: Program, numbers: Numbers, x: Array, devices: Devices, response: Response, domain: Domain
) -> tuple[Array, float, int]:
    """E of (c), (devices, controls); the spectral radius of K; devices whose floor is assumed.

    Once (c) holds, no voltage can be further from u* than |Z| |d| allows; that raises the floors, and
    (c) is formed anew.

    Raises  NoBoundError  feasible states may lie far apart
    """
    u, i = devices.u @ x, x[devices.re] + 1j * x[devices.im]
    z = np.abs(response.z)
    jacobian = program.jacobian_matrix(x)[:, domain.columns]
    powers = np.abs(jacobian[devices.p].toarray() + 1j * jacobian[devices.q].toarray())
    floor, assumed = _floors(program, numbers, devices, np.abs(u))
    radius = _radius(floor, i, z)
    if not radius <= CONTRACTION:
        raise NoBoundError(f"feasible states may lie far apart (contraction {radius:.2g})")
    steps = np.zeros_like(powers)
    for _ in range(FLOOR_ROUNDS):
        k = (np.abs(i) / floor)[:, None] * z
        steps = np.linalg.solve(np.eye(len(i)) - k, powers / floor[:, None])
        steps = np.maximum(steps, 0.0)  # rounding
        floor = np.maximum(floor, np.abs(u) - domain.most(z @ steps))
    return steps, radius, assumed


def _radius(floor: Array, i: Array, z: Array) -> float:
    return float(np.abs(np.linalg.eigvals((np.abs(i) / floor)[:, None] * z)).max(initial=0.0))


def _floors(program: Program, numbers: Numbers, devices: Devices, size: Array) -> tuple[Array, int]:
    """Lowest |u| of every device, and the number of those assumed."""
    lowest = _banded(program, numbers)
    floor, assumed = ASSUMED_FLOOR * size, 0
    across = devices.u.real.tocsr()
    across.eliminate_zeros()
    for k in range(len(floor)):
        entries = slice(across.indptr[k], across.indptr[k + 1])
        columns, coef = across.indices[entries], across.data[entries]
        order = np.argsort(columns)
        base, low = lowest.get(tuple(columns[order].tolist()), (np.ones(len(columns)), 0.0))
        ratio = np.abs(coef[order]) / base
        differs = len(coef) == 2 and coef[0] * coef[1] > 0  # a sum, where the band is of a difference
        if low > 0 and not differs and np.ptp(ratio) <= STRUCTURE_RTOL * ratio[0]:
            floor[k] = ratio[0] * low
        else:
            assumed += 1
    return floor, assumed


def _banded(program: Program, numbers: Numbers) -> dict[tuple[int, ...], tuple[Array, float]]:
    """Columns of v_re in a band's row -> their coefficients in the voltage, and its lower limit."""
    found: dict[tuple[int, ...], tuple[Array, float]] = {}
    q, v_re = program.products, program.variables["v_re"]
    for name in BANDS:
        if name not in program.rows:
            continue
        band = program.rows[name]
        mine = (q.row >= band.start) & (q.row < band.stop) & (q.i == q.j)
        mine &= (q.i >= v_re.start) & (q.i < v_re.stop)
        order = np.lexsort((q.i[mine], q.row[mine]))
        row, column, coef = (part[mine][order] for part in (q.row, q.i, q.coef))
        first = np.flatnonzero(np.diff(row, prepend=-1))
        for r, c, w in zip(row[first], np.split(column, first[1:]), np.split(coef, first[1:]), strict=True):
            low = float(np.sqrt(np.maximum(numbers.row_lo[r], 0.0)))
            found[tuple(c.tolist())] = np.sqrt(w), low
    return found


def _loss(weight: Array, lagrangian: Lagrangian, domain: Domain, found: float, objective: float) -> float:
    """objective - bound: minus the minimum of (a) over the domain, the better of two estimates."""
    rho = lagrangian.gradient[domain.columns]
    gains = [_by_chords(weight, rho, domain)]
    if (domain.square[weight.any(axis=0)] > 0).all():
        gains.append(_by_curvature(weight, rho, domain))
    return objective - found - lagrangian.constant - max(gains)


def _by_chords(weight: Array, rho: Array, domain: Domain) -> float:
    """min of rho.du - 1/2 sum_j m_j |du_j|, m = most of M |du|, each concave term by its chord: an LP."""
    m = domain.most(weight)
    low, high = domain.low - domain.here, np.minimum(domain.high - domain.here, 1e30)
    width = np.maximum(high - low, 1e-300)
    slope = -0.5 * m * (high + low) / width  # from -m/2 |low| to -m/2 high
    level = 0.5 * m * low - slope * low
    cost = rho + slope
    here = domain.a @ domain.here
    upper, lower = np.isfinite(domain.a_hi), np.isfinite(domain.a_lo)
    rows = [domain.a[upper], -domain.a[lower]]
    ends = [(domain.a_hi - here)[upper], (here - domain.a_lo)[lower]]
    if domain.linear.any():
        rows.append(sp.csr_matrix(domain.linear[None, :]))
        ends.append(np.array([domain.budget - domain.linear @ domain.here]))
    a, b = sp.vstack(rows).toarray(), np.maximum(np.concatenate(ends), 0.0)
    bounds = [(lo, None if hi >= 1e30 else hi) for lo, hi in zip(low.tolist(), high.tolist(), strict=True)]
    answer = linprog(cost, A_ub=a, b_ub=b, bounds=bounds, method="highs")
    if answer.status != 0:
        raise NoBoundError(f"the linear programme of the bound has no answer: {answer.message}")
    # By weak duality any y <= 0 gives a bound: HiGHS's tolerances cannot make it too good.
    y = np.minimum(answer.ineqlin.marginals, 0.0)
    left = cost - a.T @ y
    return float(y @ b + np.minimum(left * low, left * high).sum() + level.sum())


def _by_curvature(weight: Array, rho: Array, domain: Domain) -> float:
    """min of rho.du + sum_j (square_j - top square_j) du_j^2, top the largest eigenvalue of M by the cost's.

    1/2 |du|' M |du| <= top sum_j square_j du_j^2; where top <= 1 the Lagrangian is convex in effect, and
    a stationary point is the global optimum.
    """
    paid = weight.any(axis=0)
    root = np.sqrt(2 * domain.square[paid])
    top = (
        float(np.linalg.eigvalsh(weight[np.ix_(paid, paid)] / np.outer(root, root))[-1])
        if paid.any()
        else 0.0
    )
    curve = domain.square - np.where(paid, top * domain.square, 0.0)
    low, high = domain.low - domain.here, domain.high - domain.here
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.clip(np.where(curve > 0, -rho / (2 * curve), 0.0), low, high)
        ends = [rho * point + curve * point**2 for point in (low, high, turn)]
    return float(np.fmin.reduce(ends).sum())


def _symmetric(program: Program, values: Array) -> sp.csr_matrix:
    lower = sp.coo_matrix((values, program.hessian_structure), shape=(program.n, program.n)).tocsr()
    return (lower + sp.tril(lower, -1).T).tocsr()
