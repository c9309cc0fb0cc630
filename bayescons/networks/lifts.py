"""Lifts: how a correction at the boundary spreads inwards, as columns L = K G' (G K G')^-1 along
each axis that has sides.

A field is corrected axis by axis, u + L (b - G u). With a separable K this is the conjugate update
given all sides at once: what the sides of one axis change, those of another leave alone wherever
the values agree at the corners (the projections of two axes commute).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.functionals.boundary_conditions import BoundaryConditions


def apply_lifts(
    field: jax.Array, values: Sequence[jax.Array], boundary: BoundaryConditions, lifts: Sequence
) -> jax.Array:
    """u + L (b - G u) along one axis after another, for a field (*grid.shape, ...) and values
    (*shape, ...), one for each side.

    Args:
        field: any number of axes, such as channels, behind those of the grid.
        values: of each side; at corners they must agree (`BoundaryConditions.reconciled`).
        boundary: its sides.
        lifts: for each of `boundary.axes` its columns L, (points, sides), with G L = I.
    """
    for name, lift in zip(boundary.axes, lifts, strict=True):
        axis = boundary.grid.axis(name)
        sides = zip(boundary.on(name), boundary.rows(name), strict=True)
        misses = [values[i].astype(field.dtype) - row_value(row, field, axis) for i, row in sides]
        field = _add_lifted(field, misses, lift, axis)
    return field


def overwrite_ends(
    field: jax.Array, values: Sequence[jax.Array], boundary: BoundaryConditions
) -> jax.Array:
    """`apply_lifts` with `end_lifts`: of the field (*grid.shape, ...) the end nodes alone move."""
    return apply_lifts(field, values, boundary, end_lifts(boundary))


@lru_cache(maxsize=64)
def end_lifts(boundary: BoundaryConditions) -> tuple[np.ndarray, ...]:
    """Overwriting: only the end nodes move, as many at an end as it has sides. Both ends share what
    is periodic.
    """
    lifts = []
    for name in boundary.axes:
        rows, points = boundary.rows(name), len(boundary.grid[name])
        basis = np.zeros((points, len(rows)))
        count = {"lower": 0, "upper": 0}
        for j, i in enumerate(boundary.on(name)):
            end = boundary.sides[i].end
            if end == "both":
                basis[[0, -1], j] = -0.5, 0.5
            else:
                basis[count[end] if end == "lower" else points - 1 - count[end], j] = 1.0
                count[end] += 1
        lifts.append(basis @ np.linalg.inv(rows @ basis))
    return tuple(lifts)


def row_value(row: np.ndarray, field: jax.Array, axis: int) -> jax.Array:
    """Σ_j w_j u_j along an axis, as differences from the end: a slope is not lost in the rounding
    of its terms.
    """
    points = np.flatnonzero(row)
    end = points[0] if points[-1] < len(row) - 1 else points[-1]
    total = row.sum() if abs(row.sum()) > 1e-9 * np.abs(row).sum() else 0.0
    reference = jax.lax.index_in_dim(field, int(end), axis, keepdims=False)
    value = float(total) * reference if total else jnp.zeros_like(reference)
    for j in points:
        if j != end:
            value = value + float(row[j]) * (
                jax.lax.index_in_dim(field, int(j), axis, keepdims=False) - reference
            )
    return value


def _add_lifted(field: jax.Array, misses: list[jax.Array], lift, axis: int) -> jax.Array:
    """u + Σ_j L_j ⊗ miss_j; where the lift is known beforehand, at its nodes alone."""
    if isinstance(lift, np.ndarray):
        for node in np.flatnonzero(np.abs(lift).sum(axis=1)):
            here = jax.lax.index_in_dim(field, int(node), axis, keepdims=False)
            here = here + sum(
                float(weight) * miss
                for weight, miss in zip(lift[node], misses, strict=True)
                if weight
            )
            field = jax.lax.dynamic_update_index_in_dim(field, here, int(node), axis)
        return field
    others = [i for i in range(field.ndim) if i != axis]
    for j, miss in enumerate(misses):
        field = field + jnp.expand_dims(lift[:, j].astype(field.dtype), others) * jnp.expand_dims(
            miss, axis
        )
    return field
