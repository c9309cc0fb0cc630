"""Surrogates: from readings of a field to a Gaussian belief over it on a grid."""

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
