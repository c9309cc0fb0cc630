"""Sampling: one program under every sampler, and whether its numbers can be trusted."""

from bayescons.sampling.chains import chains
from bayescons.sampling.choice import Choice, choose
from bayescons.sampling.front import sample
from bayescons.sampling.methods import SAMPLERS, Method, Run, checked
from bayescons.sampling.mixing import Mixing, NotMixedWarning, mixing
from bayescons.sampling.structure import residuals

__all__ = [
    "SAMPLERS",
    "Choice",
    "Method",
    "Mixing",
    "NotMixedWarning",
    "Run",
    "chains",
    "checked",
    "choose",
    "mixing",
    "residuals",
    "sample",
]
