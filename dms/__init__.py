"""DMS: the exact three-phase current-voltage problem (2), its solvers and its certificate.

>>> problem = compile(feeder, norm="l2", limits=Limits())
>>> solution = solve(problem, problem.request(p_export_kw))
>>> solution.raise_for_status().p_adjusted_kw
"""

from dms import reference
from dms.certificate import Certificate, certify
from dms.controls import Controls
from dms.devices import UnsupportedError
from dms.diagnose import Binding, Causes, binding_limits, causes
from dms.guard import solve_guarded
from dms.infeasible import Blocked, Infeasibility, Slack, explain_infeasible
from dms.interior import IpoptMissingError, IpoptOptions
from dms.ladder import solve
from dms.limits import Limits, LimitValues
from dms.network import Flow, Network, UngroundedError
from dms.norms import NORMS
from dms.optimality import OptimalityCertificate, certify_optimal
from dms.problem import DmsProblem, compile
from dms.request import DmsRequest, Units
from dms.solution import DmsSolution, Moves, Preexisting, Status, UncertifiedError

__all__ = [
    "NORMS",
    "Binding",
    "Blocked",
    "Causes",
    "Certificate",
    "Controls",
    "DmsProblem",
    "DmsRequest",
    "DmsSolution",
    "Flow",
    "Infeasibility",
    "IpoptMissingError",
    "IpoptOptions",
    "LimitValues",
    "Limits",
    "Moves",
    "Network",
    "OptimalityCertificate",
    "Preexisting",
    "Slack",
    "Status",
    "UncertifiedError",
    "UngroundedError",
    "Units",
    "UnsupportedError",
    "binding_limits",
    "causes",
    "certify",
    "certify_optimal",
    "compile",
    "explain_infeasible",
    "reference",
    "solve",
    "solve_guarded",
]
