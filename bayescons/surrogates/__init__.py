"""Surrogates: from readings of a field, or from the state it began with, to a Gaussian belief over
it on a grid.
"""

from bayescons.extras import require

require("networks", by="bayescons.surrogates")

from bayescons.surrogates.ensembles import Ensemble, Moments, moment_matched, moments
from bayescons.surrogates.gaussian_process import gaussian_process
from bayescons.surrogates.hyperparameters import (
    Hyperparameters,
    fit_hyperparameters,
    log_evidence_of_readings,
)
from bayescons.surrogates.neural_process import (
    LatentNetwork,
    ensemble_members,
    field_given_latent,
    latent_distribution,
    latent_draws,
    latent_moments,
    stretched_draws,
)
from bayescons.surrogates.operator_network import (
    Readout,
    operator_belief,
    operator_effects,
    readout,
    readouts,
)
from bayescons.surrogates.priors import KERNELS, separable, straight_between
from bayescons.surrogates.random_effects import RandomEffects, random_effects
