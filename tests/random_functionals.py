"""The functionals of random programs: what the library is handed, and NumPy's twin of it."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

import bayescons as bc


def functional(program, shapes, events) -> tuple[Callable, Callable]:
    """An affine function of what a statement sees of its fields: given(latents), handed to the
    library, and function(latents), its twin, a function of NumPy and the fields.

    Args:
        program: that is being drawn.
        shapes: of what is seen of each field.
        events: shapes of the events of each field.
    """
    rng = program.rng
    if len(shapes) == 1 and program.chance(0.3):
        found = _of_the_library(program, *shapes, *events)
        if found is not None:
            return found
    function = _function(program, shapes)
    constant = rng.normal() if program.chance(0.3) else 0.0
    stretched, moved = "s" in program.latents, "m" in program.latents
    stretched, moved = stretched and program.chance(0.3), moved and program.chance(0.3)

    def twin(latents):
        factor = latents["s"] if stretched else 1.0
        further = constant + (latents["m"] if moved else 0.0)
        return lambda xp, *u: factor * function(xp, *u) + further

    def given(latents):
        own = twin(latents)
        return lambda *u: own(jnp, *u)

    if len(shapes) == 1 and not (stretched or moved) and program.chance(0.1):
        return lambda latents: bc.functional(given(latents), on=shapes[0]), twin
    return given, twin


def _function(program, shapes) -> Callable:
    rng = program.rng
    if len(shapes) > 1:
        if shapes[0] == shapes[1] and program.chance(0.5):
            return lambda xp, u, v: u - 0.5 * v  # noqa: ARG005
        out = _out(program)
        first, second = (rng.normal(size=(*out, *s)) for s in shapes)

        def both(xp, u, v):
            return xp.tensordot(first, u, axes=u.ndim) + xp.tensordot(second, v, axes=v.ndim)

        return both
    (shape,) = shapes
    out, size = _out(program), int(np.prod(shape))
    weights, entry = rng.normal(size=(*out, *shape)), int(rng.integers(size))
    choices = [lambda xp, u: xp.tensordot(weights, u, axes=u.ndim)] * 3
    choices += [
        lambda xp, u: u.sum() * 1.0,  # noqa: ARG005
        lambda xp, u: u.reshape(-1)[entry],  # noqa: ARG005
        lambda xp, u: xp.cumsum(u.reshape(-1))[::2],
        lambda xp, u: u,  # noqa: ARG005
    ]
    if shape:
        matrix = rng.normal(size=(shape[-1], 2))
        choices += [
            lambda xp, u: u.mean(0),  # noqa: ARG005
            lambda xp, u: u @ matrix,  # noqa: ARG005
            lambda xp, u: xp.trapezoid(u, axis=-1),
            lambda xp, u: xp.roll(u, 1, axis=0) + u,
        ]
        if shape[-1] > 1:
            choices.append(lambda xp, u: xp.diff(u, axis=-1))
    return program.pick(choices)


def _out(program) -> tuple[int, ...]:
    return tuple(program.rng.integers(1, 3, program.rng.integers(0, 2)).tolist())


def _of_the_library(program, shape, event):
    """A functional on a grid over the event, or over all that is seen."""
    axes = len(shape) if program.chance(0.3) or not event else len(event)
    on = shape[len(shape) - axes :]
    if not 1 <= axes <= 3 or min(on) < 2:
        return None
    points = [np.cumsum(program.rng.uniform(0.5, 1.5, n)) for n in on]
    grid = bc.Grid(**dict(zip("txy", points, strict=False)))
    which = int(program.rng.integers(axes))
    name, x, at = "txy"[which], points[which], which - axes
    kind = program.pick(["integral", "lower", "upper", "slope", "all"])
    if kind == "all":

        def whole(xp, u):
            for i in range(1, axes + 1):
                u = xp.trapezoid(u, points[-i], axis=-1)
            return u

        return lambda latents: bc.integral(grid, over=tuple("txy"[:axes])), lambda latents: whole  # noqa: ARG005
    made, twin = {
        "integral": (
            lambda: bc.integral(grid, over=name),
            lambda xp, u: xp.trapezoid(u, x, axis=at),
        ),
        "lower": (
            lambda: bc.dirichlet(grid, name, "lower"),
            lambda xp, u: xp.take(u, 0, axis=at),
        ),
        "upper": (
            lambda: bc.dirichlet(grid, name, "upper"),
            lambda xp, u: xp.take(u, -1, axis=at),
        ),
        "slope": (
            lambda: bc.neumann(grid, name, "lower", order=1),
            lambda xp, u: (xp.take(u, 1, axis=at) - xp.take(u, 0, axis=at)) / (x[1] - x[0]),
        ),
    }[kind]
    return lambda latents: made(), lambda latents: twin  # noqa: ARG005


class Law(NamedTuple):
    """A balance of a field over (t, x) and its fluxes at the two ends of x."""

    given: Callable
    function: Callable

    @classmethod
    def on(cls, program, times: int, points: int) -> "Law":
        t, x = (np.cumsum(program.rng.uniform(0.5, 1.5, n)) for n in (times, points))

        def twin(xp, u, fluxes):
            total = xp.trapezoid(u, x, axis=-1)
            flow = fluxes[:, 1] - fluxes[:, 0]
            out = xp.cumsum(xp.diff(t) * (flow[1:] + flow[:-1]) / 2)
            return total[1:] - total[0] + out

        law = bc.balance(bc.Grid(t=t, x=x))
        return cls(lambda latents: law, lambda latents: twin)  # noqa: ARG005
