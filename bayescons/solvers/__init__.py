"""Solvers: conservation laws, Burgers on a ring, the lid-driven cavity; to confirm exact solutions
and to stand in where there is none.
"""

from bayescons.solvers.boundaries import Dirichlet, Outflow, Periodic
from bayescons.solvers.cavity import Flow, cavity_flow, curl, longest_step
from bayescons.solvers.finite_volume import ConservationLaw, Evolution, cell_averages, solve
from bayescons.solvers.spectral import burgers_ring, exponential_steps, series

__all__ = [
    "ConservationLaw",
    "Dirichlet",
    "Evolution",
    "Flow",
    "Outflow",
    "Periodic",
    "burgers_ring",
    "cavity_flow",
    "cell_averages",
    "curl",
    "exponential_steps",
    "longest_step",
    "series",
    "solve",
]
