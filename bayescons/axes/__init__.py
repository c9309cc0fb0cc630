"""Axes: what the numbers of a field are along one of them, and what is true there - the weights of
integrals, values and slopes at walls, second differences.
"""

from bayescons.axes.abstract import Axis
from bayescons.axes.cells import Cells
from bayescons.axes.kinds import Index, Nodes, Ring, axis, axis_from
from bayescons.axes.quadrature import RULES, bridge_widths, quadrature_weights
from bayescons.axes.stencils import SIDES
