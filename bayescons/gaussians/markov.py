"""Gaussian Markov fields: a random walk along one axis, and conditional autoregression over a
graph. What is sparse in them is the precision; nothing n x n is formed but where a density is asked
for.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.descriptions import Description, described, span
from bayescons.functionals.abstract import Leaf, static
from bayescons.gaussians.abstract import LOG_2PI, AbstractPrior
from bayescons.refusals import RefusedValue

STEPS = 5_000  # of conjugate gradients, far more than a correlation below .9999 takes


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RandomWalk(AbstractPrior):
    """u_t = u_(t-1) + scale z_t from u_0 = 0 on: K = scale² A A', A the cumulative sum.

    Attributes:
        scale: standard deviation of a step, shape (*batch,).
        steps: number of points.
    """

    scale: Leaf
    steps: int = static()

    @property
    def structure(self) -> str:
        """Its steps."""
        return f"a random walk of {self.steps} steps, scale {span(self.scale)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis."""
        return (self.steps,)

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return jnp.ndim(self.scale)

    @property
    def variance(self) -> jax.Array:
        """scale² t, t = 1, 2, ..."""
        return self.scale**2 * jnp.arange(1, self.steps + 1)

    def mv(self, field) -> jax.Array:
        """A sum from the end, then one from the start."""
        return self.scale**2 * jnp.cumsum(jnp.flip(jnp.cumsum(jnp.flip(field))))

    def root(self, noise) -> jax.Array:
        """The steps, added up."""
        return self.scale * jnp.cumsum(noise)

    def log_density(self, field) -> jax.Array:
        """Σ log N(u_t - u_(t-1); 0, scale²)."""
        steps = jnp.diff(field, prepend=jnp.zeros(1, field.dtype)) / self.scale
        return -(jnp.sum(steps**2) + self.steps * (2 * jnp.log(self.scale) + LOG_2PI)) / 2


