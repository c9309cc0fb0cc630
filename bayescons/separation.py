"""Which axes of its argument a linear function leaves apart, read off its equations.

f leaves axis a apart where f(u)[..., i, ...] depends on u[..., i, ...] alone, for some axis of the
value: u ↦ u[:, 3], u ↦ u @ W and u ↦ Σ_j c_ij u_ij leave the first axis of a matrix apart, u ↦ Wu
does not. Nothing is evaluated: every array between argument and value carries the places of the
axes that are still apart in it, and an equation hands them on, moves them, or loses them. An
equation that is not known here loses them all, so an axis may be apart and not be found; none that
is found is not.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import jax.extend.core as jex

from bayescons.tracing import Equations

# Of an array: for each axis of the argument that is apart in it, its place. None: the array does
# not depend on the argument.
Places = dict[int, int]


@functools.lru_cache(maxsize=256)
def separate_axes(equations: Equations, argument: int = 0) -> Mapping[int, int]:
    """The axes of an argument that a function leaves apart, and for each the axis of its first
    value that it becomes.

    Args:
        equations: of (*fields, *numbers) -> [value].
        argument: which field; what depends on others alone does not count.
    """
    jaxpr = equations.jaxpr
    apart = {axis: axis for axis in range(jaxpr.invars[argument].aval.ndim)}
    given = [apart if i == argument else None for i in range(len(jaxpr.invars))]
    (value, *_) = _followed(jaxpr, given)
    return MappingProxyType({} if value is None else value)


def _followed(jaxpr, given: Sequence[Places | None]) -> list[Places | None]:
    """Places in the values of equations, from those in their arguments."""
    known = dict(zip(jaxpr.invars, given, strict=True))

    def places(atom) -> Places | None:
        return None if isinstance(atom, jex.Literal) else known.get(atom)

    for equation in jaxpr.eqns:
        inputs = [places(atom) for atom in equation.invars]
        outputs = _handed_on(equation, inputs)
        known |= dict(zip(equation.outvars, outputs, strict=True))
    return [places(atom) for atom in jaxpr.outvars]


def _handed_on(equation, inputs: list[Places | None]) -> list[Places | None]:
    """Places in what one equation gives."""
    outputs, name = equation.outvars, equation.primitive.name
    if all(places is None for places in inputs):
        return [None for _ in outputs]
    inner = _inner(equation)
    if inner is not None and len(inner.invars) == len(inputs):
        return _followed(inner, inputs)
    only = OPERANDS.get(name, range(len(inputs)))
    if any(places is not None for i, places in enumerate(inputs) if i not in only):
        return [{} for _ in outputs]
    return [
        _common([_moved(equation, i, places, value.aval.shape) for i, places in enumerate(inputs)])
        for value in outputs
    ]


def _inner(equation):
    """The equations that an equation stands for, where it only calls them."""
    if equation.primitive.name not in CALLS:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return getattr(inner, "jaxpr", inner)


def _common(several: list[Places | None]) -> Places:
    """Axes that are at one place in all arrays that depend on the argument."""
    dependent = [set(places.items()) for places in several if places is not None]
    return dict(set.intersection(*dependent))


def _moved(equation, operand: int, places: Places | None, new: tuple[int, ...]) -> Places | None:
    """Places of one operand in a value of shape `new`. An axis that goes nowhere, or changes its
    length, is lost.
    """
    if places is None:
        return None
    old = equation.invars[operand].aval.shape
    to = {int(a): int(i) for a, i in _destinations(equation, operand, old, new)}
    return {a: to[p] for a, p in places.items() if p in to and old[p] == new[to[p]]}


CALLS = ("pjit", "jit", "closed_call", "custom_jvp_call", "custom_vjp_call", "remat", "checkpoint")
# Operands that may depend on the field; others say where to look, or are inverted.
OPERANDS = {"gather": (0,), "dynamic_slice": (0,), "pad": (0,), "triangular_solve": (1,)}


def _destinations(equation, operand: int, old, new) -> Iterable[tuple[int, int]]:
    """Where the axes of an operand go: pairs of an axis of the operand and one of the value."""
    params, axes = equation.params, range(len(old))
    match equation.primitive.name:
        case (
            "add"
            | "add_any"
            | "sub"
            | "mul"
            | "div"
            | "neg"
            | "select_n"
            | "copy"
            | "copy_p"
            | "convert_element_type"
            | "reduce_precision"
            | "real"
            | "imag"
            | "stop_gradient"
        ) if len(old) == len(new):
            return zip(axes, axes, strict=True)
        case "slice" | "dynamic_slice":  # of an axis's length: the axis
            return zip(axes, axes, strict=True)
        case "concatenate":
            return ((a, a) for a in axes if a != params["dimension"])
        case "cumsum" | "split":
            return ((a, a) for a in axes if a != params["axis"])
        case "rev":
            return ((a, a) for a in axes if a not in params["dimensions"])
        case "pad":
            return ((a, a) for a in axes if not any(params["padding_config"][a]))
        case "tile":
            return ((a, a) for a in axes if params["reps"][a] == 1)
        case "fft":
            return ((a, a) for a in axes[: -len(params["fft_lengths"])])
        case "triangular_solve":
            return ((a, a) for a in axes[:-2])
        case "reduce_sum":
            return _numbered(a for a in axes if a not in params["axes"])
        case "squeeze":
            return _numbered(a for a in axes if a not in params["dimensions"])
        case "transpose":
            return _numbered(params["permutation"])
        case "broadcast_in_dim":
            return enumerate(params["broadcast_dimensions"])
        case "stack":
            return enumerate(i for i in range(len(new)) if i != params["axis"])
        case "unstack":
            return _numbered(a for a in axes if a != params["axis"])
        case "reshape":
            return _reshaped(old, new)
        case "dot_general":
            return _multiplied(equation, operand)
        case "gather":
            return _gathered(params, old, new)
    return ()


def _numbered(axes: Iterable[int], start: int = 0) -> Iterable[tuple[int, int]]:
    return ((axis, i) for i, axis in enumerate(axes, start))


def _reshaped(old, new) -> Iterable[tuple[int, int]]:
    """An axis stays itself where as many numbers lie before it as before."""
    return (
        (a, i)
        for a, n in enumerate(old)
        for i, m in enumerate(new)
        if n == m > 1 and math.prod(old[:a]) == math.prod(new[:i])
    )


def _multiplied(equation, operand: int) -> Iterable[tuple[int, int]]:
    """Axes of a batch come first, then the free ones of the left factor, then of the right."""
    contracted, batch = equation.params["dimension_numbers"]
    free = [
        [a for a in range(factor.aval.ndim) if a not in {*contracted[i], *batch[i]}]
        for i, factor in enumerate(equation.invars)
    ]
    start = len(batch[0]) + (len(free[0]) if operand else 0)
    return (*_numbered(batch[operand]), *_numbered(free[operand], start))


def _gathered(params, old, new) -> Iterable[tuple[int, int]]:
    """Axes that are taken whole, in the order of the offsets; batches, in that of the indices."""
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    gone = {*numbers.collapsed_slice_dims, *numbers.operand_batching_dims}
    windows = [a for a in range(len(old)) if a not in gone]
    whole = [a for a in windows if sizes[a] == old[a] and a not in numbers.start_index_map]
    offsets = dict(zip(windows, numbers.offset_dims, strict=True))
    batch = [i for i in range(len(new)) if i not in numbers.offset_dims]
    batches = zip(numbers.operand_batching_dims, numbers.start_indices_batching_dims, strict=True)
    return (*((a, offsets[a]) for a in whole), *((a, batch[i]) for a, i in batches))
