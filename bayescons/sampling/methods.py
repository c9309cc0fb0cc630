"""Methods: which sampler, how many chains and draws, from where; checked where a person names them.
And what a run leaves behind.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from bayescons.arrays import one_of

SAMPLERS = {
    "auto": "the first of conjugate, collapsed and nuts that the program allows",
    "conjugate": "independent exact draws, where nothing above the fields is learnt about",
    "collapsed": (
        "NUTS over the latents above the fields, the fields integrated out and then drawn exactly"
    ),
    "nuts": "NumPyro's No-U-Turn sampler",
    "blackjax_nuts": "BlackJAX's No-U-Turn sampler",
    "mclmc": "microcanonical Langevin, not adjusted: a small bias from its step",
    "adjusted_mclmc": "microcanonical Hamiltonian, with a Metropolis step",
    "elliptical": "elliptical slice sampling, where every latent is Gaussian",
    "smc": "particles tempered from the prior to the posterior, with the evidence",
}
READINGS = ("exact", "soft")
STARTS = (None, "pathfinder", "svi")
# Steps between recorded draws. Microcanonical samplers move in small steps, of which about ten make
# one of NUTS's trajectories.
THINNING = {"mclmc": 10, "adjusted_mclmc": 10, "elliptical": 5}
# Of "collapsed" higher than NUTS's own: where the evidence falls off a cliff, as exp(-c /
# amplitude²) does, long steps diverge, and in the few unknowns that are left short ones cost
# little.
ACCEPTANCE = {"adjusted_mclmc": 0.9, "collapsed": 0.95}
LEAST_WARMUP = {
    "blackjax_nuts": 20,
    "mclmc": 20,
    "adjusted_mclmc": 20,
}  # steps without which there is nothing to tune with


@dataclasses.dataclass(frozen=True)
class Method:
    """How a program is sampled.

    Attributes:
        sampler: one of `SAMPLERS`.
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

    @property
    def every(self) -> int:
        """Steps between recorded draws."""
        return THINNING.get(self.sampler, 1) if self.thinning is None else self.thinning

    @property
    def acceptance(self) -> float | int:
        """Acceptance probability that the step is tuned to."""
        return (
            ACCEPTANCE.get(self.sampler, 0.8)
            if self.target_acceptance is None
            else self.target_acceptance
        )


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


def checked(method: Method | str) -> Method:
    """The method, or that of a sampler by name, or an error that says what to write instead.

    Raises:
        ValueError: for a name that is none (offers the nearest), and for numbers that make no
            chain.
    """
    method = Method(method) if isinstance(method, str) else method
    one_of("sampler", method.sampler, tuple(SAMPLERS))
    one_of("start", method.start, STARTS)
    for name, least in {"chains": 1, "draws": 1, "warmup": 0, "every": 1}.items():
        number = getattr(method, name)
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            name = "thinning" if name == "every" else name
            raise ValueError(f"{name} must be a whole number, {least} or more; got {number!r}")
    least = LEAST_WARMUP.get(method.sampler, 0)
    if method.warmup < least:
        raise ValueError(
            f"sampler {method.sampler!r} is tuned in its warm-up and needs warmup={least} or more; "
            f"got {method.warmup}"
        )
    if not 0 < method.acceptance < 1:
        raise ValueError(
            "target_acceptance is a probability between 0 and 1; got "
            f"{method.target_acceptance!r}. Write 0.9"
        )
    return method
