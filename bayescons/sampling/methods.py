"""Methods: how a program is sampled, what a sampler is, and what a run leaves behind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from bayescons.descriptions import tabulated
from bayescons.refusals import RefusedType

READINGS = ("exact", "soft")


@tabulated("Sampler")
@dataclasses.dataclass(frozen=True)
class Sampler:
    """A sampler: its kernel, and what it asks of a program. A record stands beside each kernel, and
    `bayescons.sampling.registry` lists them.

    Attributes:
        summary: what it is, in a line.
        kernel: (target, method, key, start) -> `Run`, one chain from one start; None for what makes
            no chain.
        interpretation: of the exact reading, what its target is made of: "exact", "collapsed" (the
            fields integrated out) or "whitened" (every Gaussian latent a map of white noise).
        parted: whether its target is prior and likelihood apart.
        closed_form: whether the fields have to be Gaussian given all that is known of them.
        from_prior: whether it begins with draws from the prior, which then must be a proper one.
        thinning: steps between recorded draws, unless a method says otherwise.
        acceptance: acceptance probability that its step is tuned to, unless a method says
            otherwise.
        least_warmup: steps without which there is nothing to tune with.
    """

    summary: str
    kernel: Callable | None = None
    interpretation: str = "exact"
    parted: bool = False
    closed_form: bool = False
    from_prior: bool = False
    thinning: int = 1
    acceptance: float = 0.8
    least_warmup: int = 0


@tabulated("Method of sampling")
@dataclasses.dataclass(frozen=True)
class Method:
    """How a program is sampled.

    Attributes:
        sampler: one of `registry.SAMPLERS`.
        chains: independent chains, run side by side; for "smc" independent populations.
        warmup: steps of each chain before its first draw, in which it is tuned; of no meaning to
            "conjugate" and "smc".
        draws: recorded draws of each chain; for "smc" particles.
        thinning: steps between recorded draws; None for the sampler's own, 10 for "mclmc" and
            "adjusted_mclmc", 5 for "elliptical", otherwise 1.
        target_acceptance: acceptance probability that the step is tuned to; None for the sampler's
            own (0.8; "adjusted_mclmc" 0.9, "collapsed" 0.95). Raise it where there are divergences.
        start: where chains begin: None, uniform within 2 of the origin in unconstrained
            coordinates; "pathfinder", a draw from a normal approximation on the way to a mode, for
            each chain; "svi", draws from one fitted mean-field guide.
        progress: whether a bar is shown on stderr.
    """

    sampler: str = "nuts"
    chains: int = 4
    warmup: int = 1000
    draws: int = 1000
    thinning: int | None = None
    target_acceptance: float | int | None = None
    start: str | None = None
    progress: bool = False


@tabulated("Run of a sampler")
class Run(NamedTuple):
    """What a sampler leaves behind: one chain, or several, with an axis of chains in front of all
    that is said here.

    Attributes:
        draws: name -> (draw, ...): of a chain its coordinates z; of a program every latent, field
            and deterministic site, and `<u>_gap` of the exact reading.
        statistics: of the sampler, name -> (draw,): `diverging`, `n_steps` since the last draw,
            `acceptance_rate`, `lp`, ...; empty where draws are independent.
        warmup: the same of the warm-up, name -> (step,); empty where the sampler keeps none.
        summary: of the chain as a whole: `gradients` and `warmup_gradients`, how often the gradient
            was evaluated; of "smc" `log_evidence`, `temperatures`, `ancestors`, `acceptance_rate`,
            `divergences`; of a program also `start` (the log density where it began) and `gap` (as
            `<u>_gap`, where nothing is random above the fields).
    """

    draws: dict
    statistics: dict
    warmup: dict
    summary: dict


def checked_key(key) -> tuple[jax.Array, dict]:
    """The key, or one made from a whole number, and what is recorded of it.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return jax.random.key(int(key)), {"seed": int(key)}
    if not isinstance(key, jax.Array) or not (
        jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0
    ):
        what = f" of shape {key.shape} and type {key.dtype}" if isinstance(key, jax.Array) else ""
        raise RefusedType(
            f"key must be one jax.random.key, or a whole number; got {type(key).__name__}{what}. "
            "Write key=jax.random.key(0)"
        )
    return key, {"key": np.asarray(jax.random.key_data(key)).tolist()}
