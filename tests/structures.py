"""Beliefs of every structure and facts of every kind on one small grid, each with its textbook twin
in dense NumPy.

A test that is written once for `belief(structure)` and `facts(kind, ...)` holds for every structure
crossed with every kind of fact. The twins are made from the same ingredients with n x n matrices,
not from the code under test.
"""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag
from scipy.sparse import csr_matrix

import bayescons as bc
from bayescons.functionals import Bundle, OnBundle
from bayescons.functionals.abstract import AbstractFunctional
from bayescons.gaussians.bundled import BlockDiagonal, Merged, OneOfSeveral, Regrouped, correlated
from bayescons.gaussians.circulant import CirculantEmbedding
from bayescons.gaussians.composites import Marginal, Scaled
from bayescons.gaussians.conditioning import Constraint, Update, stack, update
from bayescons.gaussians.covariances import Dense
from bayescons.gaussians.ensembles import gaspari_cohn, localised_ensemble
from bayescons.gaussians.markov import ConditionalAutoregression, Graph, RandomWalk
from bayescons.gaussians.plates import Plate

GRID = bc.Grid(t=np.array([0.0, 0.5, 1.0]), x=np.array([0.0, 0.2, 0.45, 0.8, 1.0]))
BESIDE = 2  # points of a second field
# Beliefs that hold a second field beside that of the grid, and how.
BUNDLES = {
    "blocks": Bundle((GRID.shape, (BESIDE,))),
    "blocks sharing time": Bundle((GRID.shape, (BESIDE, 3)), ((0, 1),)),
    "regrouped": Bundle((GRID.shape, (BESIDE, 3))),
}


class Belief(NamedTuple):
    """A belief and its twin: mean (n,), covariance (n, n), and the covariance before any
    conditioning.
    """

    gaussian: bc.Gaussian
    mean: np.ndarray
    covariance: np.ndarray
    unconditioned: np.ndarray


class Posterior(NamedTuple):
    """What the textbook says: mean, covariance, log evidence of the rows that those stated before
    them do not imply, and these rows.
    """

    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float
    counted: np.ndarray
    # bound on its own rounding: the relative forward error of a solve with S, n eps cond(S)
    error: float


def textbook(mean, covariance, rows, values, variance=None, unconditioned=None) -> Posterior:
    """m + K G' S^-1 (b - G m), K - K G' S^-1 G K, log N(b; G m, S) with the rows that count, S = G
    K G' + R formed and solved whole.
    """
    variance = np.zeros(len(rows)) if variance is None else variance
    spread = np.sqrt(
        np.diag(rows @ (covariance if unconditioned is None else unconditioned) @ rows.T) + variance
    )
    counted = (
        _independent((rows @ _root(covariance)) / spread[:, None])
        if not variance.any()
        else np.ones(len(rows), bool)
    )
    used, residual = rows[counted], (values - rows @ mean)[counted]
    gram = used @ covariance @ used.T + np.diag(variance[counted])
    gain = np.linalg.solve(gram, used @ covariance).T
    log_det = np.linalg.slogdet(gram)[1]
    evidence = (
        -(residual @ np.linalg.solve(gram, residual) + log_det + len(gram) * np.log(2 * np.pi)) / 2
    )
    unit = gram / np.outer(spread[counted], spread[counted])
    error = (
        len(mean) * np.finfo(float).eps * np.linalg.cond(unit) if len(gram) else np.finfo(float).eps
    )
    return Posterior(
        mean + gain @ residual,
        covariance - gain @ used @ covariance,
        float(evidence),
        counted,
        error,
    )


def _root(covariance) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))


def _independent(rows) -> np.ndarray:
    """Which unit rows lie further than 1e-6 from the span of those before them."""
    basis, counted = np.zeros((0, rows.shape[1])), []
    for row in rows:
        for _ in range(2):
            row = row - basis.T @ (basis @ row)
        counted.append(np.linalg.norm(row) > 1e-6)
        if counted[-1]:
            basis = np.vstack([basis, row / np.linalg.norm(row)])
    return np.array(counted)


def exponential(points, length) -> np.ndarray:
    """Exponential kernel: rough, so that its matrices are well conditioned."""
    return np.exp(-np.abs(points[:, None] - points[None]) / length)


