"""How well a known solution satisfies a functional: the first thing to look at before conditioning
on it.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from bayescons.arrays import numbers
from bayescons.descriptions import Description, counted, described
from bayescons.functionals.abstract import AbstractFunctional, JointFunctional
from bayescons.refusals import RefusedValue


@described
@dataclasses.dataclass(frozen=True)
class Residuals:
    """Row residuals G u - b of a field; printed as a table.

    Attributes:
        rows: names of the rows.
        computed: G u, flattened.
        stated: b, flattened.
    """

    rows: tuple[str, ...]
    computed: np.ndarray
    stated: np.ndarray

    @property
    def residual(self) -> np.ndarray:
        """G u - b."""
        return self.computed - self.stated

    @property
    def largest(self) -> float:
        """Max |G u - b|."""
        return float(np.abs(self.residual).max())

    def description(self) -> Description:
        """The rows with the largest residuals."""
        worst = sorted(np.argsort(-np.abs(self.residual), kind="stable")[:8])
        told = (
            (
                self.rows[i],
                f"{self.computed[i]:.6g} for {self.stated[i]:.6g}, residual {self.residual[i]:.2e}",
            )
            for i in worst
        )
        title = f"Residuals of {counted(len(self.rows), 'row')}, the largest {self.largest:.2e}"
        return Description(title, tuple(told))

    def __str__(self) -> str:
        """The rows with the ten largest residuals, and a summary."""
        worst = np.argsort(-np.abs(self.residual), kind="stable")[:10]
        width = max(len("row"), *(len(self.rows[i]) for i in worst))
        lines = [f"{'row':<{width}}  {'G u':>12}  {'value':>12}  {'residual':>10}"]
        lines += [
            f"{self.rows[i]:<{width}}  {self.computed[i]:12.6g}  {self.stated[i]:12.6g}  "
            f"{self.residual[i]:10.2e}"
            for i in sorted(worst)
        ]
        shown = f"; the {len(worst)} largest are shown" if len(self.rows) > len(worst) else ""
        rms = float(np.sqrt(np.mean(self.residual**2)))
        return "\n".join(
            [
                *lines,
                f"{len(self.rows)} rows, largest |residual| {self.largest:.2e}, rms "
                f"{rms:.2e}{shown}",
            ]
        )


def residuals(functional: AbstractFunctional | JointFunctional, truth, value) -> Residuals:
    """Residuals G u - b of a field that should satisfy a constraint, for instance an exact solution
    on the grid.

    A residual well above rounding means that the functional, the value or the sign convention is
    not the one the solution obeys; for an integral it is the error of the quadrature rule (5e-3 for
    a Stefan front on 201 points), which an exact row would force on the field.

    Args:
        functional: a functional, or a law of several fields.
        truth: one field, of the functional's shape; for a law the tuple of its fields.
        value: what G u should be: a number or an array of the functional's value shape.

    Returns:
        Residuals; print them.

    Example:
        >>> grid = bc.Grid(x=jnp.linspace(0.0, 1.0, 101))
        >>> print(bc.residuals(bc.integral(grid, over="x"), grid["x"] ** 2, 1 / 3))
        row             G u         value    residual
        value       0.33335      0.333333    1.67e-05
        1 rows, largest |residual| 1.67e-05, rms 1.67e-05
    """
    joint = isinstance(functional, JointFunctional)
    given = truth if joint else (truth,)
    fields = tuple(jnp.asarray(numbers("the field", field)) for field in given)
    parts = functional.parts if joint else (functional,)
    if [f.shape for f in fields] != [tuple(p.shape) for p in parts]:
        expected = ", ".join(str(tuple(p.shape)) for p in parts)
        raise RefusedValue(
            f"expected {'fields' if len(parts) > 1 else 'one field'} of shape {expected}; got "
            f"{', '.join(str(f.shape) for f in fields)}"
        )
    members = (functional,) if joint else functional.members
    computed = [np.asarray(m(*fields)) for m in members]
    stated = value if len(members) > 1 else (value,)
    bad = [
        np.shape(b)
        for u, b in zip(computed, stated, strict=True)
        if np.shape(b) not in ((), u.shape)
    ]
    if bad:
        raise RefusedValue(f"expected values of shape {[u.shape for u in computed]}; got {bad}")
    labels = [label.strip() or "value" for m in members for label in m.labels()]
    flat = np.concatenate(
        [np.broadcast_to(b, u.shape).ravel() for u, b in zip(computed, stated, strict=True)]
    )
    return Residuals(tuple(labels), np.concatenate([u.ravel() for u in computed]), flat)
