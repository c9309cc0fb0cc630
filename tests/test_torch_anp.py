"""The network in PyTorch that training steps are timed against is the same network; where there is
no PyTorch, that is said.
"""

import math

import jax
import pytest

from experiments import network_speed, training_step

needs_torch = pytest.mark.skipif(
    training_step.torch_interpreter() is None, reason=training_step.ABSENT
)


@pytest.fixture(scope="module")
def given():
    """A small network and its batch, in single precision."""
    with jax.enable_x64(False):
        yield training_step.trainee(width=8, dropout=0.5, size=3, points=2, key=jax.random.key(0))


@needs_torch
def test_from_the_same_weights_both_predict_the_same(given):
    found = training_step.differences(given)
    assert set(found) == {"latent_mean", "representation", "mean", "scale"}
    assert max(found.values()) < 1e-4  # the target of the experiment; a thousand roundings


@needs_torch
def test_training_in_torch_lowers_the_loss(given):
    with training_step.torch_process(given, dropout=0.0) as ask:
        first, last = (ask(f"step {count}") for count in (1, 100))
    assert len(last["seconds"]) == 100
    assert last["loss"] < first["loss"]


def test_without_torch_a_row_says_so(given, monkeypatch):
    monkeypatch.setattr(training_step, "torch_interpreter", lambda: None)
    monkeypatch.setattr(network_speed, "torch_interpreter", lambda: None)
    monkeypatch.setattr(training_step, "PAUSE", 0.0)
    taken = training_step.timed(given, dropout=0.5, steps=1, turns=1)
    rows = network_speed._step_rows("2 functions", taken) + network_speed._agreement_rows(given)
    missing = [row for row in rows if math.isnan(row.mean)]
    assert {row.note for row in missing} == {"torch is not installed; set TORCH_PYTHON"}
    assert {row.reference for row in missing} == {"≥ 2", "≤ 1e-4"}
    with (
        pytest.raises(RuntimeError, match="TORCH_PYTHON"),
        training_step.torch_process(given, dropout=0.5),
    ):
        pass
