"""Plots: what the figures must show; how they look is for people to judge."""

import io

import matplotlib.pyplot
import numpy as np
import pytest
from matplotlib.text import Text

from bayescons import plots

X = np.linspace(0, 1, 21)
T = np.linspace(0.005, 0.1, 20)
PROFILES = {"before": (1 - X, 0.1 + 0 * X), "after": (1 - X**2, 0.05 + 0 * X)}
FRONTS = {"before": np.array([[0.2, 0.3, np.nan, 0.25]]), "after": np.array([0.24, 0.25, 0.26])}


def profile():
    return plots.plot_profile(X, PROFILES, 1 - X, (X[::5], 1 - X[::5]), time=0.05)


def total():
    return plots.plot_total(T, {"before": 0.9 * T, "after": T}, T)


def front():
    return plots.plot_front(FRONTS, 0.25)


def words(figure):
    """All text of a drawn figure."""
    figure.savefig(io.BytesIO(), format="png")
    return [text for text in figure.findobj(Text) if text.get_visible() and text.get_text()]


@pytest.mark.parametrize("draw", [profile, total, front])
def test_every_word_can_be_read_at_half_size(draw):
    figure = draw()
    assert figure.get_size_inches()[0] == 7.0
    assert min(text.get_fontsize() for text in words(figure)) >= 10


@pytest.mark.parametrize("draw", [profile, total, front])
def test_figures_are_drawn_without_pyplot(draw):
    before = matplotlib.pyplot.get_fignums()
    draw()
    assert matplotlib.pyplot.get_fignums() == before


@pytest.mark.parametrize("draw", [profile, total, front])
def test_every_visible_panel_names_its_axes_or_shares_them(draw):
    figure = draw()
    assert any(panel.get_xlabel() for panel in figure.axes)
    assert any(panel.get_ylabel() for panel in figure.axes)


@pytest.mark.parametrize(("number", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3))])
def test_profiles_have_one_panel_for_each_method(number, shape):
    figure = plots.plot_profile(X, {str(i): (X, 0.1 + 0 * X) for i in range(number)})
    assert sum(panel.get_visible() for panel in figure.axes) == number
    assert len(figure.axes) == shape[0] * shape[1]


def test_the_band_is_the_central_interval_of_the_stated_probability():
    figure = plots.plot_profile(X, {"a": (0 * X, 1 + 0 * X)}, level=0.5)
    upper = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1].max()
    np.testing.assert_allclose(
        upper, 0.6744897501960817, rtol=1e-12
    )  # upper quartile of a standard normal
    assert "50 % band" in [text.get_text() for text in words(figure)]


def test_the_error_panel_holds_the_signed_error_of_the_total():
    lower = total().axes[1]
    np.testing.assert_allclose(lower.lines[0].get_ydata(), -0.1 * T, atol=1e-16)
    np.testing.assert_array_equal(lower.lines[1].get_ydata(), 0)


def test_absent_fronts_are_counted_in_the_legend_and_missing_from_the_histogram():
    figure = front()
    assert {"before (1 of 4 absent)", "after (0 of 3 absent)"} <= {
        text.get_text() for text in words(figure)
    }
    shares = [patch.get_data().values.sum() for patch in figure.axes[0].patches]
    np.testing.assert_allclose(shares[::2], [0.75, 1.0], rtol=1e-15)


def test_a_histogram_without_any_front_is_still_a_figure():
    assert "none (4 of 4 absent)" in {
        text.get_text() for text in words(plots.plot_front({"none": np.full(4, np.nan)}))
    }


def test_methods_keep_their_colours_from_figure_to_figure():
    band = profile().axes[1].lines[0].get_color()
    assert band == total().axes[0].lines[1].get_color() == plots.COLOURS[1]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.plot_profile(X, {"a": (X, X[:, None])}),
        lambda: plots.plot_profile(X, {"a": (X, X)}, X[1:]),
        lambda: plots.plot_total(T, {"a": T[None]}, T),
        lambda: plots.plot_total(T, {"a": T}, 1.0),
    ],
)
def test_arrays_of_another_shape_are_refused(draw):
    with pytest.raises(ValueError, match="shape of the horizontal axis"):
        draw()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plots.plot_profile(X, {}),
        lambda: plots.plot_total(T, {}, T),
        lambda: plots.plot_front({}),
    ],
)
def test_a_figure_without_methods_is_refused(draw):
    with pytest.raises(ValueError, match="methods is empty"):
        draw()


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
def test_a_figure_is_saved_in_the_format_of_its_ending(tmp_path, ending):
    path = plots.save_figure(front(), tmp_path / f"front.{ending}")
    heads = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    assert path.read_bytes().startswith(heads[ending])
    assert list(tmp_path.iterdir()) == [path]


def test_a_figure_that_cannot_be_saved_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        plots.save_figure(front(), tmp_path / "missing" / "front.png")
    with pytest.raises(ValueError, match="must end in one of"):
        plots.save_figure(front(), tmp_path / "front.doc")
    assert list(tmp_path.iterdir()) == []
