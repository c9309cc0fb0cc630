"""Random programs: plates nested up to three deep, fields with every prior that the closed form
reads, statements inside and outside of the plates, latents above, likelihoods and latents below.

`RandomProgram(seed)` is one of them: `program` is what a person would write, and beside it stands,
for given latents, what dense algebra needs (`dense`): means, covariances and rows, each written by
hand or by loops over members, with no line of the library.
"""

from collections.abc import Callable
from contextlib import nullcontext

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from scipy.linalg import block_diag

import bayescons as bc
from tests.dense import Rows, affine_rows, remaining
from tests.random_functionals import Law, functional
from tests.random_priors import OF_TWO_AXES, PRIORS
from tests.random_sites import (
    MISTAKES,
    Argument,
    Field,
    Likelihood,
    Plate,
    Said,
    Statement,
    entered,
)

LARGEST = 40  # unknowns of a program
INDEPENDENT, DEPENDENT = 1e-2, 1e-10  # what is left of a row, between which none is stated
NAMES = ("u", "v", "w"), ("flow/u", "flow/v", "flow/w"), ("u.1", "u.2", "u.3"), ("a b", "ü", "c-d")


class RandomProgram:
    """See the module."""

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        self.scope = self.pick([None, None, None, "world"])
        self.names = self.pick(NAMES)
        self.arguments: list = []
        self.mistake: tuple[str, int] | None = None
        self.part = self.pick([None, None, "part"])  # a scope around single statements
        self.plates = self._plates()
        self.latents = self._latents()
        self.fields = self._fields()
        self.truth = self.rng.normal(size=self.size)
        self.statements: list[Statement] = []
        self.states = self.chance(0.9)
        for i in range(self.rng.integers(0, 3)):
            self._add_statement(i)
        # What nothing is stated of is a latent, and a program without statements is read by its
        # likelihoods: each field has one of the two.
        for i in range(len(self.fields)):
            if not any(i in s.fields for s in self.statements):
                self._add_statement(len(self.statements), [i])
        self.likelihoods = [self._likelihood(i) for i in range(self.rng.integers(0, 3))]
        if not self.states:
            self.statements = []
            seen = {i for y in self.likelihoods for i in y.fields}
            self.likelihoods += [
                self._likelihood(len(self.likelihoods) + i, [i])
                for i in range(len(self.fields))
                if i not in seen
            ]
        for likelihood in self.likelihoods:
            self._observe(likelihood)
        self.below = float(self.rng.normal()) if self.states and self.chance(0.2) else None
        self.derived = self.chance(0.2)
        self.conditioned = bool(self.latents) and self.chance(0.3)

    # --- what is drawn

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def pick(self, choices):
        return choices[int(self.rng.integers(len(choices)))]

    @property
    def size(self) -> int:
        return sum(int(np.prod(f.shape)) for f in self.fields)

    def full(self, name: str) -> str:
        """The name of a site as a reading knows it."""
        if self.part is not None and name in {s.name for s in self.statements[::2]}:
            name = f"{self.part}.{name}"
        return name if self.scope is None else f"{self.scope}/{name}"

    def _latents(self) -> dict:
        """Names of latents above the fields and values that they may be given."""
        values = {
            "m": float(self.rng.normal()),
            "s": float(np.exp(0.3 * self.rng.normal())),
            "k": int(self.rng.integers(0, 2)),
            "e": self.rng.normal(size=self.shape_of_e),
        }
        chosen = [n for n, p in zip(values, (0.4, 0.4, 0.1, 0.2), strict=True) if self.chance(p)]
        self.above = float(self.rng.normal()) if chosen and self.chance(0.3) else None
        return {name: values[name] for name in chosen}

    @property
    def shape_of_e(self) -> tuple[int, ...]:
        """In the first plate, where there is one."""
        first = self.plates[0] if self.plates else Plate("", 2, -1)
        return (first.size, *(1 for _ in range(-first.dim - 1)))

    def _plates(self) -> tuple[Plate, ...]:
        count = int(self.pick([0, 1, 1, 2, 2, 3]))
        gap = int(self.chance(0.25))
        dims = [-(count - i) - (gap if i == 0 else 0) for i in range(count)]
        sizes = [int(self.pick([1, 2, 2, 3])) for _ in range(count)]
        return tuple(Plate(f"p{i}", n, d) for i, (n, d) in enumerate(zip(sizes, dims, strict=True)))

    def _fields(self) -> list[Field]:
        fields: list[Field] = []
        self.forced = None
        if self.chance(0.1):
            times, points = (int(n) for n in self.rng.integers(2, 4, 2))
            for name, event in zip(self.names, [(times, points), (times, 2)], strict=False):
                self.forced = event
                fields.append(self._field(name, plates=()))
            self.law = Law.on(self, times, points)
            return fields
        self.law = None
        for name in self.names[: self.pick([1, 1, 1, 2, 2, 3])]:
            field = self._field(name)
            if not fields or sum(np.prod(f.shape) for f in [*fields, field]) <= LARGEST:
                fields.append(field)
        return fields

    def _field(self, name: str, plates: tuple[Plate, ...] | None = None) -> Field:
        if plates is None:
            plates = tuple(p for p in self.plates if self.chance(0.75))
        rank = max((-p.dim for p in plates), default=int(not self.forced and self.chance(0.15)))
        taken = {p.dim: p.size for p in plates}
        free = {-d: int(self.pick([1, 2])) for d in range(1, rank + 1) if -d not in taken}
        batch = tuple(taken.get(d, free.get(d)) for d in range(-rank, 0))
        # What a prior's own arrays have: all axes, or none of those that its plates give it.
        own = tuple(free.get(d, 1) for d in range(-rank, 0)) if self.chance(0.4) else batch
        while own and own[0] == 1 and -len(own) in taken:
            own = own[1:]
        self.batch = batch
        kind = self.pick(PRIORS if np.prod(batch) <= 9 else PRIORS[:1])
        kind = self.pick(OF_TWO_AXES) if self.forced else kind
        event, prior, moments = kind(self, own)
        return Field(name, plates, (*batch, *event), event, prior, spread(moments, batch, event))

    def event(self, *, least: int = 0, most: int = 2) -> tuple[int, ...]:
        """Axes of an event of so many axes, so that the field is not too large."""
        room = LARGEST // max(1, int(np.prod(self.batch)))
        if self.forced:
            return self.forced
        axes = int(self.rng.integers(least, most + 1))
        sizes = self.rng.integers(2, 4 if axes == 2 else 5, axes).tolist()
        while sizes and int(np.prod(sizes)) > room and least == 0:
            sizes = sizes[1:]
        return tuple(2 for _ in sizes) if int(np.prod(sizes)) > room else tuple(sizes)

    def shifted(self, latents: dict):
        """What latents above move every field by, and what they stretch it by."""
        move = latents.get("m", 0.0) + latents.get("k", 0) * 1.0
        if "e" in latents:
            move = move + latents["e"].sum() * 0.7
        return move, latents.get("s", 1.0)

    # --- statements

    def _chosen(self) -> list[int]:
        """One field, or two."""
        number = 2 if self.chance(0.35) else 1
        return self.rng.permutation(len(self.fields))[:number].tolist()

    def _add_statement(self, number: int, fields: list | None = None) -> None:
        fields = fields or self._chosen()
        around = dict.fromkeys(p for i in fields for p in self.fields[i].plates)
        inside = sorted((p for p in around if self.chance(0.4)), key=lambda plate: plate.dim)
        shapes = [
            tuple(
                n
                for a, n in enumerate(self.fields[i].shape)
                if a not in {self.fields[i].axes.get(p.name) for p in inside}
            )
            for i in fields
        ]
        events = [self.fields[i].event for i in fields]
        given, function = functional(self, shapes, events)
        if self.law is not None and fields == [0, 1]:
            given, function = self.law
        name = self.pick([f"s{number}", f"law/{number}", f"total {number}"])
        statement = Statement(
            name, tuple(fields), tuple(inside), self.chance(0.2), given, function, shift=0.0
        )
        rows = self.rows(statement, self.latents)
        shape = rows.shape
        exact = self.chance(0.6)
        if exact:
            exact = self._may_be_exact(statement, rows)
        if "m" in self.latents and not exact and self.chance(0.2):
            statement.shift = 0.5
        statement.stretch = "s" in self.latents and not exact and self.chance(0.3)
        values = (rows.matrix @ self.truth + rows.offset).reshape(shape)
        if not exact:
            scale = self.pick(
                [0.5, 1, np.float64(0.3), self.rng.uniform(0.2, 1.0, shape), jnp.asarray(0.4)]
            )
            values = values + 0.3 * self.rng.normal(size=shape)
            if self.chance(0.2):
                values = float(self.rng.normal())
            elif self.chance(0.2):
                values = int(self.rng.integers(-2, 3))
        else:
            some = np.where(self.rng.random(shape) < 0.5, 0.0, 0.4)  # a part without noise
            scale = self.pick([None, None, None, 0, 0.0, np.zeros(shape), jnp.zeros(()), some])
        statement.value, statement.scale = self._written(values), self._written(scale)
        self.statements.append(statement)

    def _may_be_exact(self, statement: Statement, rows: Rows) -> bool:
        """Whether rows are either well apart from the exact ones before them or follow from them,
        and leave something free; the truth moves so that they hold of it where they are apart.
        """
        before = [s for s in self.statements if self.exact(s)]
        known = [self.rows(s, self.latents) for s in before]
        groups = self._tied([*before, statement])
        mine = next(g for g in groups if set(statement.fields) <= g)
        counted = [r for s, r in zip(before, known, strict=True) if set(s.fields) <= mine]
        count = sum(len(r.matrix) for r in [*counted, rows])
        if count > 0.7 * sum(int(np.prod(self.fields[i].shape)) for i in mine):
            return False
        _, root = self.prior(self.latents)
        white = np.concatenate([r.matrix for r in [*known, rows]]) @ root
        left = remaining(white)[sum(len(r.matrix) for r in known) :]
        if ((left < INDEPENDENT) & (left > DEPENDENT)).any():
            return False
        return not (left <= INDEPENDENT).all() or self.chance(0.5)

    def exact(self, statement: Statement) -> bool:
        """Whether any of its rows is."""
        return statement.scale is None or not np.all(np.asarray(self.read(statement.scale)))

    def _tied(self, statements) -> list[set]:
        """Fields by the statements that tie them together."""
        groups = [{i} for i in range(len(self.fields))]
        for statement in statements:
            touching = [g for g in groups if g & set(statement.fields)]
            groups = [g for g in groups if g not in touching] + [set().union(*touching)]
        return groups

    def _written(self, value):
        """An array as a person may write it, or the number of an argument of the program."""
        if value is None or (np.ndim(value) == 0 and isinstance(value, int | float)):
            return value
        numpy = np.asarray(value)
        how = self.pick(["numpy", "jax", "list", "argument", "argument"])
        if how == "argument":
            return self._argument(value)
        return {"numpy": numpy, "jax": jnp.asarray(numpy), "list": numpy.tolist()}[how]

    def _argument(self, value):
        self.arguments.append(np.asarray(value, float))
        return Argument(len(self.arguments) - 1)

    def read(self, value, arguments=None):
        """A value that may be an argument."""
        if not isinstance(value, Argument):
            return value
        return (self.arguments if arguments is None else arguments)[value.number]

    # --- likelihoods

    def _likelihood(self, number: int, chosen: list | None = None) -> Likelihood:
        chosen = chosen or self._chosen()
        fields = [self.fields[i] for i in chosen]
        kind = self.pick(["event", "batch", "plate", "multivariate", "multivariate", "within"])
        shapes, plates, name = [f.shape for f in fields], (), f"y{number}"
        if kind == "within":
            chosen, (field, *_) = chosen[:1], fields
            a, c = self.rng.uniform(0.5, 1.5), self.rng.normal(size=field.shape)
            shape, plates = field.shape, field.plates

            def function(xp, u):
                del xp
                return a * u + c
        else:
            shape = tuple(self.rng.integers(1, 4, 2 if self.chance(0.3) else 1).tolist())
            weights = [self.rng.normal(size=(*shape, *s)) for s in shapes]
            c = self.rng.normal(size=shape)

            def function(xp, *u):
                terms = [xp.tensordot(w, x, axes=x.ndim) for w, x in zip(weights, u, strict=True)]
                return sum(terms) + c

        event = {"event": len(shape), "multivariate": 1, "within": len(fields[0].event)}.get(
            kind, 0
        )
        batch = shape[: len(shape) - event]
        if kind in ("plate", "multivariate") and self.chance(0.7):
            plates = tuple(
                Plate(f"{name}_{i}", n, i - len(batch)) for i, n in enumerate(batch) if n > 0
            )
        if kind == "multivariate":
            n = shape[-1]
            lead = batch if self.chance(0.5) else ()
            noise = np.tril(self.rng.normal(size=(*lead, n, n)), -1) * 0.5 + 0.6 * np.eye(n)
        else:
            noise = self.pick([0.4, np.float64(0.7), self.rng.uniform(0.3, 1.0, shape)])
        masked_by = self.pick(["nothing", "nothing", "handler", "distribution"])
        over = batch if masked_by == "handler" or kind == "multivariate" else shape
        mask = None if masked_by == "nothing" else self.rng.random(over) < 0.6
        lifted = self.chance(0.3)
        return Likelihood(
            name, tuple(chosen), kind, function, plates, noise, event, mask, masked_by, lifted
        )

    def _observe(self, likelihood: Likelihood) -> None:
        value = likelihood.function(np, *self.split(self.truth, likelihood.fields))
        value = value + 0.3 * self.rng.normal(size=value.shape)
        if likelihood.mask is not None:
            mask = np.asarray(likelihood.mask)
            mask = mask.reshape(mask.shape + (1,) * (value.ndim - mask.ndim))
            value = np.where(np.broadcast_to(mask, value.shape), value, np.nan)
        likelihood.value = value if self.chance(0.5) else self._argument(value)

    # --- the program

    def program(self, *arguments):
        """What a person would write; its arguments are `self.arguments`."""
        if self.scope is None:
            return self._program(*arguments)
        return handlers.scope(self._program, prefix=self.scope)(*arguments)

    def _program(self, *arguments):
        arguments = arguments if arguments else self.arguments
        plates = {p.name: numpyro.plate(p.name, p.size, dim=p.dim) for p in self.plates}
        latents = {}
        for name in self.latents:
            with entered(plates, self.plates[:1] if name == "e" else ()):
                site = DISTRIBUTIONS[name]
                site = site.expand((2,)) if name == "e" and not plates else site
                latents[name] = numpyro.sample(name, site)
        if self.above is not None:
            move, _ = self.shifted(latents)
            numpyro.sample("above", dist.Normal(move, 0.8), obs=self.above)
        values = []
        for field in self.fields:
            with entered(plates, field.plates):
                values.append(numpyro.sample(field.name, field.prior(latents)))
        if self.derived:
            numpyro.deterministic("derived", 2 * values[0])
        for i, s in enumerate(self.statements):
            fields = tuple(values[k] for k in s.fields)
            said = Said(s.name, s.given(latents), fields, entered(plates, s.inside))
            said.value, said.scale = (self.read(v, arguments) for v in (s.value, s.scale))
            if s.shift:
                said.value = jnp.asarray(said.value) + s.shift * latents["m"]
            if s.stretch:
                said.scale = jnp.asarray(said.scale) * latents["s"]
            if self.mistake is not None and self.mistake[1] == i:
                MISTAKES[self.mistake[0]](said)
            if self.part is not None and i % 2 == 0:
                said.around.enter_context(handlers.scope(prefix=self.part, divider="."))
            said.state(bc.impose if s.imposed else bc.observe)
        for y in self.likelihoods:
            self._state(y, plates, values, latents, arguments)
        if self.below is not None:
            numpyro.sample("below", dist.Normal(values[0].sum(), 1.0))
        return values[0]

    def _state(self, y: Likelihood, plates: dict, values: list, latents: dict, arguments) -> None:
        own = {p.name: numpyro.plate(p.name, p.size, dim=p.dim) for p in y.plates}
        loc = y.located(latents)(jnp, *(values[i] for i in y.fields))
        if y.kind == "multivariate":
            site = dist.MultivariateNormal(loc, scale_tril=y.spread(latents))
        else:
            site = dist.Normal(loc, y.spread(latents))
        if y.masked_by == "distribution":
            site = site.mask(jnp.asarray(y.mask))
        if y.kind != "multivariate":
            site = site.to_event(y.event)
        masked = y.masked_by == "handler"
        with (
            entered({**own, **plates}, y.plates),
            handlers.mask(mask=jnp.asarray(y.mask)) if masked else nullcontext(),
        ):
            numpyro.sample(y.name, site, obs=jnp.asarray(self.read(y.value, arguments)))

    # --- for the oracle

    def prior(self, latents: dict) -> tuple[np.ndarray, np.ndarray]:
        """Mean and a root of the covariance of all fields, end to end."""
        moments = [f.moments(latents) for f in self.fields]
        means, covariances = zip(*moments, strict=True)
        return np.concatenate(means), block_diag(*map(np.linalg.cholesky, covariances))

    def split(self, vector: np.ndarray, chosen) -> list[np.ndarray]:
        ends = np.cumsum([int(np.prod(f.shape)) for f in self.fields])[:-1]
        parts = [
            part.reshape(f.shape)
            for part, f in zip(np.split(vector, ends), self.fields, strict=True)
        ]
        return [parts[i] for i in chosen]

    def rows(self, s: Statement, latents: dict) -> Rows:
        """The rows of a statement: member by member, unit vector by unit vector."""
        function = s.function(latents)

        def every_member(vector):
            fields = self.split(vector, s.fields)
            sizes = tuple(p.size for p in s.inside)
            found = [self._member(function, s, fields, i) for i in np.ndindex(*sizes)]
            return np.reshape(found, (*sizes, *np.shape(found[0])))

        return affine_rows(every_member, self.size)

    def _member(self, function, s: Statement, fields, index):
        picked = []
        for i, u in zip(s.fields, fields, strict=True):
            at = [slice(None)] * u.ndim
            for plate, member in zip(s.inside, index, strict=True):
                if plate.name in self.fields[i].axes:
                    at[self.fields[i].axes[plate.name]] = member
            picked.append(u[tuple(at)])
        return function(np, *picked)

    def stated(self, s: Statement, latents: dict) -> Rows:
        """A statement's rows with values and noise."""
        rows = self.rows(s, latents)
        value, scale = (np.asarray(self.read(v), float) for v in (s.value, s.scale))
        scale = np.nan_to_num(scale)  # None
        value = value + s.shift * latents.get("m", 0.0)
        scale = scale * (latents["s"] if s.stretch else 1.0)
        return rows.valued(value, scale)

    def read_off(self, y: Likelihood, latents: dict) -> Rows:
        """A likelihood's rows with values and noise, those that a mask hides left out."""
        function = y.located(latents)
        rows = affine_rows(lambda v: function(np, *self.split(v, y.fields)), self.size)
        value = np.asarray(self.read(y.value))
        if y.kind == "multivariate":
            n = value.shape[-1]
            roots = np.broadcast_to(y.spread(latents), (*value.shape[:-1], n, n)).reshape(-1, n, n)
            noise = block_diag(*roots)
        else:
            noise = np.diag(np.broadcast_to(y.spread(latents), value.shape).ravel())
        rows = rows._replace(value=value.ravel(), noise=noise)
        return rows.only(np.isfinite(value).ravel())


DISTRIBUTIONS = {
    "m": dist.Normal(0.0, 1.0),
    "s": dist.LogNormal(0.0, 0.3),
    "k": dist.Bernoulli(0.4),
    "e": dist.Normal(0.0, 1.0),
}


def spread(moments: Callable, batch: tuple, event: tuple) -> Callable:
    """Moments of one event for each point of a prior's own batch, as those of the whole field."""

    def whole(latents):
        mean, covariance = moments(latents)
        mean = np.broadcast_to(mean, (*batch, *event))
        n = covariance.shape[-1]
        blocks = np.broadcast_to(covariance, (*batch, n, n)).reshape(-1, n, n)
        return mean.ravel(), block_diag(*blocks)

    return whole
