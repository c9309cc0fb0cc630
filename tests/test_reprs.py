"""What a person meets in a notebook says what it is, in words: as text and as a table."""

import dataclasses
import functools
import importlib
import inspect
import os
import sys
from html.parser import HTMLParser

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import xarray
from flax import nnx

import bayescons as bc
from bayescons import (
    descriptions,
    functionals,
    networks,
    problems,
    restrictions,
    sampling,
    training,
)
from bayescons.functionals import Bundle, Mapped, OnBundle, PointEvaluation, Stack
from bayescons.gaussians import stack
from bayescons.linting import Finding, Report
from bayescons.solvers import ConservationLaw, Dirichlet, Outflow, Periodic

sys.path.insert(0, os.path.dirname(__file__))
structures = importlib.import_module("structures")

GRID = bc.Grid(t=[0.0, 0.5, 1.0], x=np.linspace(0.0, 1.0, 5))
ROD = bc.Grid(x=np.linspace(0.0, 1.0, 5))
BELIEF = bc.diagonal(jnp.zeros(GRID.shape), 2.0)
MASS = bc.Constraint(bc.integral(GRID), 1.0, name="mass")
WALL = bc.Constraint(bc.dirichlet(GRID, "x", "lower"), np.arange(3.0), 0.1, name="wall")
DOMAIN = functionals.Domain(GRID, np.arange(15).reshape(3, 5) > 3)
MANY = np.linspace(0.0, 1.0, 40_000).reshape(200, 200)


def program(total):
    u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), 1.0))
    bc.observe("total", lambda u: u.sum(), u, total)


def scaled(total):
    size = numpyro.sample("size", dist.LogNormal())
    u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), size * jnp.ones(3)))
    bc.observe("total", lambda u: u.sum(), u, total)


FINDING = Finding("error", "total", "contradicts the wall by 5.0e-01", "correct one " * 8)


FUNCTIONALS = {
    "integral": bc.integral(GRID),
    "integral over both": bc.integral(GRID, over=("t", "x"), rule="midpoint"),
    "dirichlet": bc.dirichlet(GRID, "x", "upper"),
    "neumann": bc.neumann(GRID, "x", "lower"),
    "robin": bc.robin(GRID, "x", "lower", value=1.0, slope=0.5),
    "periodic": bc.periodic(GRID, "x"),
    "initial": bc.initial(GRID),
    "second difference": bc.second_difference(GRID),
    "regions": functionals.regional(GRID, "x", {"a": np.ones(5)}),
    "weighted": bc.integral(GRID, weight=np.ones(GRID.shape)),
    "function": bc.functional(lambda u: u.sum(), GRID),
    "stack": Stack((bc.integral(GRID), bc.initial(GRID))),
    "mapped": Mapped(bc.integral(ROD), (0,), (4, 5), ("runs",)),
    "points": PointEvaluation((np.array([0, 1]), np.array([1, 1])), shape=(3, 5)),
    "joint": OnBundle(
        (bc.integral(ROD), bc.dirichlet(ROD, "x", "upper")), (0, 1), Bundle(((5,), (5,)))
    ),
    "balance": bc.balance(GRID),
    "cell balance": bc.cell_balance(GRID),
}


LABELLED = xarray.Dataset(
    {"mean": ("x", np.zeros(3)), "scale": ("x", np.ones(3))}, coords={"x": [0.0, 0.5, 1.0]}
)


