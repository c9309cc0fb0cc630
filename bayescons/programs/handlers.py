"""The two passes in which a program with exact statements is run.

Pass 1 (`CollectStatements`) runs what stands above the fields for real and only looks at the rest:
it collects every field's prior and every statement. Then the fields are drawn given the statements.
Pass 2 (`ReplayFields`) runs the program again with these fields, everything above replayed and
hidden, so that what is left - likelihoods, latents below, deterministic sites - is seen once and
sees the right field.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from bayescons.gaussians.gaussian import Gaussian
from bayescons.programs.fields import as_gaussian, unwrapped
from bayescons.programs.statements import statement
from bayescons.programs.structure import ProgramStructure
from bayescons.refusals import RefusedValue


class CollectStatements(numpyro.primitives.Messenger):
    """Pass 1. Sites above the fields go through to outer handlers and are remembered; fields,
    statements and what is below are hidden.

    Attributes:
        known: name of a statement -> its distribution and value.
        sites: name -> value of what stands above.
        weights: name of an observed site above -> its log density.
        reweighted: names of latents above whose density a handler has scaled or masked.
        doubtful: whether a door of the program found something wrong while it was traced.
    """

    def __init__(self, structure: ProgramStructure):
        self.structure = structure
        super().__init__()

    def run(self) -> CollectStatements:
        """Run the program under this handler."""
        self._fields, self.known, self.sites, self.weights = {}, {}, {}, {}
        self.hidden, self.reweighted = set(), []
        self._names: dict[int, str] = {}  # of messages on their way, before scopes outside rename
        with self:
            _, self.doubtful = self.structure.replay()
        return self

    @property
    def priors(self) -> dict[str, Gaussian]:
        """Name of a field -> its prior, a batch over plates."""
        return {name: _prior(message) for name, message in self._fields.items()}

    def process_message(self, msg):
        """Collect and hide fields, statements and what is below."""
        name = self._names[id(msg)] = msg.get("name")
        observation = statement(msg["fn"]) if msg["type"] == "sample" else None
        if msg["type"] == "deterministic":
            pass
        elif observation is not None:
            self.known[name] = (observation, msg["value"])
        elif msg["type"] == "sample" and name in self.structure.fields:
            self._fields[name] = dict(msg)
            msg["value"] = np.zeros(msg["fn"].shape(), jnp.result_type(float))
        elif msg["type"] == "sample" and name in self.structure.below:
            msg["value"] = msg["value"] if msg["is_observed"] else feasible(msg["fn"])
        else:
            return
        msg["stop"] = True
        self.hidden.add(name)

    def postprocess_message(self, msg):
        """Remember what stands above."""
        name = self._names.pop(id(msg))
        if name is None or name in self.hidden:
            return
        self.sites[name] = msg["value"]
        if msg["type"] != "sample":
            return
        if not msg["is_observed"] and _reweighted(msg):
            self.reweighted.append(name)
        if msg["is_observed"]:
            scale = 1.0 if msg["scale"] is None else msg["scale"]
            self.weights[name] = scale * jnp.sum(msg["fn"].log_prob(msg["value"]))


class ReplayFields(numpyro.primitives.Messenger):
    """Pass 2. The fields take given values; they, the sites above and the statements are hidden;
    the rest is real.
    """

    def __init__(self, structure: ProgramStructure, sites: dict, fields: dict):
        self.values = {**sites, **fields}
        super().__init__(structure)

    def process_message(self, msg):
        """Hand over what is known, and hide it."""
        if msg["type"] == "sample" and statement(msg["fn"]) is not None:
            msg["stop"] = True
        elif msg.get("name") in self.values and msg["type"] != "deterministic":
            msg["value"] = self.values[msg["name"]]
            msg["stop"] = True


def _reweighted(msg) -> bool:
    """Whether a handler has changed the density of a site, so that it is not what is drawn."""
    masked = isinstance(unwrapped(msg["fn"]), dist.MaskedDistribution)
    return masked or msg["scale"] is not None


def _prior(msg) -> Gaussian:
    if msg["is_observed"]:
        raise RefusedValue(
            f"the field {msg['name']!r} is itself observed; remove obs=, or observe a functional "
            "of it"
        )
    if msg["scale"] is not None:
        raise RefusedValue(
            f"the field {msg['name']!r} stands under a scale or a subsampled plate, which an exact "
            "fact cannot be; move it out"
        )
    return as_gaussian(msg["name"], msg["fn"])


def feasible(site: dist.Distribution):
    """Some value in the support of a hidden site; nothing above can depend on it."""
    if site.support.is_discrete:
        return (
            jnp.broadcast_to(site.enumerate_support(expand=False).ravel()[0], site.shape())
            if site.has_enumerate_support
            else jnp.zeros(site.shape(), int)
        )
    transform = dist.biject_to(site.support)
    return transform(jnp.zeros(transform.inverse_shape(site.shape())))
