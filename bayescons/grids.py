"""Grids: named coordinate axes. A field is an array with one trailing axis for each axis of its
grid.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bayescons.arrays import numbers
from bayescons.descriptions import Description, counted, described
from bayescons.refusals import RefusedValue

SIDES = ("lower", "upper")


@described
class Grid(Mapping):
    """A tensor grid with named axes, `Grid(t=times, x=positions)`.

    A field on the grid is an array of shape `grid.shape`, axes in the order in which they were
    named; leading axes beyond these hold a batch of fields. Coordinates are kept in NumPy, on the
    host and in float64: they shape a program and are never traced.

    Args:
        **coordinates: one strictly increasing, finite, one-dimensional array per axis, in the unit
            of the axis.

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
    """

    def __init__(self, **coordinates):
        if not coordinates:
            raise RefusedValue("a grid needs at least one named axis; write Grid(t=..., x=...)")
        self._coordinates = {
            name: _coordinate(name, values) for name, values in coordinates.items()
        }

    def __getitem__(self, name: str) -> np.ndarray:
        return self._coordinates[self.names[self.axis(name)]]

    def __iter__(self):
        return iter(self._coordinates)

    def __len__(self) -> int:
        return len(self._coordinates)

    def __contains__(self, name) -> bool:
        return name in self._coordinates

    def description(self) -> Description:
        """Each axis, with its number of points and its ends."""
        axes = (
            (n, f"{counted(len(c), 'point')} in [{c[0]:g}, {c[-1]:g}]")
            for n, c in self._coordinates.items()
        )
        sizes = " × ".join(map(str, self.shape))
        return Description(f"Grid of {sizes} points", tuple(axes))

    def __eq__(self, other) -> bool:
        """Whether names, their order and all coordinates are the same."""
        return (
            isinstance(other, Grid)
            and self.names == other.names
            and all(np.array_equal(self[name], other[name]) for name in self.names)
        )

    def __hash__(self) -> int:
        """That of its names and coordinates."""
        return hash((self.names, *(c.tobytes() for c in self._coordinates.values())))

    @property
    def names(self) -> tuple[str, ...]:
        """Axis names, in order."""
        return tuple(self._coordinates)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of points along each axis: the shape of a field."""
        return tuple(len(c) for c in self._coordinates.values())

    @property
    def size(self) -> int:
        """Number of points of the grid."""
        return int(np.prod(self.shape))

    def axis(self, name: str) -> int:
        """Position of a named axis in a field's shape."""
        if name not in self._coordinates:
            raise RefusedValue(
                f"unknown axis {name!r}; the grid has {', '.join(map(repr, self.names))}"
            )
        return self.names.index(name)

    def mesh(self) -> dict[str, np.ndarray]:
        """Coordinates broadcast against each other (open mesh): `f(**grid.mesh())` has shape
        `grid.shape`.
        """
        return dict(
            zip(
                self.names,
                np.meshgrid(*self._coordinates.values(), indexing="ij", sparse=True),
                strict=True,
            )
        )


def _coordinate(name: str, values) -> np.ndarray:
    values = np.array(numbers(f"axis {name!r}", values), dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise RefusedValue(
            f"axis {name!r} must be a one-dimensional array of coordinates; got shape "
            f"{values.shape}"
        )
    if not np.isfinite(values).all():
        raise RefusedValue(f"axis {name!r} holds NaN or infinite coordinates")
    if not (np.diff(values) > 0).all():
        worst = int(np.argmin(np.diff(values)))
        raise RefusedValue(
            f"axis {name!r} must increase strictly; point {worst + 1} ({values[worst + 1]:g}) does "
            f"not lie above point {worst} ({values[worst]:g}). Sort the coordinates, and the field "
            "with them"
        )
    values.flags.writeable = False
    return values
