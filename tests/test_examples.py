"""Every public name has an example in its docstring, and it gives what it says."""

import doctest
import inspect
import warnings

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest

import bayescons as bc

NAMES = {"bc": bc, "dist": dist, "jax": jax, "jnp": jnp, "numpyro": numpyro}


@pytest.mark.broadcasts
@pytest.mark.parametrize("name", bc.__all__)
def test_the_example_of_every_public_name_runs(name):
    text = inspect.getdoc(getattr(bc, name))
    example = doctest.DocTestParser().get_doctest(text, dict(NAMES), name, None, None)
    assert example.examples, f"bc.{name} has no example"
    told: list[str] = []
    with warnings.catch_warnings():  # an example may set filters
        failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(
            example, out=told.append
        )
    assert not failed, "".join(told)
