"""What depends on what in a program, read off its equations.

Which sites are fields is known only when a statement names them, after they were sampled; and a
statement may rest only on what stands above its field. Both questions are answered by following the
program's equations from its random sites.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax

from bayescons import tracing
from bayescons.programs.layouts import Layout
from bayescons.programs.sharing import connected, shared_axes
from bayescons.programs.staging import Site, StagedProgram, stage
from bayescons.refusals import Refusal, RefusedValue

# Sites that readings add for each group of fields, by the end of their names.
ADDED = ("free", "evidence", "gap")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ProgramStructure:
    """A program at its arguments: looked at once, and handed down to whatever reads it.

    A pytree: the numbers are its leaves, so a function of it can be compiled, and is compiled once
    for all programs that differ in numbers only.

    Attributes:
        numbers: arguments of the program, and the arrays and constants that it closes over.
        staged: its sites and equations.
        implied: whether a program that states nothing is read by its likelihoods: its fields are
            the Gaussian sites that these rest on.
    """

    numbers: tuple
    staged: StagedProgram = dataclasses.field(metadata={"static": True})
    implied: bool = dataclasses.field(default=False, metadata={"static": True})

    def __call__(self):
        """The program, for NumPyro's handlers: every site in order, and what it returns."""
        return self.replay()[0]

    def replay(self):
        """What the program returns, and whether a door in it was asked for something wrong."""
        return self.staged.replay(self.numbers)

    @property
    def facts(self) -> Facts:
        """What depends on what."""
        return facts(self.staged, self.implied)

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the constrained fields."""
        return self.facts.fields

    @property
    def statements(self) -> dict[str, tuple[str, ...]]:
        """For every statement, the names of its fields."""
        return self.facts.statements

    @property
    def below(self) -> frozenset[str]:
        """Sites whose distribution depends on a constrained field."""
        return self.facts.below

    @property
    def latents(self) -> tuple[str, ...]:
        """Random sites that do not, other than the fields."""
        return self.facts.latents

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Observed sites below."""
        return self.facts.likelihoods

    @property
    def parameters(self) -> tuple[str, ...]:
        """Sites of `numpyro.param` to which nobody has given a value, and on which something rests;
        a network with priors asks for the shapes of its own alone.
        """
        return unfitted_parameters(self.staged)

    @property
    def observed(self) -> frozenset[str]:
        """Observed sites that are no statements."""
        sites = (s for s in self.staged.sites if s.kind == "sample" and s.fields is None)
        return frozenset(site.name for site in sites if site.observed)

    @property
    def read(self) -> dict[str, frozenset[str]]:
        """For every likelihood, the fields that it rests on."""
        return self.facts.read

    @property
    def groups(self) -> tuple[Layout, ...]:
        """Fields that statements tie together, and how they are laid out as one."""
        return self.facts.groups

    @property
    def blocks(self) -> tuple[Layout, ...]:
        """Fields that statements or likelihoods tie together."""
        return self.facts.blocks

    @property
    def gaps(self) -> tuple[str, ...]:
        """Sites that record by how much exact rows of a group or a block contradict each other, in
        prior standard deviations.
        """
        names = dict.fromkeys(layout.name for layout in (*self.groups, *self.blocks))
        return tuple(f"{name}_gap" for name in names)

    @property
    def entangled(self) -> frozenset[str]:
        """Those of them that need more than their location to be affine in the field: their scale
        depends on it, or they rest on a latent below it.
        """
        return self.facts.entangled


@dataclasses.dataclass(frozen=True)
class Facts:
    """See the attributes of the same names of `ProgramStructure`."""

    fields: tuple[str, ...]
    statements: dict[str, tuple[str, ...]]
    below: frozenset[str]
    latents: tuple[str, ...]
    likelihoods: tuple[str, ...]
    entangled: frozenset[str]
    rested_on: frozenset[str]
    read: dict[str, frozenset[str]]
    groups: tuple[Layout, ...]
    blocks: tuple[Layout, ...]


class NothingStatedError(Refusal, ValueError):
    """A program without statements about fields was to be read by them."""

    reason = "nothing is stated of a field"


