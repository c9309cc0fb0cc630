"""Networks: what supplies a mean and a covariance."""

from bayescons.networks.ensemble import Ensemble
from bayescons.networks.layers import Attention
from bayescons.networks.neural_process import AttentiveNeuralProcess, Normal, parameter_count
from bayescons.networks.weights import Pretrained, load_weights, pretrained, pretrained_names, save_weights
