"""Interior point: a `Program` solved by Ipopt through cyipopt. Nothing electrical in here."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

import numpy as np

from dms.program import Numbers, Program
from feeders.table import Array

INSTALL_HINT = (
    "cyipopt is not installed; `make venv` builds it, or: pip install 'anoca[ipopt]' with Ipopt >= 3.14 "
    "installed, or: conda install -c conda-forge cyipopt"
)


LEAST_WALL_S = 1e-3
"""Ipopt takes no wall time of zero."""


class IpoptMissingError(ImportError):
    """cyipopt cannot be imported; the message says how to get it."""


class InteriorStatus(StrEnum):
    """What Ipopt says; never evidence of anything, residuals are."""

    SOLVED = "solved"
    ACCEPTABLE = "acceptable"
    INFEASIBLE = "infeasible"
    LIMIT = "limit"
    FAILED = "failed"


_STATUS = {
    0: InteriorStatus.SOLVED,
    1: InteriorStatus.ACCEPTABLE,
    6: InteriorStatus.SOLVED,
    2: InteriorStatus.INFEASIBLE,
    -1: InteriorStatus.LIMIT,
    -4: InteriorStatus.LIMIT,
    -5: InteriorStatus.LIMIT,
}


@dataclass(frozen=True)
class InteriorPoint:
    """A point with the status it came with; the two are always promoted together.

    x (n,), row_multipliers (m,), lower_multipliers (n,), upper_multipliers (n,)
    numbers     bounds it was found under
    earlier     points of the stages before, where the objective has several (`dms.stages`)

    Multipliers are of the objective itself, not of `objective_scale` times it (so does cyipopt hand them
    out):  grad f + J' row_multipliers - lower_multipliers + upper_multipliers = 0.
    """

    x: Array
    row_multipliers: Array
    lower_multipliers: Array
    upper_multipliers: Array
    status: InteriorStatus
    objective: float
    iterations: int
    seconds: float
    numbers: Numbers | None = None
    earlier: tuple[InteriorPoint, ...] = ()

    @property
    def converged(self) -> bool:
        """Ipopt reached a local optimum, to its own tolerances."""
        return self.status in (InteriorStatus.SOLVED, InteriorStatus.ACCEPTABLE)


@dataclass(frozen=True)
class IpoptOptions:
    """Ipopt's settings that we choose; `extra` is passed on as it is.

    until  time.perf_counter() at which the tick's budget is spent, whatever `max_wall_s` allows a single call
    """

    tol: float = 1e-8
    max_iter: int = 500
    mu_strategy: str = "adaptive"
    max_wall_s: float = 600.0
    until: float = math.inf
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def spent(self) -> bool:
        """The tick's budget is spent."""
        return time.perf_counter() >= self.until

    @property
    def in_time(self) -> IpoptOptions:
        """The same with no more than what is left of the budget as `max_wall_s`."""
        left = max(self.until - time.perf_counter(), LEAST_WALL_S)
        return self if left >= self.max_wall_s else replace(self, max_wall_s=left)


class _Callbacks:
    """The five methods cyipopt asks for, plus a count of iterations."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.iterations = 0

    def objective(self, x: Array) -> float:
        return self.program.objective(x)

    def gradient(self, x: Array) -> Array:
        return self.program.gradient(x)

    def constraints(self, x: Array) -> Array:
        return self.program.constraints(x)

    def jacobianstructure(self) -> tuple[Array, Array]:
        return self.program.jacobian_structure

    def jacobian(self, x: Array) -> Array:
        return self.program.jacobian(x)

    def hessianstructure(self) -> tuple[Array, Array]:
        return self.program.hessian_structure

    def hessian(self, x: Array, multipliers: Array, sigma: float) -> Array:
        return self.program.hessian(x, multipliers, sigma)

    def intermediate(self, alg_mod: int, iter_count: int, *_: float) -> bool:
        self.iterations = iter_count
        return True


def solve(
    program: Program,
    numbers: Numbers,
    *,
    objective_scale: float = 1.0,
    warm: InteriorPoint | None = None,
    options: IpoptOptions | None = None,
) -> InteriorPoint:
    """Solve the programme from `numbers.x0`, or from an earlier point and its multipliers.

    objective_scale  Ipopt minimises this times the objective, so that its tolerances mean something
    Raises  IpoptMissingError  cyipopt is not installed
    """
    try:
        import cyipopt
    except ImportError as exc:
        raise IpoptMissingError(INSTALL_HINT) from exc
    # cyipopt reports every callback at level INFO.
    logging.getLogger("cyipopt").setLevel(logging.WARNING)
    options = options or IpoptOptions()
    callbacks = _Callbacks(program)
    nlp = cyipopt.Problem(
        n=program.n,
        m=program.m,
        problem_obj=callbacks,
        lb=numbers.x_lo,
        ub=numbers.x_hi,
        cl=numbers.row_lo,
        cu=numbers.row_hi,
    )
    for name, value in _ipopt_settings(options, objective_scale, warm is not None).items():
        nlp.add_option(name, value)
    began = time.perf_counter()
    if warm is None:
        x, info = nlp.solve(numbers.x0)
    else:
        x, info = nlp.solve(
            np.clip(warm.x, numbers.x_lo, numbers.x_hi),
            lagrange=warm.row_multipliers,
            zl=warm.lower_multipliers,
            zu=warm.upper_multipliers,
        )
    return InteriorPoint(
        x=np.asarray(x),
        row_multipliers=info["mult_g"],
        lower_multipliers=info["mult_x_L"],
        upper_multipliers=info["mult_x_U"],
        status=_STATUS.get(info["status"], InteriorStatus.FAILED),
        objective=program.objective(np.asarray(x)),
        iterations=callbacks.iterations,
        seconds=time.perf_counter() - began,
        numbers=numbers,
    )


def _ipopt_settings(options: IpoptOptions, objective_scale: float, warm: bool) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "print_level": 0,
        "sb": "yes",
        "linear_solver": "mumps",
        "tol": options.tol,
        "max_iter": options.max_iter,
        "mu_strategy": options.mu_strategy,
        "max_wall_time": options.max_wall_s,
        # Rows and variables are scaled already; Ipopt's own scaling would loosen the limits.
        "nlp_scaling_method": "none",
        "obj_scaling_factor": objective_scale,
        "bound_relax_factor": 0.0,
        "honor_original_bounds": "yes",
        "fixed_variable_treatment": "make_parameter",
        "hessian_constant": "no",
    }
    if warm:
        settings |= {
            "warm_start_init_point": "yes",
            "warm_start_bound_push": 1e-6,
            "warm_start_mult_bound_push": 1e-6,
            "warm_start_slack_bound_push": 1e-6,
            "mu_init": 1e-4,
        }
    return settings | options.extra
