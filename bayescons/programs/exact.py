"""The exact reading: a program whose statements hold to rounding, noise → 0, as a program."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.groups import conditioned_groups
from bayescons.programs.handlers import CollectStatements, ReplayFields
from bayescons.programs.reinterpretation import Reinterpretation
from bayescons.programs.structure import program_structure


def exact(program: Callable) -> Callable:
    """The program with its exact statements carried out: noise → 0, as an ordinary NumPyro program.

    For every constrained field u ~ N(m, K) with statements G u = b + e, e ~ N(0, R), R → 0:

    - a site `<u>_free`, white noise z ~ N(0, I), is what a sampler sees in place of the field;
    - u = m + K G' S⁺ (b - G m) + A z with A A' = K - K G' S⁺ G K (Matheron's rule), recorded as the
      deterministic site `<u>`; it satisfies the statements to rounding for every z;
    - a factor `<u>_evidence`, log N(b; G m, S), for what was observed: latents above the field
      learn from it. Imposed statements have none.
    - in a program with latents above its fields, whose rows may contradict each other for some of
      their values only, a deterministic site `<u>_gap`: the largest violation of an exact row, in
      prior standard deviations; rounding, unless rows contradict each other.

    Everything else in the program is untouched, so NUTS, SVI, Predictive and BlackJAX run on the
    result. (Predictive over saved draws of the fields, without those of the white noise, needs
    `condition_deterministic=True`, or it draws fields from the prior; `bayescons.predict` needs
    nothing.) What does not depend on a random variable is computed once, when the program is
    traced, however many gradients follow. Fields tied together by a statement share one free site,
    named after all of them.

    Args:
        program: an ordinary NumPyro program with `observe` or `impose` statements.

    Returns:
        A program with the same arguments and return value.

    Raises:
        TypeError: when it is run: a constrained field is not Gaussian.
        ValueError: a functional is not affine, a statement depends on something below its field, or
            its shape does not fit.
        InconsistentConstraintsError: statements contradict each other.

    Example:
        >>> def program(total):
        ...     u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
        ...     bc.observe("total", lambda u: u.sum(), u, total)
        >>> seeded = numpyro.handlers.seed(bc.exact(program), 0)
        >>> trace = numpyro.handlers.trace(seeded).get_trace(6.0)
        >>> list(trace), round(float(trace["u"]["value"].sum()), 12)
        (['u_free', 'u_evidence', 'u'], 6.0)
    """

    def rewritten(*args, **kwargs):
        structure = program_structure(program, args, kwargs)
        if not structure.fields:
            return program(*args, **kwargs)
        whole = functools.partial(program, *args, **kwargs)
        above = CollectStatements(structure).run()
        conditioned = conditioned_groups(structure, above.sites, whole)
        fields = {}
        for layout, group in zip(structure.groups, conditioned, strict=True):
            fields |= layout.fields(_draw(layout.name, group.posterior))
            if group.log_evidence is not None:
                numpyro.factor(f"{layout.name}_evidence", group.log_evidence)
            if structure.latents:
                numpyro.deterministic(f"{layout.name}_gap", group.violation)
        # Whoever hands over draws of the fields (Predictive, substitute) gets what follows of them.
        fields = {name: numpyro.deterministic(name, value) for name, value in fields.items()}
        return ReplayFields(structure, above.sites, fields)()

    return Reinterpretation(
        program,
        rewritten,
        reading="read exactly: statements hold to rounding",
        gives="a NumPyro program's sites: white noise <u>_free in place of a constrained field u, "
        "log evidence <u>_evidence, and u itself as a deterministic site",
    )


def _draw(name: str, posterior: Gaussian):
    """A draw of the posterior as a function of a white-noise site."""
    shape = (*posterior.batch_shape, posterior.covariance.noise_size)
    white = dist.Normal(np.zeros(shape), 1.0).to_event(len(shape))
    return posterior.transport(numpyro.sample(f"{name}_free", white))
