"""Conservation: the integral of a field over some of its axes, one row for every point of the
others.
"""

from __future__ import annotations

from bayescons.functionals.products import TensorProduct
from bayescons.functionals.quadrature import bridge_widths, quadrature_weights
from bayescons.grids import Grid
from bayescons.refusals import RefusedValue


def integral(
    grid: Grid, over: str | tuple[str, ...] = "x", rule: str = "trapezoid"
) -> TensorProduct:
    """(G u)(t) = ∫ u(t, x) dx ≈ Σ_i w_i u(t, x_i): the total amount, for every point of the axes
    not integrated over.

    A conservation law u_t + F_x = 0 fixes it: d/dt ∫ u dx = F(lower) - F(upper), so the total is
    known at every time once the initial total and the boundary fluxes are.

    Args:
        grid: where the field lives.
        over: axis, or axes, to integrate over.
        rule: "trapezoid", "midpoint" (values are cell averages) or "simpson"; see
            `quadrature_weights`. The total of an exact solution differs from the rule's by O(h) at
            a jump; `scale="quadrature"` allows for that.

    Returns:
        A functional whose value has the shape of the axes left, in units of u times those of the
        axes integrated over.

    Source: Hansen et al., Learning physical models that can respect conservation laws, ICML 2023,
        eq. 7 (G for one time).

    Example:
        >>> grid = bc.Grid(t=[0.0, 1.0], x=[0.0, 0.5, 1.0])
        >>> print(bc.integral(grid, over="x")(jnp.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])))
        [0.5 1. ]
    """
    names = (over,) if isinstance(over, str) else tuple(over)
    axes = {grid.axis(name) for name in names}
    if len(axes) < len(names):
        raise RefusedValue(
            f"integral over {', '.join(names)} names an axis twice; each is integrated over once"
        )
    if not axes:
        raise RefusedValue("integral needs at least one axis to integrate over; write over='x'")
    weights = tuple(
        quadrature_weights(grid[name], rule) if a in axes else None
        for a, name in enumerate(grid.names)
    )
    bridges = tuple(
        bridge_widths(grid[name]) if a in axes else None for a, name in enumerate(grid.names)
    )
    kept = {name: grid[name] for a, name in enumerate(grid.names) if a not in axes}
    about = f"{'∫' * len(names)} u {' '.join(f'd{n}' for n in names)} by the {rule} rule"
    return TensorProduct.on(grid, weights, kept, about, bridges)
