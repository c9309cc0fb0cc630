"""Surrogates: from readings of a field, or from the state it began with, to a Gaussian belief over
it on a grid.
"""

from bayescons.surrogates.gaussian_process import (
    KERNELS,
    Hyperparameters,
    fit,
    gaussian_process,
    log_evidence_of_readings,
    separable,
    straight_between,
)
from bayescons.surrogates.neural_process import (
    Members,
    Moments,
    ensemble_members,
    field,
    latent,
    latent_draws,
    latent_moments,
    matched,
    moments,
    stretched_draws,
)
from bayescons.surrogates.operator_network import (
    Readout,
    operator_belief,
    operator_effects,
    readout,
    readouts,
)
from bayescons.surrogates.random_effects import RandomEffects, random_effects
