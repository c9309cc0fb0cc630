"""Sampling: one program under every sampler, and whether its numbers can be trusted."""

from bayescons.results.mixing import Mixing, NotMixedWarning, mixing
from bayescons.sampling.choice import Choice, choose
from bayescons.sampling.methods import Method, Run, Sampler
from bayescons.sampling.registry import SAMPLERS, checked
from bayescons.sampling.residuals import residuals
from bayescons.sampling.run import chains
from bayescons.sampling.sample import sample

__all__ = [
    "SAMPLERS",
    "Choice",
    "Method",
    "Mixing",
    "NotMixedWarning",
    "Run",
    "Sampler",
    "chains",
    "checked",
    "choose",
    "mixing",
    "residuals",
    "sample",
]
