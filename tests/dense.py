"""Dense algebra of rows: a Gaussian given all that is known of it, one row after the other.

Everything is written as u = m + L z with white noise z, and each row with its own noise is a vector
in the space of z and of all the noise. Gram-Schmidt in the order of the rows gives the posterior
and, row by row, the evidence of those that the rows before them do not imply.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

DEPENDENT = 1e-7  # share of a row's length below which those before it imply it


class Rows(NamedTuple):
    """Rows G u + c = value + noise, the noise N e with white e; the shape is that of the value."""

    matrix: np.ndarray
    offset: np.ndarray
    shape: tuple = ()
    value: np.ndarray | None = None
    noise: np.ndarray | None = None

    def valued(self, value: np.ndarray, scale: np.ndarray) -> "Rows":
        """With values and independent noise, broadcast to their shape."""
        value, scale = (np.broadcast_to(a, self.shape).ravel() for a in (value, scale))
        return self._replace(value=value, noise=np.diag(scale))

    def only(self, kept: np.ndarray) -> "Rows":
        """Some of them."""
        matrix, offset, value, noise = (a[kept] for a in (self.matrix, self.offset, *self[3:]))
        return Rows(matrix, offset, (int(kept.sum()),), value, noise)

    def log_density(self, field: np.ndarray) -> float:
        """Log N(value; G u + c, N N') of one field."""
        root = np.linalg.cholesky(self.noise @ self.noise.T)
        gap = self.value - self.matrix @ field - self.offset
        return log_normal(np.linalg.solve(root, gap)) - np.log(np.diag(root)).sum()


class Answer(NamedTuple):
    """Mean and covariance given all rows, and the evidence of those that count."""

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


def given(mean: np.ndarray, root: np.ndarray, uncounted: list[Rows], counted: list[Rows]) -> Answer:
    """N(mean, root root') given rows; first those whose evidence does not count."""
    everything = [*uncounted, *counted]
    noises = [rows.noise for rows in everything]
    total, n = sum(len(noise) for noise in noises), len(mean)
    extended = np.zeros((total, n + sum(noise.shape[1] for noise in noises)))
    values, start, column = np.zeros(total), 0, n
    for rows in everything:
        here = slice(start, start + len(rows.matrix))
        extended[here, :n] = rows.matrix @ root
        extended[here, column : column + rows.noise.shape[1]] = rows.noise
        values[here] = rows.value - rows.offset - rows.matrix @ mean
        start, column = start + len(rows.matrix), column + rows.noise.shape[1]
    first = sum(len(rows.matrix) for rows in uncounted)
    basis, white, evidence = np.zeros((0, extended.shape[1])), np.zeros(0), 0.0
    for i, (row, value) in enumerate(zip(extended, values, strict=True)):
        rest, weights = row, np.zeros(len(basis))
        for _ in range(3):
            step = basis @ rest
            rest, weights = rest - step @ basis, weights + step
        length = np.linalg.norm(rest)
        if length <= DEPENDENT * np.linalg.norm(row):
            continue
        new = (value - weights @ white) / length
        basis, white = np.vstack([basis, rest / length]), np.append(white, new)
        if i >= first:
            evidence += log_normal(np.array([new])) - np.log(length)
    left = basis[:, :n]
    moved = root @ (left.T @ white)
    covariance = root @ (np.eye(n) - left.T @ left) @ root.T
    return Answer(mean + moved, covariance, evidence)


def log_normal(white: np.ndarray) -> float:
    """Log N(z; 0, I)."""
    return float(-(white @ white + white.size * np.log(2 * np.pi)) / 2)


def affine_rows(function: Callable, size: int) -> Rows:
    """G and c of G u + c, column by column."""
    at_zero = np.asarray(function(np.zeros(size)))
    columns = [np.ravel(function(e)) - at_zero.ravel() for e in np.eye(size)]
    return Rows(np.stack(columns, axis=-1), at_zero.ravel(), at_zero.shape)


def remaining(white: np.ndarray) -> np.ndarray:
    """Of each row, the share of its length that those before it leave."""
    left = []
    for i, row in enumerate(white):
        before = np.linalg.svd(white[:i].T, full_matrices=False)
        basis = before[0][:, before[1] > 1e-9 * max(before[1], default=1.0)]
        rest = row - basis @ (basis.T @ row)
        left.append(np.linalg.norm(rest) / max(np.linalg.norm(row), 1e-300))
    return np.array(left)