@functools.cache
def examples() -> dict:
    """Name -> object, of everything that is made by calling something."""
    corner = bc.BoundaryCondition("x", "lower", "robin", at=0.0)
    ends = (bc.BoundaryCondition("x", "lower"), bc.BoundaryCondition("x", "upper", "neumann"))
    nonnegative = restrictions.nonnegative(GRID)
    pits = np.random.default_rng(0).uniform(size=200)
    laws = {"one": MASS, "none": None}
    made = {
        "grid": GRID,
        "cells": bc.axes.Cells([0.0, 1.0, 2.0]),
        "circle": bc.axes.Ring([0.0, 1.0], 2.0),
        "index": bc.axes.Index(3),
        "nodes": bc.axes.Nodes([0.0, 1.0]),
        "domain": DOMAIN,
        "shift": bc.gaussians.shift(jnp.zeros(3)).covariance,
        "choice": bc.diagnostics.choose(
            {"shift": bc.gaussians.shift(jnp.zeros((2, 3)), batch_dims=1)},
            bc.Constraint(bc.average(bc.Grid(x=[0.0, 0.5, 1.0])), 1.0),
            np.ones((2, 3)),
            alone=bc.diagonal(jnp.zeros((2, 3)), 1.0, batch_dims=1),
            folds=2,
        ),
        "suspects": bc.diagnostics.suspects(BELIEF, MASS, ("a", "b", "c")),
        "term": bc.diagnostics.TermEvidence(-3.0, 1.0),
        "candidate": bc.diagnostics.Candidate(1.0, 0.1, -0.5, 0.1, 1.0),
        "bundle": Bundle(((4, 5), (4,)), shared=((0, 0),)),
        "faces": DOMAIN.faces(),
        "masked": bc.gaussians.masked(structures.belief("kronecker").gaussian, DOMAIN).covariance,
        "fact": bc.labelled.integral("x", 1.0),
        "equation": bc.labelled.law("mass: integral(mean, x) = 1 +- 0.1"),
        "predictions": bc.labelled.predictions(LABELLED),
        "several": bc.labelled.several(LABELLED, mean=("mean",), scale=("scale",)),
        "belief": BELIEF,
        "batch": bc.diagonal(jnp.zeros((4, 3, 5)), 1.0, batch_dims=1) | MASS,
        "large": bc.diagonal(jnp.zeros(1_000_000), 1.0),
        "constraint": MASS,
        "constraints": stack([MASS, WALL] * 10),
        "update": bc.update(BELIEF, MASS & WALL),
        "side": corner,
        "sides": bc.BoundaryConditions(GRID, ends),
        "exact": bc.exact(program),
        "soft": bc.soft(program),
        "conjugate": bc.conjugate(program),
        "posterior": bc.conjugate(program)(6.0),
        "mixture": bc.conjugate(scaled, latent_draws=64, key=jax.random.key(0))(1.0),
        "report": bc.check(program, 1.0),
        "findings": Report((FINDING,) * 9, 9, 9, 1, 3, 1),
        "residuals": bc.residuals(bc.integral(GRID), np.ones(GRID.shape), 1.1),
        "comparison": bc.compare_laws(BELIEF, laws, WALL),
        "inequality": nonnegative,
        "inequalities": nonnegative & restrictions.increasing(GRID),
        "truncated": restrictions.truncated(BELIEF, nonnegative),
        "constrained": restrictions.constrained(
            bc.diagonal(jnp.zeros(3), 1.0), lambda u: u @ u, 3.0, name="energy"
        ),
        "nonlinear": restrictions.nonlinear_constraint(
            bc.diagonal(jnp.zeros(3), 1.0), lambda u: u @ u, 3.0, name="energy"
        ),
        "approximation": restrictions.gauss_newton(
            bc.diagonal(jnp.ones(3), 1.0), lambda u: u @ u, 3.0
        ),
        "calibration": bc.diagnostics.calibration_of(pits),
        "sampler": sampling.SAMPLERS["nuts"],
        "method": sampling.Method(),
        "law": ConservationLaw(flux=lambda u: u**2, lower=Dirichlet(1.0), upper=Outflow()),
        "wall": Dirichlet(1.0),
        "outflow": Outflow(),
        "ring": Periodic(),
        "quirks": networks.ReferenceQuirks(),
        "schedule": training.Schedule(100),
    }
    made |= {
        f"covariance {s}": structures.belief(s).gaussian.covariance for s in structures.STRUCTURES
    }
    made |= {f"belief {s}": structures.belief(s).gaussian for s in structures.STRUCTURES}
    for name, kind in training.RECIPES.items():
        problem = "heat" if name == "operator" else "stefan"
        made[f"recipe {name}"] = kind.preset(next(iter(kind.presets)), problem)
    return made | FUNCTIONALS


# Settings of numbers and names, which print as the code that makes them.
WRITTEN_AS_CODE = {
    kind
    for package in (problems, networks, training)
    for kind in vars(package).values()
    if inspect.isclass(kind)
    and dataclasses.is_dataclass(kind)
    and not hasattr(kind, "_repr_html_")
    and not inspect.isabstract(kind)
}


# Printed by Flax; and what holds a folder or a file of a run.
LEFT_OUT = (nnx.Module, training.Checkpoints, training.Log)


def public_types() -> set[type]:
    """All classes that have a public name, but exceptions and what cannot be made."""
    packages = [bc, *(getattr(bc, n) for n in dir(bc) if inspect.ismodule(getattr(bc, n)))]
    things = [thing for package in packages for thing in vars(package).values()]
    things += [getattr(bc, name) for name in bc.__all__]
    return {
        thing
        for thing in things
        if inspect.isclass(thing)
        and thing.__module__.startswith("bayescons")
        and not issubclass(thing, (BaseException, *LEFT_OUT))
        and not inspect.isabstract(thing)
        and not getattr(thing, "_is_protocol", False)
        and thing not in (functionals.JointFunctional, functionals.AbstractFunctional)
    }