def program_structure(program: Callable, args: tuple = (), kwargs: dict | None = None):
    """Look at a program: run it once, abstractly, and say what it consists of.

    A structure is returned as it is.

    Raises:
        ValueError: where a statement or a field's prior rests on something below a field.
    """
    if isinstance(program, ProgramStructure):
        return program
    staged, numbers = stage(program, args, kwargs or {})
    structure = ProgramStructure(numbers, staged)
    if structure.fields and staged.unread:
        raise RefusedValue(
            f"{_list(staged.unread)} runs code that is not looked into, so what is above the "
            "fields cannot be told from what is below. Unroll the loop in Python, or write it as "
            "one Gaussian over all steps; bc.soft(program) reads the program as it is"
        )
    return structure


def unfitted(name: str) -> RefusedValue:
    """What to write in place of a parameter that nobody has given a value."""
    return RefusedValue(
        f"{name!r} is a numpyro.param, which would be held at its initial value, unfitted. Either "
        "give it a prior, numpyro.sample(name, ...); or fit it first, params = SVI(exact, guide, "
        "optimiser, Trace_ELBO()).run(key, steps, *args).params with exact = bc.exact(program), "
        "and hand over numpyro.handlers.substitute(program, data=params)"
    )


def refuse_parameters(structure: ProgramStructure) -> None:
    """Refuse a program in which parameters stand that were not fitted.

    Raises:
        ValueError: names the first, and the ways out.
    """
    if structure.parameters:
        raise unfitted(structure.parameters[0])


@functools.lru_cache(maxsize=64)
def unfitted_parameters(staged: StagedProgram) -> tuple[str, ...]:
    """See `ProgramStructure.parameters`."""
    free = {
        i: frozenset({site.name})
        for i, site in enumerate(staged.sites)
        if site.kind == "param" and not site.observed
    }
    if not free:
        return ()
    sources = tracing.dependencies(staged.equations.jaxpr, free)
    used = (leaf for part in staged.parts if part.index not in free for leaf in part.leaves)
    rested_on = frozenset().union(*map(sources, used))
    return tuple(name for name in (staged.sites[i].name for i in free) if name in rested_on)


@functools.lru_cache(maxsize=64)
def facts(staged: StagedProgram, implied: bool) -> Facts:
    """What depends on what.

    Raises:
        ValueError: where a statement or a field's prior rests on something below a field.
    """
    sites = staged.sites
    random = {i: frozenset({site.name}) for i, site in enumerate(sites) if site.latent}
    sources = tracing.dependencies(staged.equations.jaxpr, random)
    leaves = {part.index: part.leaves for part in staged.parts if part.index is not None}

    def origins(atoms) -> frozenset:
        return frozenset().union(*map(sources, atoms))

    drawn = [(i, site) for i, site in enumerate(sites) if site.kind == "sample"]
    depends = {site.name: origins(leaves[i]) for i, site in drawn}
    scales = {s.name: origins(leaves[i][len(leaves[i]) - s.scaled :]) for i, s in drawn}
    statements = {site.name: site.fields for _, site in drawn if site.fields is not None}
    _check_latent(sites, statements)
    by_name = {site.name: site for site in sites}
    fields = tuple(dict.fromkeys(name for names in statements.values() for name in names))
    if implied and not fields:
        fields = _implied(sites, depends)
    below = _below(depends, set(fields), set(statements))
    _check_order(depends, fields, statements, below)
    latents = tuple(
        site.name
        for site in sites
        if site.latent and site.name not in fields and site.name not in below
    )
    likelihoods = tuple(
        s.name for _, s in drawn if s.observed and s.fields is None and s.name in below
    )
    entangled = frozenset(
        n for n in likelihoods if depends[n] & below or scales[n] & (set(fields) | below)
    )
    laws = [(site.fields, site.apart) for _, site in drawn if site.fields is not None]
    stated = [{name} for name in fields] + [set(names) for names in statements.values()]
    read = {name: depends[name] & frozenset(fields) for name in likelihoods}

    def layouts(ties: list[set]) -> tuple[Layout, ...]:
        """In the order of their first fields."""
        order = [site.name for site in sites]
        named = (tuple(name for name in order if name in members) for members in connected(ties))
        axes = (tuple(by_name[name].axes for name in names) for names in named)
        layouts = (Layout(fields, shared_axes(fields, laws)) for fields in axes)
        return tuple(sorted(layouts, key=lambda layout: order.index(layout.names[0])))

    groups, blocks = (
        layouts(stated),
        layouts([*stated, *(set(names) for names in read.values() if names)]),
    )
    for each in (groups, blocks):
        _check_names([layout.name for layout in each], by_name)
    rested_on = frozenset().union(*depends.values())
    return Facts(
        fields,
        statements,
        below,
        latents,
        likelihoods,
        entangled,
        rested_on,
        read,
        groups,
        blocks,
    )


