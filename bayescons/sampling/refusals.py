"""Refusals: programs, data and runs that give no posterior, and what to write instead.

Before a run only the structure of a program is known; inside a compiled one nothing can be raised.
What went wrong there is found out by running the program once more with all values known, because
then the library names what is wrong.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable

import numpy as np
from numpyro import handlers
from numpyro.infer.initialization import init_to_uniform

from bayescons import tracing
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.programs.fields import improper, is_gaussian
from bayescons.programs.statements import statement
from bayescons.programs.structure import program_structure
from bayescons.refusals import Refusal, RefusedType, RefusedValue
from bayescons.sampling.methods import Run, Sampler
from bayescons.sampling.residuals import structure_of
from bayescons.sampling.targets import read

GAP = 1e-6  # prior standard deviations by which exact rows may miss each other, as in `conjugate`


def refuse_sites(reading: Callable, name: str, sampler: Sampler) -> None:
    """An error that names the sites of a reading that a sampler cannot move, and the way out.

    Raises:
        ValueError: no latent site at all; or a prior that has no draws, for a sampler that begins
            with them.
        TypeError: discrete sites; or, for "elliptical", sites that are not Gaussian.
    """
    latents = structure_of(reading).latents
    if not latents:
        raise RefusedValue(
            "the program has no unknowns: every sample site is observed, so there is nothing to "
            "sample. Leave a site without obs=, or ask for its density with "
            "numpyro.infer.util.log_density"
        )
    endless = [site for site, fn in latents.items() if improper(fn)]
    if endless and sampler.from_prior:
        raise RefusedValue(
            f"sampler {name!r} begins with draws from the prior, and {_list(endless)} has an "
            "improper one, with no draws and no evidence. Give it a proper prior, dist.Normal(0, "
            "10) say, or use sampler='nuts'"
        )
    discrete = [
        site for site, fn in latents.items() if fn.support is not None and fn.support.is_discrete
    ]
    if discrete and sampler.kernel is not None:
        raise RefusedType(
            f"the latent sites {_list(discrete)} are discrete, and {name!r} moves along "
            "gradients or ellipses. Sum them out in the program (dist.MixtureSameFamily, "
            "numpyro.factor); or, where they stand above Gaussian fields, bc.conjugate(program, "
            "latent_draws=1000, key=key) weighs draws of them by their evidence"
        )
    foreign = [site for site, fn in latents.items() if not is_gaussian(fn)]
    if sampler.interpretation == "whitened" and foreign:
        raise RefusedType(
            f"sampler {name!r} needs every latent to be Gaussian; {_list(foreign)} "
            f"{'is' if len(foreign) == 1 else 'are'} not. Write a positive one as the exponential "
            "of a Normal, x = jnp.exp(numpyro.sample('log_x', dist.Normal(0, 1))), or use "
            "sampler='nuts'"
        )


@tracing.one_at_a_time
def refuse_run(found: Run, program, reading, scale) -> None:
    """Raise for what inside a compiled run could only be recorded: contradictions, and densities
    that are NaN or zero at every start.

    The program is run once more where there is reason, with all values known, because then the
    library names what is wrong.
    """
    lost = not np.isfinite(found.summary["start"]).any()
    gaps = [found.draws[name] for name in program_structure(program).gaps if name in found.draws]
    widest = max(float(np.max(gap)) for gap in (*gaps, found.summary.get("gap", np.zeros(1))))
    broken = not all(
        np.isfinite(values).all() for values in found.draws.values() if values.dtype.kind == "f"
    )
    if lost or broken or not widest <= GAP:
        _diagnose(program, reading, scale)
    if not widest <= GAP:
        raise InconsistentConstraintsError(
            "for some values of the latents exact statements contradict each other, by "
            f"{widest:.1e} prior standard deviations. Fix the latents, "
            f"numpyro.handlers.substitute(program, data={{...}}), and bc.conjugate names the rows"
        )
    if np.isnan(found.summary.get("log_evidence", np.zeros(1))).any():
        raise RefusedValue(
            "a population of particles did not reach the posterior: no draw of the prior has a "
            "likelihood above zero, or it is NaN. Take more particles (draws=), or a prior that "
            "foresees the data"
        )
    if lost:
        raise RefusedValue(
            "the log density is NaN or minus infinity wherever a chain could start (100 points "
            "around the origin of the unconstrained coordinates). Either (a) an observed value "
            "lies outside its distribution's support, (b) a functional or a likelihood divides by "
            "zero or takes a logarithm or root of a negative number, or (c) data hold NaN"
        )


def refuse_nan(program: Callable) -> None:
    """An error that names a statement whose functional is not finite for a finite field."""
    with contextlib.suppress(Refusal):  # of the exact reading
        program = program_structure(program)
    with handlers.block():
        trace = handlers.trace(begun(program)).get_trace()
    for name, site in trace.items():
        known = statement(site["fn"]) if site["type"] == "sample" else None
        if known is not None and not np.isfinite(np.asarray(known.computed())).all():
            raise RefusedValue(
                f"the functional of {name!r} gives NaN or infinity for a finite field. It must be "
                "defined wherever the belief has mass: look for a division by zero, a logarithm or "
                "a root in it"
            )


def begun(program: Callable) -> Callable:
    """The program at a point where a chain could start."""
    return handlers.substitute(handlers.seed(program, 0), substitute_fn=init_to_uniform)


def _diagnose(program: Callable, reading: str, scale) -> None:
    """Run a reading once, with values, at a draw of its prior: doors that saw only abstract values
    before now see numbers.

    Raises:
        ValueError: naming a site whose density, or a statement whose functional, is NaN; and
            whatever the doors refuse.
    """
    refuse_nan(program)
    with handlers.block(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = handlers.trace(begun(read(program, reading, scale))).get_trace()
        densities = {
            name: site["fn"].log_prob(site["value"])
            for name, site in trace.items()
            if site["type"] == "sample"
        }
    for name, density in densities.items():
        if not np.isfinite(np.asarray(density)).all():
            raise RefusedValue(
                f"the log density of {name!r} is NaN or infinite where a chain starts. Look for "
                "NaN in its data, a value outside its support, or a parameter (a scale, a rate) "
                "that is not positive"
            )


def _list(names) -> str:
    return ", ".join(sorted(map(repr, names)))
