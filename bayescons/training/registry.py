"""The kinds of recipe, by name."""

from bayescons.training.neural_processes import (
    ConditionedRecipe,
    EnsembleRecipe,
    NeuralProcessRecipe,
    SoftlyConstrainedRecipe,
)
from bayescons.training.operators import OperatorRecipe
from bayescons.training.recipe import AbstractRecipe

RECIPES: dict[str, type[AbstractRecipe]] = {
    kind.kind: kind
    for kind in (
        NeuralProcessRecipe,
        SoftlyConstrainedRecipe,
        ConditionedRecipe,
        EnsembleRecipe,
        OperatorRecipe,
    )
}
