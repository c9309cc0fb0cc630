"""The sites of random programs: what is drawn of them, how they are said in a program, and what
people get wrong in a statement.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers


class Plate(NamedTuple):
    name: str
    size: int
    dim: int


@dataclass
class Field:
    """A Gaussian site: `prior(latents)` for the program, and its moments for the oracle."""

    name: str
    plates: tuple[Plate, ...]
    shape: tuple[int, ...]
    event: tuple[int, ...]
    prior: Callable
    moments: Callable

    @property
    def axes(self) -> dict[str, int]:
        """Of its value, by the plates that they count."""
        lead = len(self.shape) - len(self.event)
        return {plate.name: lead + plate.dim for plate in self.plates}


@dataclass
class Statement:
    """What is stated of some fields: `given(latents)` is handed to the library, `function(latents)`
    computes the same with NumPy for one member.
    """

    name: str
    fields: tuple[int, ...]
    inside: tuple[Plate, ...]
    imposed: bool
    given: Callable
    function: Callable
    value: Any = None  # as it is written in the program
    scale: Any = None
    shift: float = 0.0  # of the value, by a latent above
    stretch: bool = False  # of the scale, by a latent above


@dataclass
class Likelihood:
    """An observed site below some fields."""

    name: str
    fields: tuple[int, ...]
    kind: str
    function: Callable  # of the whole fields
    plates: tuple[Plate, ...]
    noise: Any  # scale, or root of the covariance
    event: int  # axes of one event
    mask: Any
    masked_by: str
    lifted: bool = False  # its location by a latent above, and its noise stretched by another
    value: Any = None

    def located(self, latents: dict) -> Callable:
        """The function, given latents."""
        move = 0.5 * latents.get("m", 0.0) if self.lifted else 0.0
        return lambda xp, *u: self.function(xp, *u) + move

    def spread(self, latents: dict):
        """The noise, given latents."""
        return self.noise * latents["s"] if self.lifted and "s" in latents else self.noise


class Argument(NamedTuple):
    """Of the program, by its number."""

    number: int


@dataclass
class Said:
    """A statement as it is about to be made, and the contexts around it."""

    name: str
    functional: Any
    fields: tuple
    around: ExitStack
    value: Any = None
    scale: Any = None
    contradicted: bool = False

    def state(self, how: Callable) -> None:
        """By `bc.observe` or `bc.impose`."""
        fields = self.fields if len(self.fields) > 1 else self.fields[0]
        with self.around:
            how(self.name, self.functional, fields, self.value, self.scale)
            if self.contradicted:
                other = jnp.asarray(self.value) + 1.0
                how(f"{self.name} again", self.functional, fields, other, self.scale)


def _curved(said: Said):
    said.functional = lambda *u: jnp.sum(u[0] ** 2)


def _copied(said: Said):
    said.fields = tuple(1.0 * u for u in said.fields)


def _too_many(said: Said):
    said.value, said.scale = 0.0, None
    said.functional = lambda *u: jnp.full(200, 1.0) * u[0].sum()


def _resting(said: Said):
    said.value = said.fields[0].sum()


def _with(**wrong) -> Callable:
    return lambda said: said.__dict__.update(wrong)


def _under(handler: Callable) -> Callable:
    return lambda said: said.around.enter_context(handler())


# What people get wrong in a statement; each is refused under its name.
MISTAKES: dict[str, Callable] = {
    "under a scale": _under(lambda: handlers.scale(scale=2.0)),
    "under a mask": _under(lambda: handlers.mask(mask=False)),
    "subsampled": _under(lambda: numpyro.plate("batch", 4, subsample_size=2, dim=-6)),
    "in a foreign plate": _under(lambda: numpyro.plate("elsewhere", 3, dim=-6)),
    "not affine": _curved,
    "of a copy": _copied,
    "with a scale below zero": _with(scale=-0.5),
    "with a value that is not finite": _with(value=np.nan),
    "with a value of no shape that fits": _with(value=np.ones((7, 1, 7))),
    "with a scale of no shape that fits": _with(scale=np.ones((7, 1, 7))),
    "with a complex value": _with(value=1j),
    "with a value that rests on its field": _resting,
    "with no function": _with(functional=3.0),
    "contradicted": _with(scale=None, contradicted=True),
    "of more rows than unknowns": _too_many,
}


def entered(plates: dict, chosen) -> ExitStack:
    """A context inside some plates."""
    stack = ExitStack()
    for plate in chosen:
        stack.enter_context(plates[plate.name])
    return stack
