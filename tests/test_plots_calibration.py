"""Plots of calibration: what the figures must show; how they look is for people to judge."""

import io

import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.text import Text

from bayescons.plots.calibration import plot_coverage, plot_ecdf_difference

RNG = np.random.default_rng(0)
PITS = {
    "calibrated": RNG.uniform(size=200),
    "too narrow": RNG.beta(0.4, 0.4, size=200),
    "few": RNG.uniform(size=40),
}


def words(figure):
    """All text of a drawn figure."""
    figure.savefig(io.BytesIO(), format="png")
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("draw", [plot_ecdf_difference, plot_coverage])
def test_every_word_can_be_read_at_half_size_and_nothing_is_drawn_by_pyplot(draw):
    before = matplotlib.pyplot.get_fignums()
    figure = draw(PITS)
    assert figure.get_size_inches()[0] == 7.0
    assert min(text.get_fontsize() for text in words(figure)) >= 10
    assert matplotlib.pyplot.get_fignums() == before
    assert any(panel.get_xlabel() for panel in figure.axes)
    assert any(panel.get_ylabel() for panel in figure.axes)


def test_a_curve_that_leaves_its_band_is_marked():
    titles = [panel.get_title() for panel in plot_ecdf_difference(PITS).axes]
    assert titles == ["calibrated", "too narrow ✗", "few"]


@pytest.mark.parametrize(("number", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3))])
def test_there_is_a_panel_for_each_method(number, shape):
    figure = plot_ecdf_difference({str(i): PITS["few"] for i in range(number)})
    assert sum(panel.get_visible() for panel in figure.axes) == number
    assert len(figure.axes) == shape[0] * shape[1]


def test_the_band_of_coverage_is_that_of_the_fewest_cases():
    upper = plot_coverage(PITS).axes[0].collections[0].get_paths()[0].vertices[:, 1].max()
    levels = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(
        upper, max(1.0, (levels + 2 * np.sqrt(levels * (1 - levels) / 40)).max())
    )


@pytest.mark.parametrize("draw", [plot_ecdf_difference, plot_coverage])
def test_a_figure_without_methods_is_refused(draw):
    with pytest.raises(ValueError, match="methods is empty"):
        draw({})