def filled(kind: type):
    """A result whose fields are all large arrays; None for what is not made of fields alone."""
    return kind(*[MANY] * len(kind._fields)) if hasattr(kind, "_fields") else None


def made(kind: type) -> list:
    """All that there is of a class."""
    found = [each for each in examples().values() if type(each) is kind]
    return found or [each for each in [filled(kind)] if each is not None]


class Text(HTMLParser):
    """The words of a page, and the tags that are open."""

    def __init__(self):
        super().__init__()
        self.words, self.open, self.tags = [], [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.tags.add(tag)
        assert all("color" not in (value or "") for _, value in attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words += data.split()


def words_of_the_page(thing) -> list[str]:
    page = Text()
    page.feed(thing._repr_html_())
    page.close()
    assert not page.open
    return page.words


def assert_readable(text: str) -> None:
    assert text
    assert len(text.splitlines()) <= 12, text
    assert all(len(line) <= 100 for line in text.splitlines()), text
    assert not [
        bad for bad in ("0x", "rray(", "Traced<", "Tracer", "ShapeDtypeStruct") if bad in text
    ], text


@pytest.mark.parametrize(
    "kind", sorted(public_types() - WRITTEN_AS_CODE, key=lambda kind: kind.__qualname__)
)
def test_every_public_type_has_a_readable_repr(kind):
    things = made(kind)
    assert things, f"no example of {kind.__name__}; add one to `examples`"
    for thing in things:
        assert_readable(repr(thing))


@pytest.mark.parametrize(
    "kind", sorted(public_types() - WRITTEN_AS_CODE, key=lambda kind: kind.__qualname__)
)
def test_a_notebook_shows_the_words_of_the_repr(kind):
    for thing in made(kind):
        page = words_of_the_page(thing)
        told = repr(thing).split("\n  … and")[0].split()
        assert [word for word in told if word not in page and "…" not in word] == []


@pytest.mark.parametrize("kind", sorted(WRITTEN_AS_CODE, key=lambda kind: kind.__qualname__))
def test_settings_print_as_the_code_that_makes_them(kind):
    text = repr(kind())
    assert len(text) <= 120
    assert eval(text, {kind.__name__: kind}) == kind()


@pytest.mark.parametrize("name", FUNCTIONALS)
def test_a_functional_is_told_under_jit(name):
    told = []

    @jax.jit
    def traced(functional):
        told.append(repr(functional))
        return 0.0

    traced(FUNCTIONALS[name])
    assert_readable(told[0])
    assert (
        f"shape {FUNCTIONALS[name].parts[0].shape if 'balance' in name else FUNCTIONALS[name].shape}"
        in told[0]
    )


@pytest.mark.parametrize("structure", structures.STRUCTURES)
def test_a_belief_is_told_under_jit_and_vmap_by_its_shape(structure):
    belief, told = structures.belief(structure).gaussian, []

    def traced(belief):
        told.extend((repr(belief), belief._repr_html_(), repr(belief.covariance)))
        return belief.loc

    jax.jit(traced)(belief)
    jax.vmap(traced)(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), belief))
    for text in (told[0], told[2], told[3]):
        assert_readable(text)
    assert f"shape {belief.event_shape}" in told[0]
    assert "float64, being traced" in told[0]
    assert "being traced" in repr(jax.eval_shape(lambda b: b, belief))


def test_what_a_constraint_states_is_told_under_jit():
    told = []

    @jax.jit
    def traced(value):
        told.append(repr(bc.update(BELIEF, bc.Constraint(bc.integral(GRID), value))))
        told.append(repr(bc.Constraint(bc.integral(GRID), value)))
        return value

    traced(jnp.ones(3))
    for text in told:
        assert_readable(text)
    assert "value   shape (3,), float64, being traced" in told[1]


def test_whatever_stands_in_the_place_of_arrays_a_belief_can_be_printed():
    for stand_in in (None, object(), 1, "x"):
        assert_readable(repr(jax.tree.map(lambda _, s=stand_in: s, BELIEF | MASS)))


def test_a_functional_that_jax_has_taken_apart_says_nothing_that_may_be_untrue():
    """Code compiled for one end serves the other: what was said of the one would be handed back."""
    lower, upper = (bc.dirichlet(GRID, "x", side) for side in ("lower", "upper"))
    through = jax.jit(lambda functional: functional)
    assert repr(through(lower)) == repr(through(upper))
    assert jax.tree.structure(lower) == jax.tree.structure(upper)
    assert repr(lower) != repr(upper)


