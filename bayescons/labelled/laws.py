"""Laws about labelled arrays: what is known of a field, with its axes and values by their names."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from bayescons.descriptions import Description, described, words
from bayescons.labelled.expressions import Along, Parsed, parsed
from bayescons.refusals import RefusedValue

Kind = Literal[
    "integral",
    "average",
    "regions",
    "region_averages",
    "rows",
    "dirichlet",
    "neumann",
    "robin",
    "periodic",
]
TOTALS = ("integral", "average", "regions", "region_averages")
AVERAGES = ("average", "region_averages")
OF_ROWS = ("rows", "regions", "region_averages")  # whose values have one entry more for each row


@described
@dataclasses.dataclass(frozen=True, eq=False)
class Law:
    """One fact about a labelled field.

    Attributes:
        kind: what is known.
        axes: integrated over; or the one that ends there.
        value: a number, the name of an array of the dataset, or an xarray.DataArray, over the axes
            left and those of the batch, or some of them.
        scale: standard deviation, likewise; None for an exact fact, "quadrature" for the error of
            an integral's rule.
        side: "lower" or "upper", in ascending order of the coordinate; "" for totals.
        weights: measures in place of the axes' own, names of arrays of the dataset or DataArrays,
            whose product counts; None for what the file says.
        coefficients: of a Robin condition.
        order: of a slope at a wall, and of a value reconstructed from averages over cells.
        units: of a value given as a number, where they shall be compared.
        rule: of quadrature between nodes, `axes.quadrature.RULES`; None is the axes' own.
        made_of: of rows the matrix; of regions the array that says which points are in them.
        called: names of the rows; None for numbers, or what the arrays say.
        source: of rows, where the matrix is from, in words.
        variable: which of several variables it is about.
    """

    kind: Kind
    axes: tuple[str, ...]
    value: Any = 0.0
    scale: Any = None
    side: str = ""
    weights: tuple | None = None
    coefficients: tuple[float, float] = (1.0, 1.0)
    order: int = 2
    units: str | None = None
    rule: str | None = None
    made_of: Any = None
    called: tuple[str, ...] | None = None
    source: str = ""
    variable: str | None = None

    def __post_init__(self):
        if self.kind not in get_args(Kind):
            raise RefusedValue(f"a law is one of {', '.join(get_args(Kind))}; got {self.kind!r}")
        if (self.made_of is None) == (self.kind in OF_ROWS):
            raise RefusedValue(
                f"a matrix of rows, or an array of regions, belongs to {', '.join(OF_ROWS)}, each "
                f"of which needs it; got {self.kind!r}. Write labelled.rows or labelled.regions"
            )
        if self.kind not in (*TOTALS, *OF_ROWS) and len(self.axes) != 1:
            raise RefusedValue(
                f"a {self.kind} condition is at the end of one axis; got {self.axes}"
            )
        if isinstance(self.order, bool) or not isinstance(self.order, int):
            raise RefusedValue(f"the order is a whole number, 1 or more; got {self.order!r}")
        if not _are_numbers(self.coefficients, 2):
            raise RefusedValue(
                "coefficients of a Robin condition are two numbers, of the value and of the slope; "
                f"got {self.coefficients!r}"
            )

    @property
    def name(self) -> str:
        """What messages and tables call it: "integral x,y", "dirichlet x:lower"."""
        about = f" of {self.variable}" if self.variable else ""
        side = f":{self.side}" if self.side else ""
        return f"{self.kind} {','.join(self.axes)}{side}{about}"

    def of(self, variable: str) -> Law:
        """The law about one of several variables.

        Example:
            >>> bc.labelled.dirichlet("x", "lower", 1.0).of("t").name
            'dirichlet x:lower of t'
        """
        return dataclasses.replace(self, variable=variable)

    def description(self) -> Description:
        """What is known, its value and its noise."""
        value = self.value if isinstance(self.value, str | int | float) else "an array"
        noise = "exact" if self.scale is None else f"standard deviation {_told(self.scale)}"
        return Description(f"Law, {self.name}", (("value", str(value)), ("noise", noise)))


@described
@dataclasses.dataclass(frozen=True, eq=False)
class Equation:
    """A law about several labelled fields, or one, as it was written; made by `law`.

    Attributes:
        text: "NAME: LEFT = RIGHT", with "+- SCALE" behind it or not.
        parsed: what it says.
        made_of: None; as `Law` has it.
        weights: None; likewise.
    """

    text: str
    parsed: Parsed
    made_of: None = None
    weights: None = None

    @property
    def name(self) -> str:
        """What messages and tables call it: its own name, or its text."""
        return self.parsed.name or self.text.partition("+-")[0].strip()

    @property
    def kind(self) -> str:
        """What kind of law it is."""
        return "equation"

    @property
    def axes(self) -> tuple[str, ...]:
        """Those that it names: summed over or stepped along."""
        sides = (self.parsed.left, self.parsed.right)
        named = [a for s in sides for e in s.every() if isinstance(e, Along) for a in e.axes]
        return tuple(dict.fromkeys(named))

    @property
    def value(self) -> str:
        """The right side, in words."""
        return self.parsed.right.text

    @property
    def scale(self) -> str | None:
        """The standard deviation, in words; None for an exact law."""
        return self.parsed.scale and self.parsed.scale.text

    def description(self) -> Description:
        """What is known, its value and its noise."""
        noise = "exact" if self.scale is None else f"standard deviation {self.scale}"
        sides = f"{self.parsed.left.text} = {self.parsed.right.text}"
        return Description(f"Law, {self.name}", (("equation", sides), ("noise", noise)))


def law(text: str) -> Equation:
    """A law across the variables of a dataset, or of one, written as an equation.

        NAME: LEFT = RIGHT        or        NAME: LEFT = RIGHT +- SCALE

    Both sides are made of names of arrays, numbers, + - * / ** and the words below; SCALE, the
    standard deviation of a law that is not exact, of what is known. Arrays that the belief is about
    are unknown, all others of the dataset are coefficients. A law holds at every point of the axes
    that are left, and names of arrays that are no words stand in quotes, '2t'.

    ==========================  ====================================================================
    `integral(E, axis, ...)`    ∫ E over axes, summed as the dataset says: cells, areas of a sphere,
                                its `cell_measures`
    `average(E, axis, ...)`     the same, divided by the size
    `sum(E, axis, ...)`         Σ E, as it stands: `sum(q * dp, level)`
    `step(E, axis)`             E at the later point less E at the earlier, for each step along an
                                axis, in ascending order
    `rate(E, axis)`             the same, divided by the step; along a time per second
    `later`, `earlier`,         E where the step ends, where it begins, and the mean of both: what
    `middle(E, axis)`           flows over a step is one of these
    `to(E, "UNIT")`             E in another unit (needs pint)
    `quantity(2.5e6, "J/kg")`   a number with a unit; those without are dimensionless, but for one
                                that is all of a side, which has the other side's
    ==========================  ====================================================================

    What is multiplied or divided must have been stated over the same axes as what it is added to:
    units are compared, and refused where they do not fit. A product of unknowns is linearised at
    the belief's mean, which is told; what is left of the law then is in the result.

    Raises:
        ValueError: what is no law, with the place and what was expected there.

    Example:
        >>> law = bc.labelled.law("land energy: rn = h + le + g")
        >>> ds = xarray.Dataset(
        ...     {n: ("t", [v, v]) for n, v in dict(rn=100.0, h=30.0, le=50.0).items()}
        ... )
        >>> ds["g"] = ("t", [5.0, 20.0])
        >>> mean, scale = ("rn", "h", "le", "g"), (10.0, 10.0, 10.0, 5.0)
        >>> closed = bc.labelled.condition(ds, [law], mean=mean, scale=scale)
        >>> print(closed["g"].values.round(2))
        [ 6.15 20.  ]
    """
    found = parsed(text)
    return Equation(text, found)


def _told(scale) -> str:
    return words(scale) if isinstance(scale, int | float) else str(scale)


def _are_numbers(given, count: int) -> bool:
    return (
        isinstance(given, tuple | list)
        and len(given) == count
        and all(isinstance(one, int | float) and math.isfinite(one) for one in given)
    )


def _names(axes: str | Sequence[str]) -> tuple[str, ...]:
    given = axes.split(",") if isinstance(axes, str) else axes
    plain = isinstance(given, list | tuple) and all(isinstance(name, str) for name in given)
    names = tuple(name.strip() for name in given) if plain else ()
    if not names or not all(names):
        raise RefusedValue(f"expected names of axes, as in 'lat,lon'; got {axes!r}")
    return names


def _weights(weights) -> tuple | None:
    if weights is None:
        return None
    return tuple(weights) if isinstance(weights, list | tuple) else (weights,)


def integral(
    over: str | Sequence[str],
    value,
    scale=None,
    *,
    weights=None,
    units: str | None = None,
    rule: str | None = None,
) -> Law:
    """The integral over some axes is known.

    Example:
        >>> bc.labelled.integral("lat,lon", 1.0e15, weights="areacella").name
        'integral lat,lon'
    """
    weights = _weights(weights)
    return Law("integral", _names(over), value, scale, weights=weights, units=units, rule=rule)


def average(
    over: str | Sequence[str],
    value,
    scale=None,
    *,
    weights=None,
    units: str | None = None,
    rule: str | None = None,
) -> Law:
    """The average over some axes is known, weighted as their cells are large.

    Example:
        >>> bc.labelled.average("lat,lon", 287.4).name
        'average lat,lon'
    """
    weights = _weights(weights)
    return Law("average", _names(over), value, scale, weights=weights, units=units, rule=rule)


def regions(
    over: str | Sequence[str],
    zones,
    value,
    scale=None,
    *,
    average: bool = False,
    weights=None,
    units: str | None = None,
    rule: str | None = None,
) -> Law:
    """The totals of regions are known, or their averages: basins, countries, zones of latitude.

    Args:
        over: axes that are summed over.
        zones: name of an array of the dataset, or an xarray.DataArray: whole numbers of regions
            over axes among these, below zero or NaN for none; or shares, with one further axis that
            counts the regions.
        value: one number for all regions; an array with an entry for each, in ascending order of
            their numbers; or a named array whose further axis counts regions, and where it has
            coordinates these are the numbers (or names, by `flag_meanings`) of those that are
            known.
        scale: standard deviation, likewise; None for exact facts.
        average: divide by the size of the region.
        weights: as of `integral`, and so are
        units: and
        rule.

    Example:
        >>> bc.labelled.regions("lat,lon", "basin", [3.0e15, 1.0e15], weights="areacella").name
        'regions lat,lon'
    """
    kind = "region_averages" if average else "regions"
    weights = _weights(weights)
    return Law(
        kind, _names(over), value, scale, weights=weights, units=units, rule=rule, made_of=zones
    )


def rows(
    matrix,
    value,
    scale=None,
    *,
    over: str | Sequence[str],
    names: Sequence[str] | None = None,
    units: str | None = None,
) -> Law:
    """Sums of one's own are known: G u = value for a matrix G over the points of some axes, the
    same at every point of the others. G is read as it is, no measure is applied.

    Args:
        matrix: G, (rows, points): a sparse matrix of SciPy, or an array; a single row may go
            without its axis. Its columns are the points as the dataset holds them, the last axis
            fastest; axes in descending order stay so. Or an xarray.DataArray over these axes, in
            any order, with at most one further axis, that counts the rows.
        value: one number for all rows, an array with an entry for each, or a named array with one
            further axis.
        scale: standard deviation, likewise; None for exact facts.
        over: axes whose points the columns are, in the order of the dataset.
        names: of the rows.
        units: of the value.

    Example:
        >>> ds = xarray.Dataset({"mean": ("x", [1.0, 1.0, 1.0]), "scale": 0.5})
        >>> law = bc.labelled.rows([[1, -1, 0], [0, 1, -1]], [0.5, 0.0], over="x")
        >>> print(bc.labelled.condition(ds, [law])["mean"].values.round(3))
        [1.333 0.833 0.833]
    """
    called = None if names is None else tuple(map(str, names))
    return Law("rows", _names(over), value, scale, units=units, made_of=matrix, called=called)


def dirichlet(
    axis: str, side: str, value, scale=None, *, order: int = 2, units: str | None = None
) -> Law:
    """The value at an end of an axis is known.

    Example:
        >>> bc.labelled.dirichlet("x", "lower", 1.0).name
        'dirichlet x:lower'
    """
    return Law("dirichlet", _names(axis), value, scale, side, order=order, units=units)


def neumann(
    axis: str, side: str, value, scale=None, *, order: int = 2, units: str | None = None
) -> Law:
    """The slope at an end of an axis is known, in the direction in which it increases.

    Example:
        >>> bc.labelled.neumann("x", "upper", 0.0).name
        'neumann x:upper'
    """
    return Law("neumann", _names(axis), value, scale, side, order=order, units=units)


def robin(
    axis: str, side: str, coefficients: tuple[float, float], value, scale=None, *, order: int = 2
) -> Law:
    """α times the value and β times the slope at an end of an axis are known together; coefficients
    (α, β).

    Example:
        >>> bc.labelled.robin("x", "upper", (1.0, 0.5), 0.0).name
        'robin x:upper'
    """
    return Law("robin", _names(axis), value, scale, side, coefficients=coefficients, order=order)


def periodic(axis: str) -> Law:
    """Both ends of an axis are one point, which is stored twice.

    Example:
        >>> bc.labelled.periodic("x").name
        'periodic x'
    """
    return Law("periodic", _names(axis))
