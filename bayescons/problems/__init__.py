"""Problems: partial differential equations with known solutions, conserved totals and boundary
values; and readings of them.

Two kinds: a `Problem` is one field of a conservation law, an `OperatorProblem` a family of fields
from which operators are learned.
"""

from bayescons.problems.advection import Advection
from bayescons.problems.burgers import Burgers
from bayescons.problems.burgers_ring import BurgersRing
from bayescons.problems.cavity import Cavity
from bayescons.problems.diffusion import Diffusion
from bayescons.problems.forced_heat import ForcedHeat
from bayescons.problems.operators import OperatorProblem, Samples
from bayescons.problems.porous_medium import PorousMedium
from bayescons.problems.problem import Problem
from bayescons.problems.readings import Readings, contexts, targets
from bayescons.problems.residuals import residual
from bayescons.problems.standing_wave import StandingWave
from bayescons.problems.stefan import Stefan
from bayescons.problems.stokes import StokesSecond
from bayescons.problems.stored import load_samples, save_samples, stored
from bayescons.problems.viscous_burgers import BurgersStep, BurgersWave

__all__ = [
    "Advection",
    "Burgers",
    "BurgersRing",
    "BurgersStep",
    "BurgersWave",
    "Cavity",
    "Diffusion",
    "ForcedHeat",
    "OperatorProblem",
    "PorousMedium",
    "Problem",
    "Readings",
    "Samples",
    "StandingWave",
    "Stefan",
    "StokesSecond",
    "contexts",
    "load_samples",
    "residual",
    "save_samples",
    "stored",
    "targets",
]
