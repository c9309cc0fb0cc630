"""Objects taken apart into the arrays in them and the rest, and put together with other arrays.

NumPyro's distributions are pytrees, but those that users write need not be whole ones: what a
distribution keeps beside its declared parameters would be lost. So a distribution, constraint or
transform is taken apart by what it holds.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
import scipy.sparse
from numpyro.distributions.constraints import Constraint
from numpyro.distributions.transforms import Transform

OBJECTS = (dist.Distribution, Constraint, Transform)


class Skeleton(NamedTuple):
    """An object without its arrays: told apart by `token`, put together by `build`.

    Attributes:
        token: what the object is, apart from its arrays; hashable.
        plan: how it is put together.
        count: number of arrays.
    """

    token: Any
    plan: Any
    count: int

    def build(self, arrays):
        """The object, with these arrays."""
        return self.plan(list(arrays))


def take_apart(thing) -> tuple[list, Skeleton]:
    """The arrays of an object, and its skeleton."""
    if _is_array(thing):
        return [thing], Skeleton("array", _only, 1)
    if isinstance(thing, OBJECTS):
        return _object(thing)
    leaves, tree = jax.tree.flatten(
        thing, is_leaf=lambda x: isinstance(x, OBJECTS) and x is not thing
    )
    if tree == LEAF:
        return [], Skeleton(_name(thing), _constant(thing), 0)
    arrays, skeletons = _each(leaves)
    return arrays, Skeleton(
        (tree, *(s.token for s in skeletons)),
        lambda values: jax.tree.unflatten(tree, _built(skeletons, values)),
        len(arrays),
    )


LEAF = jax.tree.structure(0.0)


def _object(thing) -> tuple[list, Skeleton]:
    """An object by its attributes; a fresh one is a copy of it."""
    attributes = dict(vars(thing))
    arrays, skeletons = _each(attributes.values())

    def build(values):
        built = copy.copy(thing)
        built.__dict__.update(zip(attributes, _built(skeletons, values), strict=True))
        return built

    token = (type(thing), *attributes, *(s.token for s in skeletons))
    return arrays, Skeleton(token, build, len(arrays))


def _each(things) -> tuple[list, list[Skeleton]]:
    arrays, skeletons = [], []
    for thing in things:
        own, skeleton = take_apart(thing)
        arrays += own
        skeletons.append(skeleton)
    return arrays, skeletons


def _built(skeletons, values: list) -> list:
    values, built = iter(values), []
    for skeleton in skeletons:
        built.append(skeleton.build([next(values) for _ in range(skeleton.count)]))
    return built


def _is_array(thing) -> bool:
    return isinstance(thing, np.ndarray | np.generic | jax.Array)


def _only(values):
    return values[0]


def _constant(thing):
    return lambda _: thing


def _name(thing):
    """What tells a thing from another; 1, 1.0 and True are told apart. What has no hash is known by
    its identity (the skeleton keeps it alive), a sparse matrix by its entries.
    """
    try:
        hash(thing)
    except TypeError:
        return type(thing), id(thing)
    if scipy.sparse.issparse(thing):
        entries = thing.tocoo()
        return (
            type(thing),
            thing.shape,
            *(part.tobytes() for part in (entries.row, entries.col, entries.data)),
        )
    return type(thing), thing