@described
class Graph:
    """A symmetric adjacency matrix with weights of zero or more, by its edges. Two of the same
    edges are equal.

    Args:
        adjacency: a SciPy sparse matrix, (n, n).
    """

    def __init__(self, adjacency):
        entries = adjacency.tocoo()
        once = entries.row < entries.col
        self.size = adjacency.shape[0]
        self.ends = np.stack([entries.row[once], entries.col[once]])
        self.weights = np.asarray(entries.data[once], float)
        self.degrees = np.asarray(adjacency.sum(axis=1), float).ravel()
        odd = (self.weights < 0).any() or entries.diagonal().any() or (self.degrees <= 0).any()
        if odd or abs(adjacency - adjacency.T).max() > 0:
            raise RefusedValue(
                "the adjacency of a CAR field must be symmetric, with weights of zero or more, "
                "none of a point to itself, and a neighbour for every point; for another precision "
                "matrix use dist.MultivariateNormal(loc, precision_matrix=...)"
            )
        self._name = (self.size, self.ends.tobytes(), self.weights.tobytes())

    def description(self) -> Description:
        """How many points and edges."""
        return Description(f"graph of {self.size} points and {len(self.weights)} edges")

    def __eq__(self, other) -> bool:
        return isinstance(other, Graph) and self._name == other._name

    def __hash__(self) -> int:
        return hash(self._name)

    @functools.cached_property
    def spectrum(self) -> np.ndarray:
        """Eigenvalues of D^-1/2 W D^-1/2, by a dense matrix."""
        matrix = np.zeros((self.size, self.size))
        first, second = self.ends
        root = np.sqrt(self.degrees)
        np.add.at(matrix, (first, second), self.weights / (root[first] * root[second]))
        return np.linalg.eigvalsh(matrix + matrix.T)


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ConditionalAutoregression(AbstractPrior):
    """Precision τ (D - α W) over a graph: given its neighbours, a point is α times their mean, with
    precision τ times their number.

    K u is found by conjugate gradients. A draw solves P u = B' z with B' B = P, one number of noise
    for each point and each edge,

        u'(D - α W) u = Σ_i (1 - |α|) D_i u_i² + Σ_ij |α| w_ij (u_i - sign(α) u_j)².

    Attributes:
        correlation: α, above -1 and below 1, shape (*batch,).
        precision: τ, shape (*batch,).
        graph: W and D.

    Where it fails: near |α| = 1 the solve takes sqrt((1 + |α|) / (1 - |α|)) times as many steps.
    `log_density` takes the eigenvalues of an n x n matrix, once for a graph.

    Source: Besag, J. R. Stat. Soc. B 36 (1974), 192; the draw is that of Papandreou & Yuille,
    Gaussian sampling by local perturbations, NeurIPS 2010.
    """

    correlation: Leaf
    precision: Leaf
    graph: Graph = static()  # noqa: RUF009

    @property
    def structure(self) -> str:
        """Its graph and its numbers."""
        numbers = f"correlation {span(self.correlation)}, precision {span(self.precision)}"
        return f"conditional autoregression over a {self.graph}, {numbers}"

    @property
    def shape(self) -> tuple[int, ...]:
        """One axis, over the points of the graph."""
        return (self.graph.size,)

    @property
    def batch_dims(self) -> int:
        """Number of leading batch axes."""
        return jnp.ndim(self.correlation)

    @property
    def noise_size(self) -> int:
        """Points and edges."""
        return self.graph.size + len(self.graph.weights)

    @property
    def variance(self) -> jax.Array:
        """One solve for each point."""
        units = jnp.arange(self.graph.size)
        return jax.lax.map(
            lambda i: self.mv(jnp.zeros(self.shape).at[i].set(1.0))[i], units, batch_size=64
        )

    def precision_mv(self, field) -> jax.Array:
        """τ (D u - α W u)."""
        first, second = self.graph.ends
        weights = jnp.asarray(self.graph.weights, field.dtype)
        around = jnp.zeros_like(field).at[first].add(weights * field[second])
        around = around.at[second].add(weights * field[first])
        own = jnp.asarray(self.graph.degrees, field.dtype) * field
        return self.precision * (own - self.correlation * around)

    def mv(self, field) -> jax.Array:
        """P^-1 u; NaN where the steps do not suffice, since |α| is 1 or all but."""
        field = jnp.asarray(field, jnp.result_type(float))
        scale = jnp.asarray(self.graph.degrees, field.dtype)
        tolerance = 4 * float(jnp.finfo(field.dtype).eps)
        solved, _ = jax.scipy.sparse.linalg.cg(
            self.precision_mv, field, tol=tolerance, maxiter=STEPS, M=lambda u: u / scale
        )
        left = jnp.linalg.norm(self.precision_mv(solved) - field)
        size = jnp.linalg.norm(field)
        return jnp.where(left <= jnp.sqrt(jnp.finfo(field.dtype).eps) * size, solved, jnp.nan)

    def root(self, noise) -> jax.Array:
        """P^-1 B' z."""
        own, along = noise[: self.graph.size], noise[self.graph.size :]
        first, second = self.graph.ends
        size, sign = jnp.abs(self.correlation), jnp.sign(self.correlation)
        pushed = jnp.sqrt(self.precision * (1 - size) * jnp.asarray(self.graph.degrees)) * own
        pull = jnp.sqrt(self.precision * size * jnp.asarray(self.graph.weights)) * along
        return self.mv(pushed.at[first].add(pull).at[second].add(-sign * pull))

    def log_density(self, field) -> jax.Array:
        """log|P| = n log τ + Σ log D + Σ log(1 - α λ)."""
        log_det = self.graph.size * jnp.log(self.precision)
        log_det += jnp.sum(jnp.log(jnp.asarray(self.graph.degrees)))
        log_det += jnp.sum(jnp.log1p(-self.correlation * jnp.asarray(self.graph.spectrum)))
        quadratic = jnp.sum(field * self.precision_mv(field))
        return (log_det - quadratic - self.graph.size * LOG_2PI) / 2