def _diagonal(rng):
    mean, scale = rng.normal(size=GRID.shape), rng.uniform(0.5, 1, size=GRID.shape)
    return bc.diagonal(mean, scale), mean, np.diag(scale.ravel() ** 2)


def _low_rank(rng):
    mean, scale = rng.normal(size=GRID.shape), rng.uniform(0.5, 1, size=GRID.shape)
    factor = rng.normal(size=(*GRID.shape, 3))
    flat = factor.reshape(-1, 3)
    return bc.low_rank(mean, scale, factor), mean, np.diag(scale.ravel() ** 2) + flat @ flat.T


def _kronecker(rng):
    mean, along_t, along_x = (
        rng.normal(size=GRID.shape),
        exponential(GRID["t"], 0.5),
        exponential(GRID["x"], 0.3),
    )
    return (
        bc.kronecker(mean, (along_t, along_x), scale=1.3, jitter=0.0),
        mean,
        1.3**2 * np.kron(along_t, along_x),
    )


def _kronecker_independent_in_time(rng):
    mean, along_x = rng.normal(size=GRID.shape), exponential(GRID["x"], 0.3)
    return (
        bc.kronecker(mean, (None, along_x), scale=0.7, jitter=0.0),
        mean,
        0.7**2 * np.kron(np.eye(len(mean)), along_x),
    )


def _dense(rng):
    mean, root = rng.normal(size=GRID.shape), rng.normal(size=(GRID.size, GRID.size))
    covariance = root @ root.T / GRID.size + 0.1 * np.eye(GRID.size)
    return bc.dense(mean, covariance, jitter=0.0), mean, covariance


def _restricted(rng):
    times, places, kept = np.linspace(0, 1.5, 4), np.linspace(0, 1, 7), np.array([0, 1, 3, 4, 6])
    mean, along_t, along_x = (
        rng.normal(size=GRID.shape),
        exponential(times, 0.5),
        exponential(places, 0.3),
    )
    whole = bc.kronecker(np.zeros((4, 7)), (along_t, along_x), jitter=0.0).covariance
    covariance = np.kron(along_t[:3, :3], along_x[np.ix_(kept, kept)])
    return bc.Gaussian(jnp.asarray(mean), Marginal(whole, (np.arange(3), kept))), mean, covariance


def _scaled(rng):
    gaussian, mean, covariance = _kronecker_independent_in_time(rng)
    factor = np.array([[0.5], [1.0], [1.5]])  # one for each time
    spread = np.broadcast_to(factor, GRID.shape).ravel()
    scaled = bc.Gaussian(gaussian.loc, Scaled(gaussian.covariance, jnp.asarray(factor)))
    return scaled, mean, spread[:, None] * covariance * spread


def _stationary(rng):
    mean, spectrum = (
        rng.normal(size=GRID.shape),
        rng.uniform(0.5, 1.5, size=6),
    )  # of a circle of ten points, five of which are kept
    row = np.fft.irfft(spectrum, 10)
    along_x = row[(np.arange(5)[:, None] - np.arange(5)) % 10]
    own = CirculantEmbedding((None, jnp.asarray(spectrum)), jnp.asarray(0.7), GRID.shape)
    return bc.Gaussian(jnp.asarray(mean), own), mean, 0.7**2 * np.kron(np.eye(len(mean)), along_x)


def _stationary_along_both(rng):
    mean, rows = rng.normal(size=GRID.shape), []
    spectra = tuple(
        rng.uniform(0.5, 1.5, size=size) for size in (3, 5)
    )  # circles of four and eight points; three and five are kept
    for spectrum, kept in zip(spectra, GRID.shape, strict=True):
        circle = 2 * len(spectrum) - 2
        rows.append(
            np.fft.irfft(spectrum, circle)[(np.arange(kept)[:, None] - np.arange(kept)) % circle]
        )
    own = CirculantEmbedding(tuple(map(jnp.asarray, spectra)), jnp.asarray(1.3), GRID.shape)
    return bc.Gaussian(jnp.asarray(mean), own), mean, 1.3**2 * np.kron(*rows)


