"""Networks: what supplies a mean and a covariance."""

from bayescons.extras import require

require("networks", by="bayescons.networks")

from bayescons.networks.boundary_corrected import BoundaryCorrected
from bayescons.networks.corrections import (
    CORRECTIONS,
    ConjugateCorrection,
    Correction,
    FeatureCorrection,
    KernelCorrection,
    LayerCorrection,
    NoCorrection,
    Overwrite,
    ReferenceCorrection,
)
from bayescons.networks.deep_operator import DeepOperator
from bayescons.networks.elimination import ReferenceQuirks
from bayescons.networks.ensemble import DeepEnsemble
from bayescons.networks.feature_lift import FeatureLift
from bayescons.networks.fourier_operator import FourierOperator
from bayescons.networks.kernel_lift import KernelLift
from bayescons.networks.layer_rules import LayerRule
from bayescons.networks.layers import Attention
from bayescons.networks.neural_process import AttentiveNeuralProcess, Normal, parameter_count
from bayescons.networks.operator_network import OperatorNetwork
from bayescons.networks.spectral import SpectralConv, spectrum
from bayescons.networks.weights import (
    Pretrained,
    load_weights,
    pretrained,
    pretrained_names,
    save_weights,
)
