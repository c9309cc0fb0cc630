"""Labelled arrays, as files of this field have them, given laws: xarray in, xarray out."""

from bayescons.labelled import budgets
from bayescons.labelled.conditioning import (
    LinearisedLawWarning,
    SurprisingLawWarning,
    condition,
    solved,
)
from bayescons.labelled.joint import JointPredictions, several
from bayescons.labelled.laws import (
    Equation,
    Law,
    average,
    dirichlet,
    integral,
    law,
    neumann,
    periodic,
    regions,
    robin,
    rows,
)
from bayescons.labelled.predictions import Predictions, predictions
