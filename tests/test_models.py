"""Models: each is a short program that states what it knows, and in every draw of every reading
that is so.
"""

import functools
import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro import handlers
from numpyro.infer import Predictive

import bayescons as bc
from bayescons.programs.statements import statement
from bayescons.programs.structure import program_structure

FILES = sorted((Path(__file__).resolve().parent.parent / "models").glob("*.py"))
NO_CLOSED_FORM: dict[str, str] = {
    "robin_wall": "StudentT likelihood",
    "outliers": "StudentT likelihood",
}  # file -> what the TypeError of bc.conjugate says
DRAWS = 2


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def model(request):
    """Name, program and inputs of a file, loaded by its path."""
    spec = importlib.util.spec_from_file_location(f"model_{request.param.stem}", request.param)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return request.param.stem, module.program, module.inputs(jax.random.key(0))


def assert_facts_hold(program, inputs, sites: dict) -> None:
    """Every exact statement holds at these values of the sites: |G u - b| <= 1e-12 |G| |u|, the
    rounding of a sum of that size.
    """
    whole = program_structure(program, (), inputs)
    settled = handlers.seed(handlers.substitute(whole, data=sites), rng_seed=0)
    facts = [
        s
        for s in handlers.trace(settled).get_trace().values()
        if s.get("infer", {}).get("kind") == "constraint"
    ]
    assert facts
    for site in facts:
        known = statement(site["fn"])
        if known.scale is None:
            every = tuple(range(len(known.fields)))
            computed = functools.partial(_computed, known)
            slopes = jax.jacobian(computed, argnums=every)(*known.fields)
            parts = zip(slopes, known.fields, strict=True)
            size = sum(
                jnp.abs(slope.reshape(-1, field.size)) @ jnp.abs(field).ravel()
                for slope, field in parts
            )
            error = jnp.abs(
                jnp.ravel(
                    known.computed() - jnp.broadcast_to(site["value"], known.computed().shape)
                )
            )
            assert float(jnp.max(error - 1e-12 * jnp.maximum(size, 1.0))) <= 0, site["name"]


def _computed(known, *fields):
    return known.computed(fields)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_model_is_one_page(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60


@pytest.mark.filterwarnings("ignore::bayescons.UnreliableWeightsWarning")  # 32 draws
def test_the_closed_form_holds_every_fact_in_every_draw(model):
    name, program, inputs = model
    solve = bc.conjugate(program, latent_draws=32, key=jax.random.key(1))
    if name in NO_CLOSED_FORM:
        with pytest.raises(TypeError, match=NO_CLOSED_FORM[name]):
            solve(**inputs)
        return
    posterior = solve(**inputs)
    assert np.isfinite(posterior.log_evidence)
    assert all(np.isfinite(mean).all() for mean in jax.tree.leaves(posterior.mean))
    assert all(
        (np.asarray(variance) >= 0).all() for variance in jax.tree.leaves(posterior.variance)
    )
    draws = posterior.sample(jax.random.key(2), (DRAWS,))
    for i in range(DRAWS):
        assert_facts_hold(program, inputs, {name: value[i] for name, value in draws.items()})


def test_the_exact_reading_holds_every_fact_in_every_draw(model):
    _, program, inputs = model
    sites = Predictive(bc.exact(program), num_samples=DRAWS)(jax.random.key(3), **inputs)
    for i in range(DRAWS):
        assert_facts_hold(program, inputs, {name: value[i] for name, value in sites.items()})
    for field in program_structure(program, (), inputs).fields:
        assert float(jnp.max(jnp.abs(sites[field][0] - sites[field][1]))) > 0
