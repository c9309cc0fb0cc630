"""Gaussian beliefs over fields, N(m, K) with K structured, and the conjugate update by what is
known of them.
"""

from bayescons.gaussians.abstract import AbstractCovariance
from bayescons.gaussians.bundled import (
    BlockDiagonal,
    Merged,
    OneOfSeveral,
    Regrouped,
    correlated,
)
from bayescons.gaussians.circulant import CirculantEmbedding
from bayescons.gaussians.composites import Conditioned, Marginal, Scaled
from bayescons.gaussians.conditioning import (
    Constraint,
    Update,
    condition,
    log_evidence,
    stack,
    update,
)
from bayescons.gaussians.consistency import InconsistentConstraintsError
from bayescons.gaussians.covariances import Dense, Diagonal, Kronecker, LowRank
from bayescons.gaussians.dependence import NearlyDependentWarning
from bayescons.gaussians.ensembles import (
    LocalisedEnsemble,
    ensemble,
    gaspari_cohn,
    localised_ensemble,
)
from bayescons.gaussians.fixers import OneFactor, in_sequence, ratio, shift
from bayescons.gaussians.gaussian import Gaussian, dense, diagonal, kronecker, low_rank
from bayescons.gaussians.masks import Masked, masked
from bayescons.gaussians.scales import functional_scale, quadrature_scale
