"""The samplers, by name; and methods checked where a person names them."""

from __future__ import annotations

import dataclasses

from bayescons.arrays import one_of
from bayescons.refusals import RefusedValue
from bayescons.sampling.elliptical import ELLIPTICAL
from bayescons.sampling.hamiltonian import BLACKJAX_NUTS, COLLAPSED, NUTS
from bayescons.sampling.methods import Method, Sampler
from bayescons.sampling.microcanonical import ADJUSTED_MCLMC, MCLMC
from bayescons.sampling.starts import STARTS
from bayescons.sampling.tempering import SMC

SAMPLERS = {
    "auto": Sampler("the first of conjugate, collapsed and nuts that the program allows"),
    "conjugate": Sampler(
        "independent exact draws, where nothing above the fields is learnt about",
        closed_form=True,
        from_prior=True,
    ),
    "collapsed": COLLAPSED,
    "nuts": NUTS,
    "blackjax_nuts": BLACKJAX_NUTS,
    "mclmc": MCLMC,
    "adjusted_mclmc": ADJUSTED_MCLMC,
    "elliptical": ELLIPTICAL,
    "smc": SMC,
}


def checked(method: Method | str) -> Method:
    """The method, or that of a sampler by name, with the sampler's own numbers where it leaves them
    open; or an error that says what to write instead.

    Of "auto" they stay open until a sampler is chosen.

    Raises:
        ValueError: for a name that is none (offers the nearest), and for numbers that make no
            chain.
    """
    method = Method(method) if isinstance(method, str) else method
    one_of("sampler", method.sampler, tuple(SAMPLERS))
    one_of("start", method.start, STARTS)
    sampler = SAMPLERS[method.sampler]
    thinning = sampler.thinning if method.thinning is None else method.thinning
    target = sampler.acceptance if method.target_acceptance is None else method.target_acceptance
    whole = {
        "chains": (method.chains, 1),
        "draws": (method.draws, 1),
        "warmup": (method.warmup, 0),
        "thinning": (thinning, 1),
    }
    for name, (number, least) in whole.items():
        if isinstance(number, bool) or not isinstance(number, int) or number < least:
            raise RefusedValue(f"{name} must be a whole number, {least} or more; got {number!r}")
    if method.warmup < sampler.least_warmup:
        raise RefusedValue(
            f"sampler {method.sampler!r} is tuned in its warm-up and needs "
            f"warmup={sampler.least_warmup} or more; got {method.warmup}"
        )
    if not 0 < target < 1:
        raise RefusedValue(
            f"target_acceptance is a probability between 0 and 1; got {target!r}. Write 0.9"
        )
    if method.sampler == "auto":
        return method
    return dataclasses.replace(method, thinning=thinning, target_acceptance=target)
