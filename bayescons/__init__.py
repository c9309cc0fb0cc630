"""Probabilistic programs for physics: NumPyro fields conditioned exactly on conservation laws and
boundary conditions.
"""

import importlib
from typing import TYPE_CHECKING

from bayescons.functionals.balances import balance, cell_balance
from bayescons.functionals.boundary_conditions import BoundaryCondition, BoundaryConditions
from bayescons.functionals.boundary_values import dirichlet, neumann, periodic, robin
from bayescons.functionals.conservation import average, integral
from bayescons.functionals.functions import functional
from bayescons.functionals.initial_values import initial
from bayescons.functionals.regularity import second_difference
from bayescons.functionals.residuals import residuals
from bayescons.gaussians.conditioning import Constraint, condition, log_evidence, update
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.gaussian import Gaussian, dense, diagonal, kronecker, low_rank
from bayescons.gaussians.scales import quadrature_scale
from bayescons.grids import Grid
from bayescons.programs.conjugate import conjugate
from bayescons.programs.exact import exact
from bayescons.programs.importance import UnreliableWeightsWarning
from bayescons.programs.soft import StiffnessWarning, soft
from bayescons.programs.statements import VanishingNoiseError, impose, observe

if TYPE_CHECKING:
    from bayescons import (
        axes,
        diagnostics,
        functionals,
        gaussians,
        labelled,
        linting,
        networks,
        plots,
        problems,
        programs,
        restrictions,
        results,
        sampling,
        solvers,
        surrogates,
        training,
    )
    from bayescons.diagnostics.simulation_based import sbc
    from bayescons.linting.report import check
    from bayescons.programs.comparison import compare_laws
    from bayescons.results.mixing import NotMixedWarning
    from bayescons.sampling.predictive import predict
    from bayescons.sampling.sample import sample

__all__ = [
    "BoundaryCondition",
    "BoundaryConditions",
    "Constraint",
    "Gaussian",
    "Grid",
    "InconsistentConstraintsError",
    "NotMixedWarning",
    "StiffnessWarning",
    "UnreliableWeightsWarning",
    "VanishingNoiseError",
    "average",
    "balance",
    "cell_balance",
    "check",
    "compare_laws",
    "condition",
    "conjugate",
    "dense",
    "diagonal",
    "dirichlet",
    "exact",
    "functional",
    "impose",
    "initial",
    "integral",
    "kronecker",
    "log_evidence",
    "low_rank",
    "neumann",
    "observe",
    "periodic",
    "predict",
    "quadrature_scale",
    "residuals",
    "robin",
    "sample",
    "sbc",
    "second_difference",
    "soft",
    "update",
]

# What draws, judges and reports brings in samplers and statistics, as long to import as all else
# together: it comes when it is asked for. This is the one package that holds code beside imports.
_LATER = {
    "NotMixedWarning": "bayescons.results.mixing",
    "check": "bayescons.linting.report",
    "compare_laws": "bayescons.programs.comparison",
    "predict": "bayescons.sampling.predictive",
    "sample": "bayescons.sampling.sample",
    "sbc": "bayescons.diagnostics.simulation_based",
}
_PACKAGES = (
    "axes",
    "diagnostics",
    "functionals",
    "gaussians",
    "labelled",
    "linting",
    "networks",
    "plots",
    "problems",
    "programs",
    "restrictions",
    "results",
    "sampling",
    "solvers",
    "surrogates",
    "training",
)


def __getattr__(name: str):
    if name == "__version__":
        from importlib.metadata import version

        return version("bayescons")
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    if name in _PACKAGES:
        return importlib.import_module(f"bayescons.{name}")
    raise AttributeError(f"module 'bayescons' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_PACKAGES, "__version__"])
