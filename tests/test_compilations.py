"""A second call compiles nothing and keeps nothing; a first one compiles little; and a program is
entered as often as it has to be.
"""

import functools
import gc
import importlib
import os
import resource
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from flax import nnx
from numpyro import handlers

import bayescons as bc
from bayescons import tracing
from bayescons.cli import main
from bayescons.diagnostics.conformal import simultaneous_width
from bayescons.networks import AttentiveNeuralProcess
from bayescons.problems import Stefan
from bayescons.problems.readings import contexts
from bayescons.sampling import compiled as compiled_runs
from bayescons.surrogates import latent_draws

sys.path.insert(0, os.path.dirname(__file__))
Compilations = importlib.import_module("compilations").Compilations

N, KEY = 21, jax.random.key(0)
GRID = bc.Grid(x=np.linspace(0, 1, N))
MASS = bc.integral(GRID)
PLACES = np.array([2, 9, 15])
ENTRIES = [0]


def builtin(number):
    ENTRIES[0] += 1
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("mass", MASS, u, number)


def function(number):
    ENTRIES[0] += 1
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("slope", lambda v: 2.0 * (v[1] - v[0]), u, number)


def closure(number):
    ENTRIES[0] += 1
    weights = np.linspace(1, 2, N) + number
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("weighted", lambda v: weights @ v, u, 0.5)


def likelihood(number):
    ENTRIES[0] += 1
    u = numpyro.sample("u", bc.diagonal(jnp.zeros(N), 1.0))
    bc.observe("mass", MASS, u, number)
    y = number * np.ones(len(PLACES))
    numpyro.sample("y", dist.Normal(2 * u[PLACES], 0.1).to_event(1), obs=y)


def latent(number):
    ENTRIES[0] += 1
    size = numpyro.sample("size", dist.LogNormal(0.0, 0.5))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), size).to_event(1))
    bc.observe("mass", MASS, u, number)


def joint(number):
    ENTRIES[0] += 1
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    flux = numpyro.sample("flux", dist.Normal(0.0, 1.0))
    bc.observe("balance", lambda v, f: jnp.mean(v) - f, (u, flux), number)


def quadrature(number):
    ENTRIES[0] += 1
    u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
    bc.observe("mass", MASS, u, number, scale="quadrature")


PROGRAMS = [builtin, function, closure, likelihood, latent, joint, quadrature]


def rebuilt(program):
    """The same program as a new function, as a notebook cell that is run again makes it."""
    return functools.wraps(program)(lambda *args: program(*args))


def belief(number):
    return bc.diagonal(number * jnp.ones(N), 1.0)


def constraint(number):
    return bc.Constraint(bc.functional(lambda v: number * v[3] - v[4], GRID), number)


def exact_sites(program, number):
    reading = handlers.seed(bc.exact(rebuilt(program)), 0)
    return handlers.trace(reading).get_trace(number)["u"]["value"]


DOORS = {
    "conjugate": lambda p, x: bc.conjugate(rebuilt(p), latent_draws=20, key=KEY)(x).mean,
    "exact": exact_sites,
    "check": lambda p, x: bc.check(rebuilt(p), x, latent_draws=2),
    "sample": lambda p, x: bc.sample(rebuilt(p), x, key=0, chains=2, warmup=20, draws=8),
}


def posterior(number):
    walls = (bc.Constraint(bc.dirichlet(GRID, "x", side), number) for side in ("lower", "upper"))
    return functools.reduce(lambda given, wall: given | wall, walls, belief(number))


def mixture(number):
    return bc.conjugate(latent, latent_draws=5, key=KEY)(number)


NETWORK = AttentiveNeuralProcess(width=8, heads=2, rngs=nnx.Rngs(0))
STEFAN = Stefan(0.6)


def drawn_beliefs(number):
    readings = contexts(STEFAN, jax.random.key(int(10 * number)))
    return latent_draws(NETWORK, readings, STEFAN.grid(3, 5), KEY, draws=2).mean


def width(number):
    draws = np.random.default_rng(int(10 * number)).normal(size=(20, N))
    return simultaneous_width(draws, jnp.zeros(N), jnp.ones(N))