def _blocks(rng):
    field, mean, covariance = _diagonal(rng)
    other, scale, factor = (
        rng.normal(size=BESIDE),
        np.full(BESIDE, 0.4),
        rng.normal(size=(BESIDE, 1)),
    )
    beside = bc.low_rank(other, scale, factor)
    joint = bc.Gaussian(
        jnp.concatenate([field.mean.ravel(), beside.mean]),
        BlockDiagonal((field.covariance, beside.covariance)),
    )
    return (
        joint,
        np.append(mean, other),
        block_diag(covariance, np.diag(scale**2) + factor @ factor.T),
    )


def _blocks_sharing_time(rng):
    """A field of (t, x) and one of (y, t), for each t."""
    bundle = BUNDLES["blocks sharing time"]
    field, mean, covariance = _diagonal(rng)
    other, scale = rng.normal(size=bundle.shapes[1]), rng.uniform(0.3, 1, size=bundle.shapes[1])
    own = BlockDiagonal((field.covariance, bc.diagonal(other, scale).covariance), bundle.shared)
    dense = block_diag(covariance, np.diag(scale.ravel() ** 2))
    order = _order(bundle)
    joint = bc.Gaussian(bundle.join([field.mean, jnp.asarray(other)]), own)
    return joint, np.append(mean, other)[order], dense[np.ix_(order, order)]


def _regrouped(rng):
    """The same two, tied together at every time, end to end."""
    before, after = BUNDLES["blocks sharing time"], BUNDLES["regrouped"]
    mean, roots = rng.normal(size=after.shape), rng.normal(size=(3, 7, 7))
    joint = roots @ roots.swapaxes(-1, -2) / 7 + 0.1 * np.eye(7)
    whole = Plate(Dense(jnp.linalg.cholesky(joint), (7,)), (3,), shared=False)
    back = np.argsort(_order(before))
    return (
        bc.Gaussian(jnp.asarray(mean), Regrouped(whole, before, after)),
        mean,
        block_diag(*joint)[np.ix_(back, back)],
    )


def _order(bundle: Bundle) -> np.ndarray:
    """Where in the fields, end to end, each point of their array comes from."""
    counted = np.arange(sum(int(np.prod(shape)) for shape in bundle.shapes))
    return np.asarray(bundle.join(Bundle(bundle.shapes).split(jnp.asarray(counted)))).ravel()


def _correlated(rng):
    """What is at the three times are three variables."""
    mean, scale = rng.normal(size=GRID.shape), rng.uniform(0.5, 1, size=GRID.shape)
    correlation = np.array([[1.0, 0.5, -0.2], [0.5, 1.0, 0.1], [-0.2, 0.1, 1.0]])
    spread = scale.ravel()
    covariance = spread[:, None] * np.kron(correlation, np.eye(5)) * spread
    return correlated(mean, scale, correlation), mean, covariance


def _localised(rng):
    """Three members, their correlations along x ending at half of it."""
    draws = rng.normal(size=(4, *GRID.shape))
    gaussian = localised_ensemble(draws, GRID, {"x": 0.3}, nugget=0.2)
    flat = (draws - draws.mean(axis=0)).reshape(4, -1) / np.sqrt(3)
    spread = 0.04 * draws.var(axis=0, ddof=1).mean()
    taper = gaspari_cohn(np.abs(GRID["x"][:, None] - GRID["x"]) / 0.3)
    dense = flat.T @ flat * np.kron(np.ones((3, 3)), taper) + spread * np.eye(GRID.size)
    return gaussian, draws.mean(axis=0), dense


def _merged(rng):
    """Five variables at every time, and one point of each."""
    mean, along_x = rng.normal(size=GRID.shape), exponential(GRID["x"], 0.3)
    whole = bc.kronecker(mean[..., None], (None, along_x, None), scale=0.7, jitter=0.0).covariance
    return bc.Gaussian(jnp.asarray(mean), Merged(whole)), mean, 0.49 * np.kron(np.eye(3), along_x)


def _random_walks(rng):
    mean, scales = rng.normal(size=GRID.shape), rng.uniform(0.5, 1, size=3)
    step = np.tril(np.ones((5, 5)))
    own = Plate(RandomWalk(jnp.asarray(scales), 5), (3,), shared=False)
    covariance = block_diag(*(s**2 * step @ step.T for s in scales))
    return bc.Gaussian(jnp.asarray(mean), own), mean, covariance


