"""Rows of a functional that no point ties together: where the belief is independent from point to
point, such rows are independent too, and their covariance S falls into small blocks.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.arrays import constant
from bayescons.descriptions import Description, counted, described
from bayescons.functionals.abstract import Leaf


@described
@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Clusters:
    """Rows sorted into clusters: two rows that some point has a share in are in one cluster.

    Attributes:
        members: numbers of the rows of each cluster, shape (clusters, size), the number of rows
            where a cluster has fewer.
        places: where each row stands among the raveled members, shape (rows,).
    """

    members: Leaf
    places: Leaf

    def description(self) -> Description:
        """How many, and how large."""
        number, size = self.members.shape
        clusters = f"{counted(number, 'cluster')} of up to {size}"
        return Description("Clusters of rows", ((counted(self.places.size, "row"), clusters),))

    def split(self, rows) -> jax.Array:
        """Rows (..., r) by clusters, (..., clusters, size); zero where a cluster has fewer. Of a
        batch, whose axes the members have in front, one by one.
        """
        if jnp.ndim(self.members) > 2:
            return jax.vmap(Clusters.split)(self, rows)
        return jnp.take(rows, self.members, axis=-1, mode="fill", fill_value=0)

    def join(self, clusters) -> jax.Array:
        """Inverse of `split`."""
        if jnp.ndim(self.places) > 1:
            return jax.vmap(Clusters.join)(self, clusters)
        return jnp.take(clusters.reshape(*clusters.shape[:-2], -1), self.places, axis=-1)

    def times(self, number: int) -> Clusters:
        """Those of rows that come several times over, (number, r) raveled: a cluster holds all
        repetitions of its rows.
        """
        if number == 1:
            return self
        rows, (clusters, size) = self.places.size, self.members.shape
        again = jnp.arange(number)
        members = jnp.asarray(self.members)[:, None, :]
        repeated = members + again[None, :, None] * rows
        members = jnp.where(members < rows, repeated, number * rows)
        places = jnp.asarray(self.places)[None, :]
        places = places // size * (number * size) + again[:, None] * size + places % size
        return Clusters(members.reshape(clusters, number * size), places.reshape(-1))


def clusters_of(rows: np.ndarray, points: np.ndarray, count: int, length: int) -> Clusters | None:
    """Connected components of rows and points, by the entries of a sparse matrix; small ones share
    a cluster, so that clusters are about equally large. None where all rows hang together.

    Args:
        rows: of each entry, and
        points: its column.
        count: number of rows.
        length: number of columns.

    Returns:
        Every row in one cluster. A cluster is as large as the largest component at most, and
        together they hold at most about twice as many places as there are rows.
    """
    from scipy import sparse
    from scipy.sparse.csgraph import connected_components

    size = count + length
    graph = sparse.coo_array((np.ones(rows.size, bool), (rows, count + points)), (size, size))
    component = connected_components(graph, directed=False)[1][:count]
    _, component, sizes = np.unique(component, return_inverse=True, return_counts=True)
    if sizes.size == 1:
        return None
    cluster = _packed(sizes)[component]
    order = np.argsort(cluster, kind="stable")
    largest, number = int(np.bincount(cluster).max()), int(cluster.max()) + 1
    first = np.searchsorted(cluster[order], np.arange(number))
    places = np.empty(count, np.int32)
    places[order] = cluster[order] * largest + np.arange(count) - first[cluster[order]]
    members = np.full(number * largest, count, np.int32)
    members[places] = np.arange(count)
    return Clusters(constant(members.reshape(number, largest)), constant(places))


def _packed(sizes: np.ndarray) -> np.ndarray:
    """Number of the cluster that each component goes to: the largest first, into the cluster begun
    last as long as it has room.
    """
    room, found, cluster, left = int(sizes.max()), np.empty(sizes.size, int), -1, 0
    for one in np.argsort(-sizes, kind="stable"):
        if sizes[one] > left:
            cluster, left = cluster + 1, room
        found[one], left = cluster, left - sizes[one]
    return found