ARRAYS = {
    "mean": lambda x: posterior(x).mean,
    "variance": lambda x: posterior(x).variance,
    "draws": lambda x: posterior(x).sample(KEY, (3,)),
    "density": lambda x: belief(x).log_prob(jnp.zeros(N)),
    "draws of a mixture": lambda x: mixture(x).sample(KEY, (3,))["u"],
    "draws of a network": drawn_beliefs,
    "width of a band": width,
    "condition": lambda x: bc.condition(belief(x), constraint(x)).mean,
    "update": lambda x: bc.update(belief(x), constraint(x)).rank,
    "log_evidence": lambda x: bc.log_evidence(belief(x), constraint(x)),
    "functional_scale": lambda x: bc.gaussians.functional_scale(belief(x), MASS),
    "quadrature_scale": lambda x: bc.quadrature_scale(belief(x), MASS),
}


@pytest.fixture(autouse=True)
def _unmixed():
    """Chains of eight draws have not mixed, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bc.NotMixedWarning)
        yield


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_second_call_compiles_nothing(door, program):
    call = DOORS[door]
    jax.block_until_ready(jax.tree.leaves(call(program, 0.3)))
    with Compilations() as compilations:
        jax.block_until_ready(jax.tree.leaves(call(program, 0.4)))
    assert compilations.number == 0


@pytest.mark.parametrize("door", ARRAYS)
def test_a_second_call_on_arrays_compiles_nothing(door):
    jax.block_until_ready(ARRAYS[door](0.3))
    with Compilations() as compilations:
        jax.block_until_ready(ARRAYS[door](0.4))
    assert compilations.number == 0


def test_a_second_run_from_the_command_line_compiles_nothing_more(tmp_path, capsys):
    np.savez(tmp_path / "p.npz", mean=np.zeros(N), scale=np.ones(N), x=GRID["x"])
    command = ["condition", str(tmp_path / "p.npz"), "--out", str(tmp_path / "q.nc"), "--integral"]
    assert main([*command, "x=0.3"]) == 0
    with Compilations() as compilations:
        assert main([*command, "x=0.4"]) == 0
    assert compilations.number == 0
    capsys.readouterr()


@pytest.mark.parametrize("door", ["conjugate", "exact", "check"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_first_call_compiles_little(door, program):
    """Beyond what NumPyro compiles to draw latents and fields one by one."""
    jax.clear_caches()
    tracing.forget()
    compiled_runs.forget()
    handlers.seed(program, 0)(0.3)
    with Compilations() as compilations:
        jax.block_until_ready(jax.tree.leaves(DOORS[door](program, 0.3)))
    assert compilations.number <= 15


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_a_program_is_entered_once(program):
    for door in ("conjugate", "sample"):
        for number in (0.3, 0.4):
            ENTRIES[0] = 0
            DOORS[door](program, number)
            assert ENTRIES[0] == 1


def resident() -> float:
    """Resident memory of this process, MB."""
    if sys.platform == "linux":
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def test_two_hundred_calls_leave_the_memory_flat():
    """Measured: below 0.05 MB a call; an executable of such a program takes 2 to 4."""

    def calls(number):
        for i in range(number):
            weights = np.linspace(0, 1, N) + i

            def program(total, weights=weights):
                u = numpyro.sample("u", dist.Normal(jnp.zeros(N), 1.0).to_event(1))
                bc.observe("w", lambda v: weights @ v, u, total)
                numpyro.sample("y", dist.Normal(u[PLACES], 0.1).to_event(1), obs=jnp.ones(3))

            bc.conjugate(program)(0.1 * i).mean["u"].block_until_ready()
        gc.collect()

    calls(20)
    before = resident()
    calls(200)
    assert resident() - before <= 20


def test_code_for_ever_new_shapes_is_bounded():
    @tracing.compiled
    def total(array):
        return jnp.sum(array)

    for n in range(1, 2 * tracing.EXECUTABLES):
        total(np.zeros(n))
    assert len(total.executables) == tracing.EXECUTABLES