def _autoregressions(rng):
    """One graph for all times; its correlation is negative."""
    mean, weights = rng.normal(size=GRID.shape), np.triu(rng.uniform(0.2, 1, (5, 5)), 1)
    weights = (weights + weights.T) * (weights + weights.T > 0.5)
    weights[[0, 1], [1, 0]] = 1.0  # every point has a neighbour
    weights[[2, 4], [4, 2]] = weights[[3, 1], [1, 3]] = 0.7
    precision = 2.0 * (np.diag(weights.sum(1)) + 0.6 * weights)
    alpha, tau = jnp.asarray(-0.6), jnp.asarray(2.0)
    own = ConditionalAutoregression(alpha, tau, Graph(csr_matrix(weights)))
    covariance = np.kron(np.eye(3), np.linalg.inv(precision))
    return bc.Gaussian(jnp.asarray(mean), Plate(own, (3,), shared=True)), mean, covariance


def _one_of_several(rng):
    """Beside another field of two points, tied together at every time."""
    mean, roots = rng.normal(size=GRID.shape), rng.normal(size=(3, 7, 7))
    joint = roots @ roots.swapaxes(-1, -2) / 7 + 0.1 * np.eye(7)
    whole = Plate(Dense(jnp.linalg.cholesky(joint), (7,)), (3,), shared=False)
    own = OneOfSeveral(whole, 0, Bundle(((3, 5), (3, BESIDE)), ((0, 0),)))
    return bc.Gaussian(jnp.asarray(mean), own), mean, block_diag(*joint[:, :5, :5])


PLAIN = {
    "diagonal": _diagonal,
    "low rank": _low_rank,
    "kronecker": _kronecker,
    "kronecker independent in time": _kronecker_independent_in_time,
    "dense": _dense,
    "restricted": _restricted,
    "stationary": _stationary,
    "stationary along both": _stationary_along_both,
    "blocks": _blocks,
    "scaled": _scaled,
    "random walks": _random_walks,
    "autoregressions": _autoregressions,
    "one of several": _one_of_several,
    "blocks sharing time": _blocks_sharing_time,
    "regrouped": _regrouped,
    "correlated": _correlated,
    "merged": _merged,
    "localised": _localised,
}
# Already conditioned: on what, from which belief, with which scale.
CONDITIONED = {
    "conditioned exactly": ("diagonal", "mass", None),
    "conditioned with noise": ("kronecker independent in time", "wall", 0.3),
}
STRUCTURES = (*PLAIN, *CONDITIONED)
WITH_DENSITY = (
    "diagonal",
    "low rank",
    "kronecker",
    "kronecker independent in time",
    "dense",
    "stationary",
    "stationary along both",
    "blocks",
    "scaled",
    "random walks",
    "autoregressions",
    "blocks sharing time",
    "regrouped",
    "correlated",
    "merged",
    "conditioned with noise",
)

_MASS = ("mass", bc.integral(GRID))
_WALL = ("wall", bc.dirichlet(GRID, "x", "lower"))
FACTS = {
    "mass": [_MASS],
    "wall": [_WALL],
    "mass and wall": [_MASS, _WALL],
    # the total at t = 0 is the quadrature of the initial field, and the wall's first value is the
    # initial field's
    "mass, initial and wall": [_MASS, ("initial", bc.initial(GRID)), _WALL],
    "slopes at both ends": [
        ("left", bc.neumann(GRID, "x", "lower")),
        ("right", bc.neumann(GRID, "x", "upper")),
    ],
    "robin": [("robin", bc.robin(GRID, "x", "upper", value=2.0, slope=0.5))],
    "periodic": [("periodic", bc.periodic(GRID, "x"))],
    "second difference": [("bend", bc.second_difference(GRID, "x"))],
    "user function": [
        (
            "probe",
            bc.functional(lambda u: 1.5 + jnp.stack([u[1, 2] - u[3, 4], u.sum(), u[0, 0]]), GRID),
        )
    ],
    "integral over both axes": [("all", bc.integral(GRID, over=("t", "x")))],
}
SEVERAL = tuple(kind for kind, members in FACTS.items() if len(members) > 1)


