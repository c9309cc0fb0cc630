"""Grids: named coordinate axes. A field is an array with one trailing axis for each axis of its
grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayescons.axes import Axis, axis, axis_from
from bayescons.descriptions import Description, described
from bayescons.refusals import RefusedValue


@described
class Grid(Mapping):
    """A tensor grid with named axes, `Grid(t=times, x=positions)`.

    Coordinates alone are nodes, at which a field has values. What else an axis may be says its type
    (`bayescons.axes`): `Cells(edges)`, over which values are averages; a `Ring(points, period)`,
    which closes on itself; an `Index(size)`, cells without a place.

    A field on the grid is an array of shape `grid.shape`, axes in the order in which they were
    named; leading axes beyond these hold a batch of fields. Coordinates are kept in NumPy, on the
    host and in float64: they shape a program and are never traced.

    Args:
        **coordinates: for each axis an `Axis`, or one strictly increasing, finite, one-dimensional
            array of nodes, in the unit of the axis.

    Raises:
        ValueError: for an axis that is empty, not one-dimensional, not finite or not strictly
            increasing.

    Example:
        >>> grid = bc.Grid(t=[0.0, 0.5, 1.0], x=jnp.linspace(0.0, 1.0, 5))
        >>> grid
        Grid of 3 × 5 points
          t  3 points in [0, 1]
          x  5 points in [0, 1]
        >>> grid.shape, grid.names
        ((3, 5), ('t', 'x'))
        >>> bc.Grid(lon=bc.axes.Ring([0.0, 120.0, 240.0], 360.0), z=bc.axes.Cells([0.0, 1.0, 3.0]))
        Grid of 3 × 2 points
          lon  3 points of a ring, from 0, period 360
          z    2 cells in [0, 3]
    """

    def __init__(self, /, **coordinates):
        if not coordinates:
            raise RefusedValue("a grid needs at least one named axis; write Grid(t=..., x=...)")
        self._axes = {name: axis(name, given) for name, given in coordinates.items()}

    @classmethod
    def from_settings(cls, settings: Mapping) -> Grid:
        """The grid of `settings`."""
        return cls(**{name: axis_from(each) for name, each in settings.items()})

    @property
    def settings(self) -> dict:
        """What JSON can hold of it."""
        return {name: each.settings for name, each in self._axes.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self.along(name).points

    def __iter__(self):
        return iter(self._axes)

    def __len__(self) -> int:
        return len(self._axes)

    def __contains__(self, name) -> bool:
        return name in self._axes

    def description(self) -> Description:
        """Each axis, with its number of points and its ends."""
        sizes = " × ".join(map(str, self.shape))
        axes = ((name, each.told) for name, each in self._axes.items())
        return Description(f"Grid of {sizes} points", tuple(axes))

    def __eq__(self, other) -> bool:
        """Whether names, their order and all axes are the same."""
        return isinstance(other, Grid) and (*self._axes.items(),) == (*other._axes.items(),)

    def __hash__(self) -> int:
        """That of its names and axes."""
        return hash((*self._axes.items(),))

    @property
    def names(self) -> tuple[str, ...]:
        """Axis names, in order."""
        return tuple(self._axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along each axis: the shape of a field."""
        return tuple(map(len, self._axes.values()))

    @property
    def size(self) -> int:
        """Number of points of the grid."""
        return int(np.prod(self.shape))

    def axis(self, name: str) -> int:
        """Position of a named axis in a field's shape."""
        if name not in self._axes:
            raise RefusedValue(
                f"unknown axis {name!r}; the grid has {', '.join(map(repr, self.names))}"
            )
        return self.names.index(name)

    def along(self, name: str) -> Axis:
        """What a named axis is."""
        return self._axes[self.names[self.axis(name)]]

    def require_line(self, name: str, what: str, instead: str) -> None:
        """Refuse an axis that is no line from one end to another: a ring, or cells that are only
        counted, whose coordinates are no distances.

        Args:
            name: of the axis.
            what: needs a line, for the message.
            instead: what to write.
        """
        along = self.along(name)
        if along.closes or along.counted:
            raise RefusedValue(
                f"{what} along {name!r} needs a line between two ends, and the axis holds "
                f"{along.told}. {instead}"
            )

    def mesh(self) -> dict[str, np.ndarray]:
        """Coordinates broadcast against each other (open mesh): `f(**grid.mesh())` has shape
        `grid.shape`.
        """
        return dict(
            zip(
                self.names,
                np.meshgrid(*self.values(), indexing="ij", sparse=True),
                strict=True,
            )
        )
