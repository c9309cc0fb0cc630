"""Solvers: conservation laws solved numerically, to confirm exact solutions and to stand in where there is none."""

from bayescons.solvers.boundaries import Dirichlet, Outflow, Periodic
from bayescons.solvers.finite_volume import ConservationLaw, Evolution, cell_averages, solve

__all__ = ["ConservationLaw", "Dirichlet", "Evolution", "Outflow", "Periodic", "cell_averages", "solve"]