def test_a_program_read_another_way_is_called_as_the_program_is():
    def stated(total, *, size=1.0):
        """What is said of it."""
        u = numpyro.sample("u", bc.diagonal(jnp.zeros(3), size))
        bc.observe("total", lambda u: u.sum(), u, total)

    for read in (bc.exact, bc.soft, bc.conjugate):
        reading = read(stated)
        assert inspect.signature(reading) == inspect.signature(stated)
        assert (reading.__name__, reading.__doc__) == (stated.__name__, stated.__doc__)
        assert reading.__wrapped__ is stated
        assert "stated(total, size)" in repr(reading)
    assert "lambda(x)" in repr(bc.exact(lambda x: x))
    assert "stated(size)" in repr(bc.exact(functools.partial(stated, 1.0)))


def test_text_is_escaped_in_a_notebook():
    named = bc.Constraint(bc.integral(GRID), 1.0, name="<script>alert(1)</script>")
    assert "<script>" in repr(named)
    assert "<script>" not in named._repr_html_()


def test_numbers_are_told_by_their_range():
    said = descriptions.words
    assert said(MANY) == "shape (200, 200), 0 to 1"
    assert said(np.array([1.0, np.nan, 3.0, np.inf] * 2)) == "shape (8,), 1 to 3, 4 of 8 not finite"
    assert said(np.full(7, np.nan)) == "shape (7,), 7 of 7 not finite"
    assert said(np.arange(3)) == "0, 1, 2"
    assert said(np.zeros((0, 2))) == "shape (0, 2), no numbers"
    assert said(np.array([True, False])) == "1 of 2"
    assert said(jax.random.split(jax.random.key(0), 3)).startswith("shape (3,), key")
    assert said(jnp.zeros(9, jnp.bfloat16)) == "shape (9,), 0"
    assert said({"a": 1.0, "b": None}) == "a: 1; b: none"


EXACT = {
    "grid": """\
Grid of 3 × 5 points
  t  3 points in [0, 1]
  x  5 points in [0, 1]""",
    "belief": """\
Gaussian over a field of shape (3, 5)
  mean        0
  covariance  diagonal, variance 4""",
    "batch": """\
Gaussian over a field of shape (3, 5), a batch of (4,)
  mean        0.5714 to 1.143
  covariance  diagonal, variance 1; given 3 exact rows""",
    "constraint": """\
Constraint 'mass'
  states  ∫ u dx by the trapezoid rule
  value   1
  rows    3, of a field of shape (3, 5)
  noise   exact""",
    "integral": """\
∫ u dx by the trapezoid rule
  field  shape (3, 5)
  value  shape (3,), along t = 0 to 1""",
    "posterior": """\
Posterior of u
  u                    shape (3,), mean 2; diagonal, variance 1; given 1 exact row
  log evidence (nats)  -7.46824""",
    "exact": """\
program(total), read exactly: statements hold to rounding
  a call gives  a NumPyro program's sites: white noise <u>_free in place of a constrained field u,
                log evidence <u>_evidence, and u itself as a deterministic site""",
    "conjugate": """\
program(total), in closed form, without a sampler
  a call gives  its Posterior: a mixture over 256 draws of the latents above its fields, where it
                has any""",
    "update": """\
Update of a belief
  posterior                     Gaussian over a field of shape (3, 5)
  log evidence (nats)           -9.34242
  independent rows              6
  redundant rows                0 of 6
  violation (prior deviations)  0
  status                        0""",
    "sides": """\
Boundary conditions, 2 sides of a grid of 3 × 5 points
  x, lower  dirichlet: u, 3 rows
  x, upper  neumann: ∂u/∂x, 3 rows""",
    "report": "1 statement, 1 row, 1 of them independent, 3 unknowns: nothing found",
}


@pytest.mark.parametrize("name", EXACT)
def test_the_main_ones_say_exactly_this(name):
    assert repr(examples()[name]) == EXACT[name]


def test_a_long_report_counts_what_it_does_not_show():
    text = repr(examples()["findings"])
    assert_readable(text)
    assert "error: contradicts" in text
    assert text.splitlines()[-1].endswith("lines more")
    assert len(words_of_the_page(examples()["findings"])) > len(text.split())


def test_a_repr_computes_nothing_large(monkeypatch):
    """No variance, no draw, no value of a functional: a million points take a few reductions."""
    monkeypatch.setattr(bc.Gaussian, "variance", property(lambda _: pytest.fail("a variance")))
    large = bc.diagonal(jnp.zeros(1_000_000), 1.0) | bc.Constraint(
        bc.functional(lambda u: u.sum(), (1_000_000,)), 1.0
    )
    assert_readable(repr(large))
