"""Training: data, losses, the loop, its checkpoints and log, and recipes that put them together."""

from bayescons.extras import require

require("networks", by="bayescons.training")

from bayescons.training.card import describe
from bayescons.training.checkpoints import Checkpoints, Log
from bayescons.training.data import Functions, functions
from bayescons.training.loop import Report, Schedule, train
from bayescons.training.losses import ensemble_loss, evidence_bound
from bayescons.training.neural_processes import (
    ConditionedRecipe,
    EnsembleRecipe,
    NeuralProcessRecipe,
    SoftlyConstrainedRecipe,
)
from bayescons.training.operators import OperatorRecipe, minibatches, relative_error
from bayescons.training.page import page, write
from bayescons.training.recipe import AbstractRecipe
from bayescons.training.registry import RECIPES
from bayescons.training.runs import run
