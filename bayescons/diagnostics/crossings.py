"""Crossings: where a field falls through a threshold on lines, those of the grid along one of its
axes or rays from a centre.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bayescons import tracing
from bayescons.descriptions import tabulated
from bayescons.diagnostics.triangles import AROUND


@tabulated("Position of a contour")
class ContourPosition(NamedTuple):
    """Where a contour crosses lines: `position`, NaN where it does not, and `crossings`, how often
    it crosses in the direction asked for. Where that is more than one the contour is folded, and
    no graph over the lines.
    """

    position: Array
    crossings: Array


@tracing.compiled
def on_lines(above: Array, points, which: tracing.Static) -> ContourPosition:
    """Fields of shape (..., n) on lines of n points."""
    return _crossing(above, jnp.asarray(points), str(which.value))


@tracing.compiled
def on_rays(above: Array, corners, weights, radii, which: tracing.Static) -> ContourPosition:
    """Fields of shape (..., ny nx) along rays of k points, radii (rays, k), from the corners of the
    cells around them and their weights, both (rays, 4, k).
    """

    @jax.checkpoint
    def along(ray):
        corner, weight, points = ray
        values = jnp.zeros((*above.shape[:-1], len(points)), above.dtype)
        for i in range(4):
            value = above[..., corner[i]]
            values += value * jnp.broadcast_to(weight[i], value.shape)
        return _crossing(values, points, str(which.value))

    found = jax.lax.map(along, tuple(map(jnp.asarray, (corners, weights, radii))))
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -1), found)


def ray_points(centre, angles: np.ndarray, lines, rounding: float) -> tuple[list, np.ndarray]:
    """Where rays meet grid lines and diagonals of cells: coordinates, and radii (rays, k) in order,
    the first 0 and the last at the edge of the domain. Places that rounding alone holds apart are
    one, so that a contour through it is crossed once.
    """
    slopes = np.stack([np.sin(angles), np.cos(angles)])
    slopes[abs(slopes) < 4 * np.finfo(float).eps] = 0.0  # cos(π / 2) = 6e-17
    with np.errstate(divide="ignore", invalid="ignore"):
        met = [
            (points - start) / slope[:, None]
            for points, start, slope in zip(lines, centre, slopes, strict=True)
        ]
    ahead = [np.where(np.isfinite(radii), radii, -np.inf).max(axis=1) for radii in met]
    leaves = np.minimum(*(np.where(a == -np.inf, np.inf, a) for a in ahead)).clip(0)[:, None]
    radii = np.concatenate([0 * leaves, *met], axis=1)
    radii = np.sort(np.where(np.isfinite(radii), radii, 0.0).clip(0, leaves), axis=1)
    low, high = radii[:, :-1], radii[:, 1:]
    starts, ends = [], []
    for points, start, slope in zip(lines, centre, slopes, strict=True):
        cell = _cell(points, start + slope[:, None] * (low + high) / 2)
        for radius, local in ((low, starts), (high, ends)):
            at = start + slope[:, None] * radius
            local.append((at - points[cell]) / np.diff(points)[cell] - 0.5)
    diagonals = []
    for sign in (1, -1):
        before, after = (local[0] - sign * local[1] for local in (starts, ends))
        across = before * after < 0
        share = np.where(across, before / np.where(across, before - after, 1.0), 0.0)
        diagonals.append(low + share * (high - low))
    radii = np.sort(np.concatenate([radii, *diagonals], axis=1), axis=1)
    apart = np.diff(radii, axis=1, prepend=-1.0) > 64 * rounding * max(np.ptp(p) for p in lines)
    radii = np.maximum.accumulate(np.where(apart, radii, 0.0), axis=1)
    return [c + s[:, None] * radii for c, s in zip(centre, slopes, strict=True)], radii


def _cell(points: np.ndarray, at: np.ndarray) -> np.ndarray:
    return np.clip(np.searchsorted(points, at) - 1, 0, len(points) - 2)


def interpolation(places, lines) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the cell that a place lies in, counted row by row, and their weights: with a, b
    from the centre in widths, `(1 - 2 max(|a|, |b|)) / 4` each, and what is left for the two
    corners of the triangle's outer side.
    """
    cells = [_cell(points, at) for points, at in zip(lines, places, strict=True)]
    b, a = (
        ((at - points[cell]) / np.diff(points)[cell]).clip(0, 1) - 0.5
        for points, at, cell in zip(lines, places, cells, strict=True)
    )
    inner = (1 - 2 * np.maximum(abs(a), abs(b))) / 4
    corners, weights = [], []
    for up, right in AROUND:
        corners.append((cells[0] + (up > 0)) * len(lines[1]) + cells[1] + (right > 0))
        weights.append(inner + np.maximum(up * b + right * a, 0.0))
    return np.stack(corners, axis=1), np.stack(weights, axis=1)


def _crossing(above: Array, points: Array, which: str) -> ContourPosition:
    """Where what is above zero falls to it or below, on the last axis."""
    known = jnp.isfinite(above).all(axis=-1)
    falls = (above[..., :-1] > 0) & (above[..., 1:] <= 0) & known[..., None]
    crossings = falls.sum(axis=-1)
    present = crossings == 1 if which == "only" else crossings > 0
    last = falls.shape[-1] - 1 - jnp.argmax(jnp.flip(falls, axis=-1), axis=-1)
    cell = last if which == "last" else jnp.argmax(falls, axis=-1)
    left, right = (jnp.take_along_axis(above, cell[..., None] + i, axis=-1)[..., 0] for i in (0, 1))
    share = jnp.where(present, left, 0.0) / jnp.where(present, left - right, 1.0)
    lower = points[cell]
    position = jnp.where(present, lower + share * (points[cell + 1] - lower), jnp.nan)
    return ContourPosition(position, crossings)
