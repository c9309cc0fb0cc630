"""A program entered once: its sites in order, and the equations between them.

What a NumPyro program does between its `sample` statements is a function of arrays, and JAX can
write it down. `stage` runs the program once, abstractly, and keeps that: every statement becomes a
`Site` among the equations. `StagedProgram.replay` is then the program again, without the user's
code: it computes what lies between two sites, compiled, and sends each site's message to NumPyro's
handlers, as the program would. Whatever reads a program reads this one.

Two programs that compute the same are equal, whatever their functions are called and whichever
numbers they close over, so nothing is compiled twice.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers

from bayescons import tracing
from bayescons.functionals.abstract import AbstractFunctional, JointFunctional
from bayescons.functionals.functions import TracedFunction
from bayescons.programs.fields import is_gaussian
from bayescons.programs.members import FieldAxes, members, outside, plate_axes, seen
from bayescons.programs.sharing import apart
from bayescons.programs.skeletons import Skeleton, take_apart
from bayescons.programs.statements import (
    NAMED,
    FunctionalObservation,
    refuse_twice,
    refuse_weighted,
    statement,
)
from bayescons.refusals import RefusedValue

STAGED = 64  # programs kept, with the code compiled for them
PASSED_ON = ("inspect",)  # messages that ask about handlers and leave nothing behind
VALUED = ("sample", "param")  # messages whose values are numbers that handlers may give
SPREAD = ("scale", "scale_tril")  # of a Normal or a MultivariateNormal, and of what is like them
UNREAD = ("control_flow", "mutable")  # messages around code that is not looked into


class Site(NamedTuple):
    """One message of a program.

    Attributes:
        name: of the site.
        kind: type of the message, "sample" or "deterministic", say.
        latent: whether it is a sample site without a value.
        observed: whether it is a sample site with an observed value, or a parameter with a given
            one.
        fields: of a statement, names of the sites of its fields; None for all else.
        apart: of a statement, the axes along which it holds point by point, each by its place in
            every field.
        axes: of its value: shape, axes of an event, plates.
        gaussian: whether it is a latent whose distribution `as_gaussian` reads.
        scaled: number of leaves, the last, that make its distribution's noise: scale or root, and
            masks.
        message: how the message is put together from its leaves.
    """

    name: str
    kind: str
    latent: bool
    observed: bool
    fields: tuple[str, ...] | None
    apart: tuple[tuple[int, ...], ...]
    axes: FieldAxes
    gaussian: bool
    scaled: int
    message: Skeleton
    value: Any

    def refuse_shape(self, value) -> None:
        """Refuse a value of another shape than the site's own: what follows it was read for that.

        Raises:
            ValueError: a handler, or a plate around a reading, has given it.
        """
        found = [jnp.shape(leaf) for leaf in jax.tree.leaves(value)]
        expected = [shape for shape, _ in self.value.types]
        if len(found) == len(expected) and found != expected and self.kind in VALUED:
            raise RefusedValue(
                f"the value given to {self.name!r} has shape {found[0]}, the program's own has "
                f"{expected[0]}. Give all of it; and write a plate into the program, not around "
                "bc.exact(program)"
            )

    @property
    def token(self) -> tuple:
        """What tells it from another site, apart from its arrays."""
        return (*self[:-2], self.message.token, self.value)


@dataclasses.dataclass(frozen=True, eq=False)
class StagedProgram:
    """A program's sites and the equations between them.

    Attributes:
        equations: from (arguments, numbers of the program) to nothing; sites stand in them.
        sites: in the order in which the program meets them.
        unread: names of messages around code that was not looked into.
        result: how what the program returns is put together.
        parts: the equations between its sites, compiled.
    """

    equations: tracing.Equations
    sites: tuple[Site, ...]
    unread: tuple[str, ...]
    result: Any
    parts: list = dataclasses.field(default_factory=list)

    @property
    def _identity(self) -> tuple:
        return (self.equations, self.result.token, self.unread, *(s.token for s in self.sites))

    def __eq__(self, other) -> bool:
        return self is other or (
            isinstance(other, StagedProgram) and self._identity == other._identity
        )

    def __hash__(self) -> int:
        return hash(self.equations)

    def replay(self, arrays):
        """The program with these numbers: sends every site's message.

        Returns:
            what the program returns; and whether a door in it was asked for something wrong.
        """
        jaxpr = self.equations.jaxpr
        values = dict(zip(jaxpr.invars, arrays, strict=True))
        named: dict[str, Any] = {}
        for part in self.parts:
            part(values)
            if part.index is None:
                continue
            site = self.sites[part.index]
            leaves = [tracing.read(atom, values) for atom in part.leaves]
            if site.scaled:
                leaves = leaves[: -site.scaled]
            message = site.message.build(leaves)
            if site.fields is not None:
                observation = statement(message["fn"])
                observation.fields = tuple(named[name] for name in site.fields)
            value = tracing.send(message)
            site.refuse_shape(value)
            named[site.name] = value
            values.update(zip(part.values, site.value.leaves(value), strict=True))
        *result, doubtful = (tracing.read(atom, values) for atom in jaxpr.outvars)
        return self.result.build(result), doubtful


class Value(NamedTuple):
    """How the value of a site is made of arrays: its tree, their shapes and types."""

    tree: Any
    types: tuple

    def leaves(self, value) -> list:
        """The arrays of a value; a key handed over in its old form, as numbers, is taken so."""
        leaves = jax.tree.leaves(value)
        return [
            jax.random.key_data(leaf)
            if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
            and not jnp.issubdtype(dtype, jax.dtypes.prng_key)
            else leaf
            for leaf, (_, dtype) in zip(leaves, self.types, strict=True)
        ]


_staged: OrderedDict = OrderedDict()


@tracing.one_at_a_time
def stage(program: Callable, args: tuple, kwargs: dict) -> tuple[StagedProgram, tuple]:
    """A program as its sites and equations, and the numbers that go into them.

    Arrays, and numbers with a decimal point, among the arguments go into the equations as
    arguments; whole numbers, names and functions shape the program. A program that needs the
    numbers themselves while it runs - it branches on one, or makes a grid of an array - is staged
    for these numbers.

    Raises:
        What the program's own code raises.
    """
    leaves, tree = jax.tree.flatten((args, kwargs))

    def attempt(moves: list[bool]) -> tuple[StagedProgram, tuple]:
        """Stage with these of the arguments as numbers, the others as they are."""

        def closed(*arrays):
            arrays = iter(arrays)
            pairs = zip(leaves, moves, strict=True)
            whole = [next(arrays) if moving else leaf for leaf, moving in pairs]
            args, kwargs = jax.tree.unflatten(tree, whole)
            return program(*args, **kwargs)

        arrays = tuple(leaf for leaf, moving in zip(leaves, moves, strict=True) if moving)
        staged, numbers = _stage(closed, arrays)
        return staged, (*arrays, *numbers)

    moves = [_moves(leaf) for leaf in leaves]
    try:
        return attempt(moves)
    except tracing.NEEDS_NUMBERS:
        # What is known is held fixed; what is being traced by others can only be an argument.
        fixed = [m and not tracing.known_now(leaf) for m, leaf in zip(moves, leaves, strict=True)]
        if fixed == moves:
            raise
    return attempt(fixed)


def _stage(program: Callable, arrays: tuple) -> tuple[StagedProgram, tuple]:
    recorder = _Recorder()

    def run(*arrays):
        recorder.begin()
        with tracing.doubts() as doubts, handlers.block(), handlers.seed(rng_seed=0), recorder:
            result = program(*arrays)
        leaves, recorder.result = take_apart(result)
        return [*(jnp.asarray(leaf) for leaf in leaves), doubts.any]

    equations, numbers, _ = tracing.traced(run, *arrays)
    staged = StagedProgram(
        equations, tuple(recorder.sites), tuple(recorder.unread), recorder.result
    )
    earlier = _staged.get(staged)
    if earlier is None:
        if tracing.nested_sites(equations.jaxpr):
            raise RefusedValue(
                "the program has a sample statement inside a function that JAX traces by itself "
                "(jit, vmap, scan, cond). Take the statement out of it, or write a plate"
            )
        staged.parts.extend(tracing.parts(equations.jaxpr))
        earlier = _staged[staged] = staged
        if len(_staged) > STAGED:
            _staged.popitem(last=False)
    else:
        _staged.move_to_end(staged)
    return earlier, numbers


def _moves(leaf) -> bool:
    """Whether an argument goes into the equations as a number. What JAX does not take for one,
    such as a masked array or a date, is handed to the program as it is.
    """
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.dtype.kind in "biufc" and not isinstance(leaf, np.ma.MaskedArray)
    return isinstance(leaf, float | complex | jax.Array)


class _Recorder(numpyro.primitives.Messenger):
    """Put every message among the equations, and hide it from the handlers outside."""

    def __init__(self):
        super().__init__()
        self.begin()

    def begin(self) -> None:
        """Forget what a run that could not be traced has left."""
        self.sites: list[Site] = []
        self.unread: list[str] = []
        self.values: dict[str, Any] = {}
        self._names: set[str] = set()
        self._outside = 0

    def process_message(self, msg):
        """Record a message; what it holds becomes the leaves of a site."""
        if self._outside or msg["type"] in UNREAD:
            if msg["type"] in UNREAD:
                self.unread.append(str(msg.get("name", msg["type"])))
                self._outside += 1
            return
        msg["stop"] = True
        if msg["type"] in PASSED_ON:
            return
        if msg["type"] == "param" and msg["value"] is None and msg["args"] == (None,):
            return  # asked for, as `nnx_module` does, before there is one
        if msg["type"] in NAMED:
            refuse_twice(msg["name"], self._names)
        if msg["type"] == "sample":
            refuse_weighted(msg)
        known = statement(msg["fn"]) if msg["type"] == "sample" else None
        if known is not None:
            known.name = msg["name"]  # with the scopes around it
        fields = None if known is None else self._fields(known)
        own = () if known is None else self._place(known, fields, msg["cond_indep_stack"])
        original = {k: v for k, v in msg.items() if k != "stop"}
        original["cond_indep_stack"] = list(msg.get("cond_indep_stack", []))
        if known is not None:
            known.fields = ()
        latent = msg["type"] == "sample" and msg["value"] is None
        leaves, skeleton = take_apart(original)
        scale = _spread(msg["fn"]) if msg["type"] == "sample" and known is None else []
        value = self._value(msg)
        types = tuple((jnp.shape(v), jnp.result_type(v)) for v in jax.tree.leaves(value))
        one = jax.tree.structure(value) == jax.tree.structure(0)
        name = str(msg.get("name", f"{msg['type']} {len(self.sites)}"))
        self.sites.append(
            Site(
                name=name,
                kind=msg["type"],
                latent=latent,
                observed=bool(msg.get("is_observed", False))
                or (msg["type"] == "param" and original["value"] is not None),
                fields=fields,
                apart=own,
                axes=_axes(name, msg, types[0][0] if one else ()),
                gaussian=latent and known is None and is_gaussian(msg["fn"]),
                scaled=len(scale),
                message=skeleton,
                value=Value(jax.tree.structure(value), types),
            )
        )
        results = tracing.site([*leaves, *scale], len(self.sites) - 1, types)
        msg["value"] = jax.tree.unflatten(jax.tree.structure(value), results)
        self.values[name] = msg["value"]

    def postprocess_message(self, msg):
        """Look again, once code that is not looked into has run."""
        if msg["type"] in UNREAD:
            self._outside -= 1

    @staticmethod
    def _value(msg):
        """The value of a message, or one of its shape."""
        if msg["value"] is not None:
            return msg["value"]
        if msg["type"] == "sample":
            fn = msg["fn"]
            discrete = fn.support is not None and fn.is_discrete
            shape = fn.shape(msg["kwargs"].get("sample_shape", ()))
            return jnp.zeros(shape, jnp.result_type(int if discrete else float))
        if msg["type"] == "plate":
            return jnp.zeros(msg["args"][1], jnp.result_type(int))
        if msg["type"] == "prng_key":
            return jax.random.PRNGKey(0)
        return msg["fn"](*msg["args"], **msg["kwargs"])

    def _fields(self, known: FunctionalObservation) -> tuple[str, ...]:
        """Names of the sites whose values a statement was given."""
        names = tuple(
            next((site.name for site in self.sites if self.values[site.name] is field), None)
            for field in known.fields
        )
        if None in names and self.unread:
            raise RefusedValue(
                f"the field given to {known.name!r} comes out of {self.unread[-1]}, whose sites "
                "are not looked into. Write the steps as one Gaussian, dist.GaussianRandomWalk or "
                "dist.MultivariateNormal over all of them, or unroll the loop in Python and give "
                "the statement the tuple of its sites: lambda *u: sum(u)"
            )
        if None in names:
            raise RefusedValue(
                f"the field given to {known.name!r} is not the value of a latent sample site of "
                "this program. Pass exactly what numpyro.sample returned, and put any "
                "transformation into the functional: lambda u: G(transform(u))"
            )
        return names

    def _place(self, known: FunctionalObservation, names: tuple[str, ...], frames: list) -> tuple:
        """Find the axes of its fields over which a statement is repeated; a function becomes
        equations and numbers. Returns the axes along which it holds point by point.
        """
        by_name = {site.name: site.axes for site in self.sites}
        fields = [by_name[name] for name in names]
        known.members = members(known.name, known.functional, fields, frames)
        if not isinstance(known.functional, AbstractFunctional | JointFunctional | TracedFunction):
            known.functional = _traced(known, fields)
        return apart(known.functional, fields, known.members)


def _traced(known: FunctionalObservation, fields: list[FieldAxes]) -> TracedFunction:
    """A statement's function as equations; where it fails, or gives a value of another shape than
    what is stated, it may have been meant for a member of a plate.
    """
    shapes = seen(fields, known.members)
    where = outside(known.name, fields, known.members)
    try:
        traced = TracedFunction.of(known.functional, shapes)
    except Exception as error:
        error.add_note(
            where or f"the function of {known.name!r} was given arrays of shapes {shapes}"
        )
        raise
    sizes = tuple(
        next(f.shape[a] for f, a in zip(fields, member.axes, strict=True) if a is not None)
        for member in known.members
    )
    (value,) = traced.value_shapes
    if where and known.event_shape not in ((), value, (*sizes, *value)):
        raise RefusedValue(
            f"the value of {known.name!r} has shape {known.event_shape}, its function gives "
            f"{value}. {where}"
        )
    return traced


def _axes(name: str, msg, shape: tuple[int, ...]) -> FieldAxes:
    """The axes of the value that a message gives."""
    if msg["type"] != "sample":
        return FieldAxes(name, shape, len(shape), ())
    plates = plate_axes(msg["fn"], msg["cond_indep_stack"])
    return FieldAxes(name, shape, msg["fn"].event_dim, plates)


def _spread(site) -> list:
    """What a distribution's noise is made of: its scale or root, and the masks around it."""
    arrays = []
    while isinstance(base := getattr(site, "base_dist", None), dist.Distribution):
        if isinstance(site, dist.MaskedDistribution):
            arrays.append(jnp.asarray(site._mask))
        site = base
    return arrays + [jnp.asarray(getattr(site, n)) for n in SPREAD if n in vars(site)]
