"""Sampling: one program under every sampler, and whether its numbers can be trusted."""

from bayescons.sampling.chains import Chains, chains
from bayescons.sampling.choice import Choice, choose
from bayescons.sampling.front import sample
from bayescons.sampling.methods import SAMPLERS, Method, checked
from bayescons.sampling.mixing import Mixing, NotMixedWarning, mixing
from bayescons.sampling.residuals import residuals

__all__ = [
    "SAMPLERS",
    "Chains",
    "Choice",
    "Method",
    "Mixing",
    "NotMixedWarning",
    "chains",
    "checked",
    "choose",
    "mixing",
    "residuals",
    "sample",
]
