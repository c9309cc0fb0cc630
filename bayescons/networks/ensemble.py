"""A deep ensemble: the same network several times over, from different first weights; where the
members differ, they do not know.
"""

from __future__ import annotations

from typing import Any

import jax
from flax import nnx

from bayescons.networks.neural_process import Box, Decoder, DeterministicPath, Normal, scale_to_box
from bayescons.refusals import RefusedValue


class Regressor(nnx.Module):
    """Readings of a field and points x → u(x) ~ N(μ, σ²): the deterministic path and decoder of a
    neural process, without a latent.
    """

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs):
        self.path = DeterministicPath(width, heads, rate=0.0, rngs=rngs)
        self.decoder = Decoder(width, latent=0, rngs=rngs)

    def __call__(self, inputs: jax.Array, values: jax.Array, points: jax.Array) -> Normal:
        """Inputs (n, 2), values (n,), points (m, 2) → mean and scale of shape (m,)."""
        return self.decoder(
            self.path(inputs, values, points), jax.numpy.zeros(0, points.dtype), points
        )


class DeepEnsemble(nnx.Module):
    """M independent regressors with a variance of their own at every point (heteroskedastic heads).

        u(x) | readings, member m ~ N(μ_m(x), σ_m(x)²)

    Their weights are one set of arrays with a leading axis M, so that all run in one call. Written
    for one function; batch it with `jax.vmap`.

    Args:
        members: M, two or more.
        width: channels of each.
        heads: of the attention, a divisor of the width.
        box: corners of the domain, mapped to [-1, 1]²; None leaves inputs as they are.

    Where it fails: members trained on the same functions share their mistakes, so outside the
    training range the spread is too small.

    Source: Lakshminarayanan, Pritzel and Blundell, "Simple and scalable predictive uncertainty
    estimation using deep ensembles", NeurIPS 2017: different first weights are enough, no
    bootstrap.
    """

    def __init__(
        self,
        *,
        members: int = 5,
        width: int = 64,
        heads: int = 4,
        box: Box | None = None,
        rngs: nnx.Rngs,
    ):
        if members < 2:
            raise RefusedValue(f"an ensemble has two members or more; got members={members}")
        self.count, self.width, self.heads, self.box = members, width, heads, box
        self.members = nnx.vmap(lambda r: Regressor(width, heads, rngs=r))(rngs.split(members))

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments it was made with, but for the random numbers."""
        return {"members": self.count, "width": self.width, "heads": self.heads, "box": self.box}

    def predict(self, inputs: jax.Array, values: jax.Array, points: jax.Array) -> Normal:
        """Inputs (n, 2), values (n,), points (m, 2) → means and scales of the members, shape (M,
        m).
        """
        arguments = (scale_to_box(inputs, self.box), values, scale_to_box(points, self.box))
        definition, weights = nnx.split(
            self.members
        )  # split, so that it may stand inside any transformation of JAX
        return jax.vmap(lambda of_one: nnx.merge(definition, of_one)(*arguments))(weights)
