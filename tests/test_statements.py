"""Laws of the two statements, and what a program that cannot be read exactly is told to write
instead.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from flax import nnx
from numpyro import handlers
from numpyro.contrib import control_flow
from numpyro.contrib.module import nnx_module, random_nnx_module
from numpyro.infer import SVI, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal
from numpyro.infer.reparam import LocScaleReparam
from numpyro.infer.util import log_density

import bayescons as bc
from tests.readings import EPS, MASS, MEAN, WALL, N, log_joint, sites

READINGS = {
    "exact": lambda program: sites(bc.exact(program)),
    "conjugate": lambda program: bc.conjugate(program)(),
}
every_reading = pytest.mark.parametrize("read", READINGS.values(), ids=READINGS.keys())


def white():
    return numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))


def states(functional, value=1.0, scale=None, state=bc.observe):
    """A program that makes one statement about one field."""

    def program():
        u = white()
        state("fact", functional, u, value, scale)
        return u

    return program


@pytest.mark.parametrize("state", [bc.observe, bc.impose])
@pytest.mark.parametrize("scale", [None, 0, 0.0, "quadrature"])
def test_plain_numpyro_has_no_density_for_an_exact_fact_and_says_so(state, scale):
    with pytest.raises(
        bc.VanishingNoiseError, match=r"'fact' .*bc\.exact\(program\).*bc\.conjugate.*bc\.soft"
    ):
        log_joint(states(MASS, scale=scale, state=state), u=jnp.ones(N))


def test_plain_numpyro_has_no_density_for_an_exact_fact_in_a_plate():
    def program():
        with numpyro.plate("fields", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, N)), 1.0).to_event(1))
            bc.observe("fact", MASS, u, jnp.ones(3))

    with pytest.raises(bc.VanishingNoiseError, match="'fact' states an exact fact"):
        log_joint(program, u=jnp.ones((3, N)))


def test_a_statement_with_noise_is_an_ordinary_likelihood_under_plain_numpyro():
    u = jnp.linspace(0, 1, N)
    likelihood = (
        dist.Normal(MASS(u), 0.3).log_prob(1.0) + dist.Normal(jnp.zeros(N), 1.0).log_prob(u).sum()
    )
    assert abs(log_joint(states(MASS, scale=0.3), u=u) - likelihood) <= 100 * EPS * abs(likelihood)


@pytest.mark.parametrize(
    "functional", [MASS, lambda u: jnp.asarray(MASS.weights[0]) @ u], ids=["functional", "function"]
)
def test_a_noisy_statement_in_a_plate_counts_every_field_once(functional):
    values, fields = jnp.array([0.1, 0.2, 0.3]), jnp.linspace(0, 1, 3 * N).reshape(3, N)

    def program():
        with numpyro.plate("fields", 3):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((3, N)), 1.0).to_event(1))
            bc.observe("fact", functional, u, values, 0.3)

    totals = fields @ jnp.asarray(MASS.weights[0])
    expected = (
        dist.Normal(0, 1).log_prob(fields).sum() + dist.Normal(totals, 0.3).log_prob(values).sum()
    )
    assert abs(log_joint(program, u=fields) - expected) <= 100 * EPS * abs(expected)


def test_a_statement_returns_its_value_and_is_an_observed_site():
    def program():
        return bc.observe("fact", MASS, white(), 0.7)

    trace = handlers.trace(handlers.seed(program, 0)).get_trace()
    assert trace["fact"]["is_observed"]
    assert float(sites(program)["fact"]) == 0.7
    assert float(handlers.seed(bc.exact(program), 0)()) == 0.7


def test_a_stack_is_stated_one_by_one():
    both = bc.Constraint(MASS, 1.0) & bc.Constraint(WALL, 0.3)
    with pytest.raises(ValueError, match="'fact' holds several functionals; state them one by one"):
        sites(states(both.functional))


def test_a_functional_must_be_callable():
    with pytest.raises(
        TypeError,
        match=(
            "functional of 'fact' must be a functional or a function of the field; got Constraint"
        ),
    ):
        sites(states(bc.Constraint(MASS, 1.0)))


@pytest.mark.parametrize("read", [sites, *READINGS.values()], ids=["plain", *READINGS])
def test_a_scale_is_a_number_above_zero_or_quadrature(read):
    with pytest.raises(
        ValueError,
        match="scale of 'fact' must be None, a number, an array or 'quadrature'; got 'trapezoid'",
    ):
        read(states(MASS, scale="trapezoid"))
    with pytest.raises(ValueError, match="scale of 'fact' must be at least zero"):
        read(states(MASS, scale=-0.1))


@every_reading
def test_a_field_must_be_gaussian(read):
    def program():
        u = numpyro.sample("u", dist.StudentT(3.0, jnp.zeros(N), 1.0).to_event(1))
        bc.observe("fact", MASS, u, 1.0)

    with pytest.raises(
        TypeError,
        match=r"field 'u' has distribution StudentT, .*MultivariateNormal.*bc\.soft\(program, scale\)",
    ):
        read(program)


@every_reading
def test_a_functional_must_be_affine(read):
    with pytest.raises(
        ValueError,
        match=r"'fact': .*not affine.*numpyro\.sample\(name, dist\.Normal\(f\(u\), scale\), obs=value\)",
    ):
        read(states(lambda u: jnp.sum(u**2)))


@every_reading
def test_a_functional_that_closes_over_a_latent_must_be_affine(read):
    def program():
        power = numpyro.sample("power", dist.Uniform(1.0, 2.0))
        bc.observe("fact", lambda u: jnp.sum(jnp.exp(u) ** power), white(), 1.0)

    program = (
        program
        if read is READINGS["exact"]
        else handlers.substitute(program, data={"power": jnp.asarray(1.5)})
    )
    with pytest.raises(ValueError, match=r"'fact': .*not affine"):
        read(program)


def below_in_functional(u):
    slope = numpyro.sample("slope", dist.Normal(u[0], 1.0))
    bc.observe("fact", lambda u: slope * u[3], u, 1.0)


def below_in_value(u):
    bc.observe("fact", MASS, u, numpyro.sample("slope", dist.Normal(u[0], 1.0)))


def below_in_scale(u):
    bc.observe("fact", MASS, u, 1.0, jnp.exp(numpyro.sample("slope", dist.Normal(u[0], 1.0))))


def far_below(u):
    middle = numpyro.sample("middle", dist.Normal(u[0], 1.0))
    bc.observe("fact", MASS, u, numpyro.sample("slope", dist.Normal(middle, 1.0)))


@every_reading
@pytest.mark.parametrize("state", [below_in_functional, below_in_value, below_in_scale, far_below])
def test_a_statement_may_rest_only_on_what_stands_above_its_field(read, state):
    with pytest.raises(
        ValueError,
        match=r"'fact' depends on 'slope', which lies below the field.*only sites above the field",
    ):
        read(lambda: state(white()))


@every_reading
def test_a_value_may_not_be_computed_from_the_field_itself(read):
    def program():
        u = white()
        bc.observe("fact", MASS, u, u[0])

    with pytest.raises(ValueError, match=r"'fact' depends on 'u'.*giving it their tuple"):
        read(program)


@every_reading
@pytest.mark.parametrize(
    "transform",
    [lambda u: 2 * u, lambda u: u[:4], jnp.asarray(MEAN).__add__],
    ids=["scaled", "cut", "shifted"],
)
def test_a_field_is_given_as_it_was_sampled(read, transform):
    def program():
        bc.observe("fact", lambda u: u[0], transform(white()), 1.0)

    with pytest.raises(
        ValueError,
        match=r"field given to 'fact' is not the value of a latent sample site.*lambda u: G\(transform\(u\)\)",
    ):
        read(program)


@every_reading
def test_the_prior_of_a_field_does_not_depend_on_another_constrained_field(read):
    def program():
        u = white()
        v = numpyro.sample("v", dist.Normal(u, 1.0).to_event(1))
        bc.observe("fact", MASS, u, 1.0)
        bc.observe("other", MASS, v, 1.0)

    with pytest.raises(
        ValueError,
        match=r"prior of the field 'v' depends on 'u'.*one Gaussian.*constrain only the upper one",
    ):
        read(program)


@every_reading
def test_the_prior_of_a_field_does_not_depend_on_what_lies_below_another(read):
    def program():
        u = white()
        level = numpyro.sample("level", dist.Normal(u[0], 1.0))
        v = numpyro.sample("v", dist.Normal(level * jnp.ones(N), 1.0).to_event(1))
        bc.observe("fact", MASS, u, 1.0)
        bc.observe("other", MASS, v, 1.0)

    with pytest.raises(ValueError, match="prior of the field 'v' depends on 'level', which"):
        read(program)


def test_a_column_vector_is_refused_with_the_way_out():
    probes = states(lambda u: u[:3], jnp.ones((3, 1)))
    for read in READINGS.values():
        with pytest.raises(
            ValueError,
            match=r"value of 'fact' must have shape \(3,\).*got shape \(3, 1\); write value\[:, 0\]",
        ):
            read(probes)
    with pytest.raises(
        ValueError, match=r"'fact' must be numbers or have shape \(3,\); got shapes \(3, 1\)"
    ):
        log_joint(bc.soft(probes, 0.1), u=jnp.ones(N))


@every_reading
@pytest.mark.parametrize("size", [1, 4])
def test_a_value_has_the_shape_of_its_functional(read, size):
    with pytest.raises(
        ValueError, match=rf"value of 'fact' must have shape \(3,\).*got shape \({size},\)"
    ):
        read(states(lambda u: u[:3], jnp.ones(size)))


@every_reading
def test_a_functional_of_another_grid_is_refused(read):
    other = bc.integral(bc.Grid(x=np.linspace(0, 1, N + 1)))
    with pytest.raises(
        ValueError,
        match=rf"'fact' acts on fields of shape \({N + 1},\); its field has shape \({N},\)",
    ):
        read(states(other))


@every_reading
def test_contradictions_name_the_rows(read):
    def program():
        u = white()
        bc.observe("left", WALL, u, 0.3)
        bc.observe("corner", lambda u: 2 * u[0], u, 0.8)

    with pytest.raises(
        bc.InconsistentConstraintsError,
        match=r"(corner contradicts left|left contradicts corner) by \d",
    ):
        read(program)


@every_reading
def test_a_field_that_is_itself_observed_is_no_field(read):
    program = handlers.condition(states(MASS), data={"u": jnp.ones(N)})
    with pytest.raises(ValueError, match="the field 'u' is itself observed; remove obs="):
        read(program)


@every_reading
def test_a_field_in_a_subsampled_plate_is_refused(read):
    def program():
        with numpyro.plate("fields", 6, subsample_size=2):
            u = numpyro.sample("u", dist.Normal(jnp.zeros((2, N)), 1.0).to_event(1))
            bc.observe("fact", MASS, u, 1.0)

    with pytest.raises(ValueError, match="'fact' stands under a scale or a subsampled plate"):
        read(program)


def test_a_multivariate_normal_is_a_field_of_one_axis():
    grid = bc.Grid(t=np.linspace(0, 1, 3), x=np.linspace(0, 1, 3))

    def program():
        u = numpyro.sample("u", dist.MultivariateNormal(jnp.zeros(9), jnp.eye(9)))
        bc.observe("fact", bc.integral(grid, over="x"), u, 1.0)

    with pytest.raises(
        ValueError, match=r"acts on fields of shape \(3, 3\); its field has shape \(9,\)"
    ):
        sites(bc.exact(program))


def test_a_program_without_statements_is_left_alone_by_exact_and_refused_by_conjugate():
    def program():
        return white()

    assert (
        log_joint(bc.exact(program), u=jnp.ones(N))
        == log_density(program, (), {}, {"u": jnp.ones(N)})[0]
    )
    with pytest.raises(ValueError, match=r"no bc\.observe or bc\.impose in it"):
        bc.conjugate(program)()


# Names and parameters


EVERY_READING = READINGS | {
    "soft": lambda program: sites(bc.soft(program)),
    "sample": lambda program: bc.sample(program, key=0, warmup=5, draws=5),
    "sbc": lambda program: bc.sbc(program, key=0, simulations=20),
}


def two_statements():
    u = white()
    bc.observe("total", MASS, u, 1.0)
    bc.observe("total", WALL, u, 0.0)


def two_fields():
    for _ in range(2):
        bc.observe("fact", MASS, white(), 1.0)


def a_statement_and_a_site():
    u = white()
    bc.observe("u", MASS, u, 1.0)


@pytest.mark.parametrize("program", [two_statements, two_fields, a_statement_and_a_site])
@pytest.mark.parametrize("read", EVERY_READING.values(), ids=EVERY_READING.keys())
def test_two_sites_of_one_name_are_refused_by_every_reading(read, program):
    with pytest.raises(ValueError, match=r"two sites named '(total|u|fact)'"):
        read(program)


def test_the_linter_finds_two_sites_of_one_name():
    (finding,) = bc.check(two_statements).findings
    assert (finding.severity, finding.where) == ("error", "total")
    assert "two sites" in finding.finding


def tied_fields_and_one_of_their_joined_name():
    u, v, w = (numpyro.sample(name, bc.diagonal(jnp.zeros(2), 1.0)) for name in ("a", "b", "a_b"))
    bc.observe("both", lambda u, v: u.sum() + v.sum(), (u, v), 1.0)
    bc.observe("other", lambda w: w.sum(), w, 2.0)


def a_site_named_as_one_that_is_added():
    bc.observe("fact", MASS, white(), 1.0)
    numpyro.deterministic("u_free", jnp.ones(()))


@pytest.mark.parametrize(
    ("program", "names"),
    [
        (tied_fields_and_one_of_their_joined_name, "names joined, 'a_b'"),
        (a_site_named_as_one_that_is_added, "'u_free' is the name of a site"),
    ],
)
@every_reading
def test_names_that_a_reading_could_not_tell_apart_are_refused(read, program, names):
    with pytest.raises(ValueError, match=names):
        read(program)


def test_a_site_that_only_ends_like_one_that_is_added_is_the_program_s_own():
    def program():
        gap = numpyro.sample("air_gap", dist.HalfNormal(1.0))
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(2), jnp.full(2, gap)))
        bc.impose("total", lambda u: u.sum(), u, 1.0)
        numpyro.deterministic("u_white", 2.0 * u)

    tree = bc.sample(program, key=0, chains=1, warmup=20, draws=20)
    assert {"air_gap", "u", "u_white"} <= set(tree.posterior)
    assert not np.allclose(tree.posterior["air_gap"], 0.0)


@pytest.mark.parametrize("shape", [5, (5,), [5], np.int64(5)])
def test_draws_take_their_number_as_a_number_or_as_axes(shape):
    posterior = bc.conjugate(states(MASS))()
    assert posterior.sample(jax.random.key(0), shape)["u"].shape == (5, N)
    assert posterior["u"].sample(jax.random.key(0), shape).shape == (5, N)
    for wrong in (2.5, True, "5", (2, -1)):
        with pytest.raises(TypeError, match="whole number or a tuple"):
            posterior.sample(jax.random.key(0), wrong)


def with_a_parameter(total):
    middle = numpyro.param("middle", 0.0)
    u = numpyro.sample("u", bc.diagonal(jnp.full(N, middle), 1.0))
    bc.observe("total", lambda u: u.sum(), u, total)


@pytest.mark.parametrize(
    "read",
    [
        lambda program: bc.conjugate(program)(1.0),
        lambda program: bc.sample(program, 1.0, key=0, warmup=5, draws=5),
        lambda program: bc.sbc(program, 1.0, key=0, simulations=20),
    ],
)
def test_a_parameter_that_nobody_fitted_is_refused(read):
    with pytest.raises(ValueError, match=r"'middle' is a numpyro\.param, .*SVI.*substitute"):
        read(with_a_parameter)
    assert any(
        f.where == "middle" and f.severity == "error"
        for f in bc.check(with_a_parameter, 1.0).findings
    )


def test_a_parameter_fitted_by_svi_is_that_of_the_highest_evidence():
    """Of u_i ~ N(m, 1) whose sum is known the evidence is highest where the mean of it is m."""
    exact = bc.exact(with_a_parameter)
    svi = SVI(exact, AutoNormal(exact), numpyro.optim.Adam(0.05), Trace_ELBO())
    params = svi.run(jax.random.key(0), 400, 2.0 * N, progress_bar=False).params
    assert params["middle"] == pytest.approx(2.0, abs=1e-2)
    fitted = handlers.substitute(with_a_parameter, data=params)
    mean = bc.conjugate(fitted)(2.0 * N).mean["u"]
    np.testing.assert_allclose(mean, np.full(N, 2.0), rtol=0, atol=100 * EPS)


# --- Handlers around statements and latents
# -----------------------------------------------------------------------------


def under(handler, scale=0.5):
    def program():
        u = white()
        with handler:
            bc.observe("fact", lambda u: u.sum(), u, 1.0, scale)

    return program


@pytest.mark.parametrize(
    ("handler", "scale", "message"),
    [
        (handlers.scale(scale=4.0), 0.5, "divide its scale by the root of that power"),
        (handlers.scale(scale=4.0), None, "an exact fact cannot be"),
        (handlers.mask(mask=jnp.array(True)), 0.5, "'fact' stands under a mask"),
        (handlers.mask(mask=False), None, "'fact' stands under a mask"),
    ],
)
@every_reading
def test_a_statement_whose_density_a_handler_changes_is_refused(read, handler, scale, message):
    for reading in (read, lambda program: sites(bc.soft(program, 0.1))):
        with pytest.raises(ValueError, match=message):
            reading(under(handler, scale))


def test_dividing_the_scale_is_what_a_power_of_a_density_does():
    def powered():
        u = white()
        with handlers.scale(scale=4.0):
            numpyro.sample("fact", dist.Normal(u.sum(), 0.5), obs=1.0)

    def divided():
        bc.observe("fact", lambda u: u.sum(), white(), 1.0, 0.5 / jnp.sqrt(4.0))

    u, v = np.linspace(0, 1, N), np.linspace(1, -1, N)
    by_power, by_scale = (
        log_joint(program, u=u) - log_joint(program, u=v) for program in (powered, divided)
    )
    assert abs(by_power - by_scale) <= 100 * EPS * abs(by_power)


@pytest.mark.parametrize("handler", [handlers.scale(scale=4.0), handlers.mask(mask=False)])
def test_conjugate_refuses_latents_whose_draws_are_not_those_of_their_density(handler):
    def program():
        with handler:
            m = numpyro.sample("m", dist.Normal(0.0, 1.0))
        u = numpyro.sample("u", dist.Normal(jnp.full(N, m), 1.0).to_event(1))
        bc.observe("fact", lambda u: u.sum(), u, 1.0)

    with pytest.raises(ValueError, match=r"'m' stands under a scale, a mask or a subsampled plate"):
        bc.conjugate(program, key=jax.random.key(0))()


@every_reading
def test_a_field_that_a_handler_has_reparametrised_is_told_where_to_do_so(read):
    def program():
        u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 2.0).to_event(1))
        bc.observe("fact", lambda u: u.sum(), u, 1.0)

    reparametrised = handlers.reparam(program, config={"u": LocScaleReparam(0)})
    with pytest.raises(ValueError, match=r"'u' of 'fact' is a deterministic site.*bc\.exact\(pro"):
        read(reparametrised)
    u = sites(handlers.reparam(bc.exact(program), config={"u_free": LocScaleReparam(0)}))["u"]
    assert abs(u.sum() - 1.0) <= 1e-12


@every_reading
def test_a_field_out_of_a_loop_is_told_how_to_write_it(read):
    def program():
        def step(before, _):
            u = numpyro.sample("u", dist.Normal(0.8 * before, 1.0))
            return u, u

        _, u = control_flow.scan(step, 0.0, jnp.arange(4))
        bc.observe("fact", lambda u: u.sum(), u, 1.0)

    with pytest.raises(
        ValueError, match=r"'fact' comes out of .*not looked into.*GaussianRandomWalk"
    ):
        read(program)


def below_a_latent():
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0 + s).to_event(1))
    bc.observe("fact", lambda u: u.sum(), u, 1.0)


def inside_a_plate():
    with numpyro.plate("outer", 4):
        bc.exact(below_a_latent)()


def with_values_of_another_shape():
    return handlers.substitute(bc.exact(below_a_latent), data={"s": jnp.ones(3)})()


@pytest.mark.parametrize("program", [inside_a_plate, with_values_of_another_shape])
def test_values_of_another_shape_than_the_program_s_are_refused(program):
    with pytest.raises(
        ValueError, match=r"the value given to 's' has shape \([34],\), the program"
    ):
        sites(program)


class Net(nnx.Module):
    """Two layers, of one number to one number."""

    def __init__(self):
        self.inner = nnx.Linear(1, 3, rngs=nnx.Rngs(0))
        self.outer = nnx.Linear(3, 1, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.outer(jnp.tanh(self.inner(x)))[:, 0]


PLACES = jnp.linspace(0.0, 1.0, 9)


def above(module):
    net = module("net", Net())
    u = numpyro.sample("u", dist.Normal(net(PLACES[:, None]), 0.1).to_event(1))
    bc.observe("total", lambda u: u.sum(), u, 2.0)


@pytest.mark.broadcasts  # flax adds its biases across ranks
def test_a_network_whose_weights_have_priors_is_no_fitted_one():
    """Given the weights, the field is its network's output, moved by the same amount everywhere."""
    rng = np.random.default_rng(2)
    shapes = {
        "inner.kernel": (1, 3),
        "inner.bias": (3,),
        "outer.kernel": (3, 1),
        "outer.bias": (1,),
    }
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    hidden = np.tanh(np.asarray(PLACES)[:, None] @ weights["inner.kernel"] + weights["inner.bias"])
    output = (hidden @ weights["outer.kernel"] + weights["outer.bias"])[:, 0]

    def random(name, module):
        return random_nnx_module(name, module, dist.Normal(0.0, 1.0))

    program = functools.partial(above, random)
    given = {f"net/{name}": jnp.asarray(value) for name, value in weights.items()}
    mean = bc.conjugate(handlers.substitute(program, data=given))().mean["u"]
    expected = output + (2.0 - output.sum()) / len(output)
    assert np.abs(mean - expected).max() <= 1e-6  # flax computes in single precision
    assert bc.check(program).ok
    with pytest.raises(ValueError, match=r"'net\$params' is a numpyro\.param"):
        bc.conjugate(functools.partial(above, nnx_module))()
