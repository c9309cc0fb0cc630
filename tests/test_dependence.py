"""Rows that nearly follow from others are told; those that do follow, and those that say enough,
are not.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayescons as bc
from bayescons.gaussians.consistency import NEARLY_DEPENDENT
from bayescons.gaussians.dependence import nearly_dependent

GRID = bc.Grid(x=np.linspace(0.0, 1.0, 6))
BOTH = bc.Grid(t=np.linspace(0.0, 1.0, 5), x=np.linspace(0.0, 1.0, 40))
BELIEF = bc.diagonal(jnp.zeros(6), 1.0)
TOTAL = bc.Constraint(bc.functional(lambda u: u.sum(), GRID), 1.0, name="total")


def leaning(small: float) -> bc.Constraint:
    """The total and a little of the first point, which is known by the difference to be 0.1."""
    more = bc.functional(lambda u: u.sum() + small * u[0], GRID)
    return bc.Constraint(more, 1.0 + 0.1 * small, name="leaning")


@pytest.mark.parametrize("small", [1e-3, 1e-5, 3e-6])
def test_what_rounding_can_tell_apart_is_used(small):
    """The first point is known to the rounding of the total over `small`."""
    found = bc.update(BELIEF, TOTAL & leaning(small))
    assert abs(float(found.posterior.mean[0]) - 0.1) <= 1e-14 / small**2
    assert int(found.status) == 0


@pytest.mark.parametrize("small", [3e-7, 1e-8, 1e-10, 1e-11])
def test_what_it_cannot_is_told_by_name_and_size(small):
    with pytest.warns(
        bc.gaussians.NearlyDependentWarning, match="leaning nearly follows from other rows"
    ):
        found = bc.update(BELIEF, TOTAL & leaning(small))
    assert int(found.status) == NEARLY_DEPENDENT
    share = nearly_dependent(found.posterior.covariance)
    # Of the first point's small share, what is not along the total, over the row's deviation.
    expected = small * np.sqrt(1 - 1 / 6) / np.sqrt(6)
    assert np.abs(share.max() / expected - 1) <= 1e-3
    assert np.sum(share > 0) == 1


def test_scales_far_apart_make_rows_nearly_dependent():
    belief = bc.diagonal(jnp.zeros(6), jnp.array([1e3, 1e3, 1e3, 1e-4, 1e-4, 1e-4]))
    large = bc.Constraint(bc.functional(lambda u: u[:3].sum(), GRID), 1 - 1e-5, name="large")
    with pytest.warns(
        bc.gaussians.NearlyDependentWarning, match=r"1\.0e-07 of the row's standard deviation"
    ):
        bc.update(belief, TOTAL & large)


def test_rows_that_do_follow_are_not_called_near():
    """Said twice, in other words, in parts; a total beside its initial and boundary values, below a
    rough and below a smooth belief, in any order, and in two steps. Warnings are errors here.
    """
    again = bc.Constraint(bc.functional(lambda u: u.sum() / 3, GRID), 1 / 3, name="a third")
    parts = [
        bc.Constraint(bc.functional(f, GRID), value, name=name)
        for name, f, value in (("a", lambda u: u[:3].sum(), 0.3), ("b", lambda u: u[3:].sum(), 0.7))
    ]
    assert int(bc.update(BELIEF, TOTAL & again & parts[0] & parts[1]).status) == 0
    first = jnp.sin(3 * BOTH["x"])
    initial = bc.Constraint(bc.initial(BOTH), first, name="initial")
    wall = bc.Constraint(bc.dirichlet(BOTH, "x", "lower"), 0.0, name="wall")
    amount = bc.integral(bc.Grid(x=BOTH["x"]))(first)
    mass = bc.Constraint(bc.integral(BOTH, over="x"), amount, name="mass")
    smooth = bc.surrogates.separable(
        BOTH, {"t": 0.5, "x": 0.3}, kernels="squared_exponential", amplitude=1.0
    )
    for belief in (bc.diagonal(jnp.zeros(BOTH.shape), 1.0), smooth):
        assert int(bc.update(belief, initial & wall & mass).status) == 0
        assert int(bc.update(belief | mass, initial & wall).status) == 0
        assert int(bc.update(belief | initial, wall & mass).status) == 0


def test_below_noise_nothing_is_near():
    noisy = bc.Constraint(leaning(1e-9).functional, 1.0, 1e-6, name="reading")
    assert nearly_dependent(bc.condition(BELIEF, TOTAL & noisy).covariance) is None


def test_every_member_of_a_batch_and_every_block_is_looked_at():
    batch = bc.diagonal(jnp.zeros((3, 6)), jnp.tile(jnp.arange(1.0, 4.0)[:, None], 6), batch_dims=1)
    with pytest.warns(bc.gaussians.NearlyDependentWarning):
        found = bc.update(batch, TOTAL & leaning(1e-9))
    assert found.status.shape == (3,)
    assert nearly_dependent(found.posterior.covariance).shape == (3, 2)
    belief = bc.diagonal(jnp.zeros(BOTH.shape), 1.0)
    mass = bc.Constraint(bc.integral(BOTH, over="x"), 1.0, name="mass")
    total = bc.integral(BOTH, over="x")
    tilted = total.weights[1] + 1e-9 * np.eye(40)[3]
    other = dataclasses.replace(total, weights=(None, tilted))
    with pytest.warns(bc.gaussians.NearlyDependentWarning, match=r"\[t=0.25\] and .* 2 more"):
        found = bc.update(belief, mass & bc.Constraint(other, 1.0, name="other"))
    shares = nearly_dependent(found.posterior.covariance)
    assert shares.shape == (5, 2)
    assert ((shares > 0).sum(axis=1) == 1).all()


def test_programs_tell_it_too_and_under_jit_nothing_is_said():
    def program(small):
        u = numpyro.sample("u", BELIEF)
        bc.observe("total", lambda u: u.sum(), u, 1.0)
        bc.observe("leaning", lambda u: u.sum() + small * u[0], u, 1.0 + 0.1 * small)

    with pytest.warns(bc.gaussians.NearlyDependentWarning, match="leaning nearly follows"):
        bc.conjugate(program)(1e-9)
    assert abs(float(bc.conjugate(program)(1e-5).mean["u"][0]) - 0.1) <= 1e-4
    constraint = TOTAL & leaning(1e-9)
    jax.jit(lambda mean: bc.update(bc.diagonal(mean, 1.0), constraint).posterior.mean)(jnp.zeros(6))


def test_below_latents_one_component_is_looked_at():
    def program(small):
        s = numpyro.sample("s", dist.LogNormal(0.0, 0.3))
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(6), s * jnp.ones(6)))
        bc.observe("total", lambda u: u.sum(), u, 1.0)
        bc.observe("leaning", lambda u: u.sum() + small * u[0], u, 1.0 + 0.1 * small)

    with pytest.warns(bc.gaussians.NearlyDependentWarning, match="leaning nearly follows"):
        bc.conjugate(program, latent_draws=20, key=jax.random.key(0))(1e-9)
