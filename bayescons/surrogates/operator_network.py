"""Beliefs from operator networks: an initial state goes in, and out comes a Gaussian over the field
it becomes.

A network gives one field and no doubt about it. Doubt is learned from functions held out of its
training, as random effects of its last layer (`RandomEffects`):

    u_i = Φ_i w_i + c + e_i,    w_i ~ N(ŵ, Σ),    e_i ~ N(0, diag d)
    so that    u_i ~ N(Φ_i ŵ + c, Φ_i Σ Φ_i' + diag d)

Φ_i is the last hidden layer on the grid for function i, ŵ and c are the network's own. Each
function has weights of its own, of which its boundary values, its total or a few readings tell; so
they correct all of the field, in the shapes that the network has made for it. On a grid with time
there is one w for the whole field: what is observed at one time corrects the others.

Several networks, trained from different beginnings, are an ensemble. Their belief is the same with
the members' deviations (u_m - mean)/√(M - 1) for Φ: low rank where members differ, a diagonal for
what they have in common and cannot see.

Source: Bayesian linear regression on the last layer, as in Snoek et al., "Scalable Bayesian
optimization using deep neural networks", ICML 2015; that its covariance is that of the weights
between functions, found from functions held out, rather than the shrinking uncertainty about one ŵ,
is what an operator that has seen all of its data needs. Ensembles: Lakshminarayanan et al., NeurIPS
2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from bayescons.descriptions import tabulated
from bayescons.functionals.boundary_conditions import BoundaryCondition, BoundaryConditions
from bayescons.gaussians.gaussian import Gaussian
from bayescons.grids import Grid
from bayescons.networks.boundary_corrected import BoundaryCorrected
from bayescons.problems.operators import Samples
from bayescons.refusals import RefusedValue
from bayescons.surrogates.random_effects import RandomEffects, random_effects

BATCH = 32  # functions evaluated at a time
# directions of a last layer: with many more than a tenth of the functions held out, intervals
# become too wide
RANK = 12


@tabulated("What networks say of one function")
class Readout(NamedTuple):
    """What networks say of one function.

    Attributes:
        mean: the field, (*grid.shape).
        features: Φ, of which its doubt is made, (*grid.shape, channels).
    """

    mean: jax.Array
    features: jax.Array


def readout(
    networks: Any,
    inputs: jax.Array,
    grid: Grid,
    values: Sequence[ArrayLike] = (),
    *,
    sides: Sequence[BoundaryCondition] = (),
) -> Readout:
    """The field that one function becomes, and the features Φ of its errors.

    Args:
        networks: a `FourierOperator` or another `OperatorNetwork`, whose last hidden layer is Φ; a
            `BoundaryCorrected`, of which the network before its correction is asked (the correction
            is the conditioning to come); or a sequence of two or more, whose mean is the field and
            whose deviations from it over √(M - 1) are Φ.
        inputs: the initial state, (*space). For a batch, map over it.
        grid: where the field is wanted.
        values: of the boundary, one for each side, for networks that read them; others leave them
            alone.
        sides: the sides they belong to; of a `BoundaryCorrected` they are its own.

    Raises:
        ValueError: for a network that reads boundary values and is given none, or one whose layers
            are corrected (`Correction.corrects_layers`): it has no output before the correction.
    """
    members = tuple(networks) if isinstance(networks, Sequence) else (networks,)
    single = [_member_readout(member, inputs, grid, values, sides) for member in members]
    if len(single) == 1:
        return single[0]
    fields = jnp.stack([one.mean for one in single], axis=-1)
    mean = jnp.mean(fields, axis=-1)
    return Readout(mean, (fields - mean[..., None]) / math.sqrt(len(single) - 1))


def readouts(
    networks: Any, samples: Samples, grid: Grid, *, sides: Sequence[BoundaryCondition] = ()
) -> Readout:
    """`readout` of many functions, which come first in its arrays."""

    @jax.jit
    def of_all(inputs, boundary):
        return jax.lax.map(
            lambda one: readout(networks, one[0], grid, one[1], sides=sides),
            (inputs, boundary),
            batch_size=BATCH,
        )

    return of_all(samples.inputs, samples.boundary)


def operator_belief(
    networks: Any,
    effects: RandomEffects,
    inputs: jax.Array,
    grid: Grid,
    values: Sequence[ArrayLike] = (),
    *,
    sides: Sequence[BoundaryCondition] = (),
) -> Gaussian:
    """The belief about the field that an initial state becomes: N(Φ ŵ + c, Φ Σ Φ' + diag d), a
    `LowRank` on the grid.

    Arguments as of `readout`; `effects` are those of `operator_effects` for the same networks. As a
    program,

        u = numpyro.sample("u", operator_belief(network, effects, state, grid))
        bc.observe("wall", bc.dirichlet(grid, "x", "lower"), u, wall)

    after which the wall has no variance and the interior has moved. Given the values at a boundary
    its mean is that of a `FeatureCorrection` with the same covariance of the weights and nothing
    smooth beside them; on grids with time that correction takes each time for itself, this belief
    does not.

    Raises:
        ValueError: for effects of other channels or of another grid.
    """
    mean, features = readout(networks, inputs, grid, values, sides=sides)
    dtype = jnp.result_type(float)
    return effects.belief(mean.astype(dtype), features.astype(dtype))


def operator_effects(
    networks: Any,
    samples: Samples,
    grid: Grid,
    *,
    sides: Sequence[BoundaryCondition] = (),
    structure: str | None = None,
    rank: int | None = RANK,
    **settings: Any,
) -> RandomEffects:
    """Σ and d from functions that the networks have not been trained on.

    Args:
        networks: as of `readout`.
        samples: of the problem, `problem.sample(key, n, grid)`; a hundred or more are well spent on
            the last layer.
        grid: of their outputs.
        sides: of their boundary values, for networks that read them.
        structure: of Σ, see `random_effects`; None is "full" for a last layer, and "one" for an
            ensemble, whose members are exchangeable.
        rank: how many directions of a last layer may vary ("full" alone).
        settings: `pointwise`, `steps` and `tolerance` of `random_effects`.

    Where it fails: functions that a network was trained on have smaller errors than others, and
    intervals learned from them are too narrow.
    """
    if structure is None:
        structure = "one" if isinstance(networks, Sequence) and len(networks) > 1 else "full"
    means, features = readouts(networks, samples, grid, sides=sides)
    errors = samples.outputs - means
    return random_effects(
        features,
        errors,
        structure=structure,
        rank=rank if structure == "full" else None,
        **settings,
    )


def _member_readout(
    network: Any,
    inputs: jax.Array,
    grid: Grid,
    values: Sequence[ArrayLike],
    sides: Sequence[BoundaryCondition],
) -> Readout:
    """Field and last hidden layer of one network."""
    if isinstance(network, BoundaryCorrected):
        if network.correction.corrects_layers:
            raise RefusedValue(
                f"{type(network.correction).__name__} corrects the layers: there is no output "
                "before it. Take FeatureCorrection() or NoCorrection()"
            )
        network, sides = network.network, network.boundary.sides
    if not network.sides:
        features = network.features(inputs, grid)
    elif len(sides) != network.sides or len(values) != network.sides:
        raise RefusedValue(
            f"the network reads {network.sides} boundary values; got {len(values)} for "
            f"{len(sides)} sides. Give one for each, in the order of sides=problem.sides()"
        )
    else:
        arrays = BoundaryConditions(grid, tuple(sides)).arrays(values)
        features = network.features(inputs, grid, arrays, axes=tuple(side.axis for side in sides))
    return Readout(network.output(features), features)