def _implied(sites: tuple[Site, ...], depends: dict) -> tuple[str, ...]:
    """Gaussian latents that observed sites rest on and no other latent does."""
    drawn = [site for site in sites if site.kind == "sample"]
    above = frozenset().union(*(depends[site.name] for site in drawn if site.latent))
    read = frozenset().union(*(depends[site.name] for site in drawn if site.observed))
    return tuple(s.name for s in drawn if s.gaussian and s.name in read and s.name not in above)


def _check_names(groups: list[str], sites: dict) -> None:
    """Refuse names under which a reading could not tell its own sites from the program's, or those
    of one group of fields from another's.
    """
    added = [f"{group}_{ending}" for group in groups for ending in ADDED]
    if taken := [name for name in added if name in sites]:
        raise RefusedValue(
            f"{_list(taken)} is the name of a site that a reading of the program adds for its "
            "field; give the program's own another name"
        )
    if twice := [group for group in set(groups) if groups.count(group) > 1]:
        raise RefusedValue(
            f"fields tied together by a statement go by their names joined, {_list(twice)}, which "
            "is also the name of another field; give that another name"
        )


def _check_latent(sites: tuple[Site, ...], statements: dict) -> None:
    """Refuse statements about what is not drawn by a sample site."""
    latent = {site.name for site in sites if site.latent}
    observed = {site.name for site in sites if site.observed}
    computed = {site.name for site in sites if site.kind == "deterministic"}
    for name, fields in statements.items():
        for field in fields:
            if field in observed:
                raise RefusedValue(
                    f"the field {field!r} is itself observed; remove obs=, or observe a functional "
                    "of it"
                )
            if field in computed:
                raise RefusedValue(
                    f"the field {field!r} of {name!r} is a deterministic site, as a handler that "
                    "reparametrises makes it. Reparametrise what was read: "
                    "handlers.reparam(bc.exact(program), config=...), and bc.conjugate needs none; "
                    "or put the transformation into the functional: lambda u: G(transform(u))"
                )
            if field not in latent:
                raise RefusedValue(
                    f"the field given to {name!r} is not the value of a latent sample site of this "
                    "program. Pass exactly what numpyro.sample returned, and put any "
                    "transformation into the functional: lambda u: G(transform(u))"
                )


def _below(depends: dict, fields: set, statements: set) -> frozenset[str]:
    """Sites reached from the fields."""
    below: set[str] = set()
    grown = {site for site, names in depends.items() if names & fields} - fields - statements
    while grown - below:
        below |= grown
        reached = {site for site, names in depends.items() if names & (fields | below)}
        grown = reached - fields - statements
    return frozenset(below)


def _check_order(depends: dict, fields, statements, below) -> None:
    for field in fields:
        wrong = depends[field] & (set(fields) | below)
        if wrong:
            raise RefusedValue(
                f"the prior of the field {field!r} depends on {_list(wrong)}, which is a "
                "constrained field or lies below one. Sample both as one Gaussian (a joint "
                "covariance), or constrain only the upper one"
            )
    for name in statements:
        wrong = depends[name] & (set(fields) | below)
        if wrong:
            raise RefusedValue(
                f"{name!r} depends on {_list(wrong)}, which lies below the field it constrains. A "
                "functional, its value and its scale may use only sites above the field; observe a "
                "functional of several fields by giving it their tuple"
            )


def _list(names) -> str:
    return ", ".join(sorted(map(repr, names)))
