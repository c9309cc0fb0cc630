"""Figures: fields, totals and fronts; calibration."""

from bayescons.extras import require

require("plots", by="bayescons.plots")

from bayescons.plots.calibration import plot_coverage, plot_ecdf_difference
from bayescons.plots.fields import COLOURS, DPI, plot_front, plot_profile, plot_total, save_figure
