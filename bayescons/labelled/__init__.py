"""Labelled arrays, as files of this field have them, given laws: xarray in, xarray out."""

from bayescons.labelled.conditioning import SurprisingLawWarning, condition, solved
from bayescons.labelled.laws import (
    Law,
    average,
    dirichlet,
    integral,
    neumann,
    periodic,
    regions,
    robin,
    rows,
)
from bayescons.labelled.predictions import Predictions, predictions