@cache
def belief(structure: str) -> Belief:
    """A belief of the named structure, with numbers drawn once."""
    if structure in PLAIN:
        gaussian, mean, covariance = PLAIN[structure](
            np.random.default_rng(list(PLAIN).index(structure))
        )
        return Belief(gaussian, mean.ravel(), covariance, covariance)
    origin, kind, scale = CONDITIONED[structure]
    before, after = belief(origin), reference(origin, kind, scale)
    return Belief(
        conditioned(origin, kind, scale).posterior,
        after.mean,
        after.covariance,
        before.unconditioned,
    )


@cache
def functionals(structure: str, kind: str) -> dict[str, AbstractFunctional]:
    """The named functionals of the grid's field as those of the belief: where it holds a second
    field, of the first. Made once, so that JAX compiles their update once.
    """
    if structure not in BUNDLES:
        return dict(FACTS[kind])
    bundle = BUNDLES[structure]
    if bundle.shared:
        return {name: OnBundle((own,), (0,), bundle) for name, own in FACTS[kind]}
    return {name: _of_the_first(own, bundle) for name, own in FACTS[kind]}


def _of_the_first(functional: AbstractFunctional, bundle: Bundle) -> AbstractFunctional:
    return bc.functional(lambda both: functional(bundle.split(both)[0]), bundle.shape)


def truth(structure: str) -> np.ndarray:
    """The field whose functionals are observed, of the belief's shape: it makes exact rows
    consistent.
    """
    rng = np.random.default_rng(7)
    whole = rng.normal(size=GRID.shape)
    if structure not in BUNDLES:
        return whole
    bundle = BUNDLES[structure]
    beside = jnp.asarray(rng.normal(size=bundle.shapes[1]))
    return np.asarray(bundle.join([jnp.asarray(whole), beside]))


@cache
def facts(structure: str, kind: str, scale: float | None = None) -> Constraint:
    """The named facts as a constraint on the named belief; what noisy facts say is off the truth by
    a draw of their noise.
    """
    members, rng = [], np.random.default_rng(11)
    for name, own in functionals(structure, kind).items():
        value = own(truth(structure))
        if scale is not None:
            value = value + scale * rng.normal(size=value.shape)
        members.append(Constraint(own, value, scale if scale is None else jnp.asarray(scale), name))
    return stack(members)


def rows_of(structure: str, constraint: Constraint) -> np.ndarray:
    """G, one row per value, by applying the functionals to unit fields."""
    shape = belief(structure).gaussian.event_shape
    units = jnp.eye(int(np.prod(shape))).reshape(-1, *shape)
    return np.concatenate(
        [
            np.asarray(jax.vmap(m.functional.linear)(units)).reshape(len(units), -1).T
            for m in constraint.members
        ]
    )


def values_of(constraint: Constraint) -> np.ndarray:
    """B of G u = b: the values stated, less the offset of an affine functional."""
    values = (
        np.broadcast_to(m.value - m.functional.offset, m.functional.value_shape)
        for m in constraint.members
    )
    return np.concatenate([np.ravel(value) for value in values])


@cache
def reference(structure: str, kind: str, scale: float | None = None) -> Posterior:
    """The textbook's posterior of the named belief given the named facts."""
    own, constraint = belief(structure), facts(structure, kind, scale)
    rows = rows_of(structure, constraint)
    noise = None if scale is None else np.full(len(rows), scale**2)
    return textbook(own.mean, own.covariance, rows, values_of(constraint), noise, own.unconditioned)


@cache
def conditioned(structure: str, kind: str, scale: float | None = None) -> Update:
    """The named belief given the named facts, computed once for all laws."""
    return update(belief(structure).gaussian, facts(structure, kind, scale))


def second_moments(gaussian: bc.Gaussian) -> tuple[jax.Array, jax.Array]:
    """Variances (n,) as the structure gives them, and K (n, n) of one field, column by column."""
    size = gaussian.mean.size
    columns = jax.vmap(gaussian.covariance.mv)(jnp.eye(size).reshape(size, *gaussian.event_shape))
    return gaussian.variance.ravel(), columns.reshape(size, size).T
