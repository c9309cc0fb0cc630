"""Every reading of a random program against dense algebra: `compare(program, reading)` is the
largest deviation, relative to the numbers' size.

`python -m tests.random_readings programs FIRST NUMBER` compares so many programs and prints what
deviates; `mistakes` in place of `programs` plants a mistake in each.
"""

import sys
import time
import traceback
import warnings
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro import handlers
from numpyro.infer.util import log_density
from scipy.special import logsumexp
from scipy.stats import bernoulli, lognorm, norm

import bayescons as bc
from bayescons import tracing
from bayescons.programs.collapsed import collapsed
from bayescons.refusals import Refusal
from tests.dense import Answer, given, log_normal
from tests.random_programs import RandomProgram
from tests.random_sites import MISTAKES

SOFT = 0.3
TOLERANCE = 1e-8  # of what is compared, relative to its size
DRAWS = 6  # of the latents; fewer than 25, whose weights are left as they are


# --- the oracle


def log_prior(latents: dict) -> float:
    """Log density of the latents above the fields."""
    densities = {
        "m": norm(0, 1).logpdf,
        "s": lognorm(0.3).logpdf,
        "k": bernoulli(0.4).logpmf,
        "e": norm(0, 1).logpdf,
    }
    return sum(float(np.sum(densities[n](v))) for n, v in latents.items())


def log_above(program: RandomProgram, latents: dict) -> float:
    """Log density of the observed site above the fields."""
    if program.above is None:
        return 0.0
    return float(norm(program.shifted(latents)[0], 0.8).logpdf(program.above))


def answer(program: RandomProgram, latents: dict, likelihoods: bool = True) -> Answer:
    """The posterior of all fields, end to end, and the evidence of what was observed."""
    mean, root = program.prior(latents)
    rows = [(s.imposed, program.stated(s, latents)) for s in program.statements]
    observed = [r for imposed, r in rows if not imposed]
    observed += [program.read_off(y, latents) for y in program.likelihoods] if likelihoods else []
    return given(mean, root, [r for imposed, r in rows if imposed], observed)


# --- readings: (program, latents) -> pairs of what was found and what was expected


def fixed(program: RandomProgram, latents: dict):
    """The program with its latents above held at values."""
    data = {program.full(name): jnp.asarray(value) for name, value in latents.items()}
    hold = handlers.condition if program.conditioned else handlers.substitute
    return hold(program.program, data=data) if data else program.program


def joined(program: RandomProgram, values) -> np.ndarray:
    return np.concatenate([np.ravel(values[program.full(f.name)]) for f in program.fields])


def shapes_are_right(program: RandomProgram, values) -> None:
    for f in program.fields:
        assert values[program.full(f.name)].shape == f.shape, f"shape of {f.name}"


def conjugate(program: RandomProgram, latents: dict):
    posterior = bc.conjugate(fixed(program, latents))(*program.arguments)
    expected = answer(program, latents)
    shapes_are_right(program, posterior.mean)
    yield joined(program, posterior.mean), expected.mean
    yield joined(program, posterior.variance), np.diag(expected.covariance)
    log_evidence = expected.log_evidence + log_above(program, latents)
    # What is conditioned on was observed.
    log_evidence += log_prior(latents) if program.conditioned else 0.0
    yield posterior.log_evidence, log_evidence


def exact_rows(program: RandomProgram, latents: dict, field: np.ndarray):
    """The values of exact rows of a field, and what is stated of them."""
    for s in program.statements:
        rows = program.stated(s, latents)
        certain = np.diag(rows.noise) == 0
        yield (rows.matrix @ field + rows.offset)[certain], rows.value[certain]


def mixture(program: RandomProgram, latents: dict):
    read = bc.conjugate(
        program.program, latent_draws=DRAWS, proposal="prior", key=jax.random.key(1)
    )
    posterior = read(*program.arguments)
    draws = [
        {n: np.asarray(posterior.latents[program.full(n)][i]) for n in latents}
        for i in range(DRAWS if latents else 1)
    ]
    each = [answer(program, drawn) for drawn in draws]
    logs = np.array(
        [log_above(program, d) + a.log_evidence for d, a in zip(draws, each, strict=True)]
    )
    weights = np.exp(logs - logsumexp(logs))
    mean = sum(w * a.mean for w, a in zip(weights, each, strict=True))
    second = sum(
        w * (np.diag(a.covariance) + a.mean**2) for w, a in zip(weights, each, strict=True)
    )
    yield joined(program, posterior.mean), mean
    yield joined(program, posterior.variance), second - mean**2
    yield posterior.log_evidence, logsumexp(logs) - np.log(len(logs))


def _exact_sites(program: RandomProgram, latents: dict):
    """The exact reading at latents, its white-noise sites drawn, and what lies below."""
    exact = bc.exact(program.program)
    values = {program.full(n): jnp.asarray(v) for n, v in latents.items()}
    if program.below is not None:
        values[program.full("below")] = program.below
    with handlers.block():
        known = handlers.seed(handlers.substitute(exact, data=values), 0)
        trace = handlers.trace(known).get_trace(*program.arguments)
    free = [n for n, site in trace.items() if site["type"] == "sample" and n.endswith("_free")]
    rng = np.random.default_rng(0)
    return exact, values, {n: rng.normal(size=trace[n]["value"].shape) for n in free}


def exact(program: RandomProgram, latents: dict):
    read, values, white = _exact_sites(program, latents)
    with handlers.block(), handlers.seed(rng_seed=0):
        found, trace = log_density(read, program.arguments, {}, {**values, **white})
    fields = {program.full(f.name): trace[program.full(f.name)]["value"] for f in program.fields}
    shapes_are_right(program, fields)
    field = joined(program, fields)
    if program.statements:
        expected = answer(program, latents, likelihoods=False).log_evidence
        expected += sum(log_normal(z.ravel()) for z in white.values())
    else:
        expected = log_of_prior(program, latents, field)
    expected += log_prior(latents) + log_above(program, latents)
    expected += sum(program.read_off(y, latents).log_density(field) for y in program.likelihoods)
    yield found, expected + log_below(program, field)
    yield from exact_rows(program, latents, field)


def log_of_prior(program: RandomProgram, latents: dict, field: np.ndarray) -> float:
    mean, root = program.prior(latents)
    return log_normal(np.linalg.solve(root, field - mean)) - np.linalg.slogdet(root)[1]


def log_below(program: RandomProgram, field: np.ndarray) -> float:
    if program.below is None:
        return 0.0
    (first,) = program.split(field, [0])
    return float(norm(first.sum(), 1.0).logpdf(program.below))


def pushed(program: RandomProgram, latents: dict):
    """The law of the fields that the exact reading makes of white noise."""
    if not program.statements:
        return
    read, values, white = _exact_sites(program, latents)
    ends = np.cumsum([z.size for z in white.values()])[:-1]

    def fields(flat):
        parts = jnp.split(flat, ends)
        own = {n: part.reshape(z.shape) for part, (n, z) in zip(parts, white.items(), strict=True)}
        known = handlers.seed(handlers.substitute(read, data={**values, **own}), 0)
        with handlers.block():
            trace = handlers.trace(known).get_trace(*program.arguments)
        return jnp.concatenate(
            [trace[program.full(f.name)]["value"].ravel() for f in program.fields]
        )

    zero = jnp.zeros(sum(z.size for z in white.values()))
    root = np.asarray(jax.jacfwd(fields)(zero))
    expected = answer(program, latents, likelihoods=False)
    yield fields(zero), expected.mean
    yield root @ root.T, expected.covariance


def soft(program: RandomProgram, latents: dict, read=lambda program: bc.soft(program, SOFT)):
    rng = np.random.default_rng(1)
    field = program.truth + 0.3 * rng.normal(size=program.size)
    parts = program.split(field, range(len(program.fields)))
    values = {program.full(n): jnp.asarray(v) for n, v in latents.items()}
    values |= {
        program.full(f.name): jnp.asarray(u) for f, u in zip(program.fields, parts, strict=True)
    }
    if program.below is not None:
        values[program.full("below")] = program.below
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = log_density(read(program.program), program.arguments, {}, values)
    expected = log_of_prior(program, latents, field)
    expected += log_prior(latents) + log_above(program, latents)
    expected += sum(program.read_off(y, latents).log_density(field) for y in program.likelihoods)
    softened = []
    for s in program.statements:
        rows = program.stated(s, latents)
        scale = np.where(np.diag(rows.noise) == 0, SOFT, np.diag(rows.noise))
        softened.append((s.imposed, rows._replace(noise=np.diag(scale))))
    expected += sum(rows.log_density(field) for _, rows in softened)
    imposed = [rows for is_imposed, rows in softened if is_imposed]
    expected -= given(*program.prior(latents), [], imposed).log_evidence
    yield found, expected + log_below(program, field)


def without_fields(program: RandomProgram, latents: dict):
    if not program.statements:
        return
    values = {program.full(n): jnp.asarray(v) for n, v in latents.items()}
    with handlers.block(), handlers.seed(rng_seed=0):
        found, _ = log_density(collapsed(program.program), program.arguments, {}, values)
    expected = answer(program, latents).log_evidence
    yield found, expected + log_prior(latents) + log_above(program, latents)


def linted(program: RandomProgram, latents: dict):
    del latents
    report = bc.check(program.program, *program.arguments)
    wrong = [finding for finding in report.findings if finding.severity == "error"]
    assert not wrong, f"the linter says\n{report}"
    return
    yield


def plain(program: RandomProgram, latents: dict):
    """NumPyro alone, which has a density for statements with noise."""
    if any(s.imposed or program.exact(s) for s in program.statements):
        return
    yield from soft(program, latents, lambda program: program)


def sampled(program: RandomProgram):
    """The residuals of exact statements that `bc.sample` records, and zeros."""
    tree = bc.sample(program.program, *program.arguments, key=0, draws=4, warmup=4, chains=1)
    for s in program.statements:
        residual = tree["constraints"][f"{program.full(s.name)}_residual".replace("/", ".")]
        if not np.diag(program.stated(s, program.latents).noise).any():
            yield np.asarray(residual), np.zeros(residual.shape)


READINGS = {
    f.__name__: f for f in (conjugate, mixture, exact, pushed, soft, plain, without_fields, linted)
}


def compare(program: RandomProgram, reading: str) -> float:
    """The largest deviation of a reading, relative to the size of what is compared."""
    worst = 0.0
    for found, expected in READINGS[reading](program, program.latents):
        found, expected = np.asarray(found, float), np.asarray(expected, float)
        assert found.shape == expected.shape, f"shapes {found.shape}, {expected.shape}"
        gap = np.abs(found - expected) / (1 + np.abs(expected))
        worst = max(worst, float(np.max(gap, initial=0.0)) if np.isfinite(gap).all() else np.inf)
    return worst


def names_something(program: RandomProgram, message: str) -> bool:
    """Whether a message names a statement, a likelihood or a field, as the program does or with
    the scopes around it.
    """
    sites = [*program.statements, *program.likelihoods, *program.fields]
    return any(repr(n) in message for s in sites for n in (s.name, program.full(s.name)))


def reading_of(seed: int) -> str:
    """The closed form of every second program, and the other readings in turn."""
    others = [name for name in READINGS if name != "conjugate"]
    return others[seed // 2 % len(others)] if seed % 2 else "conjugate"


# --- mistakes


READ = {
    "conjugate": lambda p: bc.conjugate(p.program, key=jax.random.key(0), latent_draws=2),
    "exact": lambda p: handlers.seed(bc.exact(p.program), 0),
    "soft": lambda p: handlers.seed(bc.soft(p.program, SOFT), 0),
}
SOFTLY = (  # what the soft reading may do
    "not affine",
    "of a copy",
    "with a value that rests on its field",
    "contradicted",
    "of more rows than unknowns",
)


def spoiled(seed: int) -> RandomProgram:
    """A random program with a mistake in one of its statements, each kind in turn."""
    program = next(p for i in range(100) if (p := RandomProgram(seed + 10000 * i)).statements)
    program.mistake = (list(MISTAKES)[seed % len(MISTAKES)], seed % len(program.statements))
    return program


def refusals(program: RandomProgram):
    """How every reading takes a mistake: "refused", or what it should not have done."""
    kind, number = program.mistake
    statement = program.statements[number]
    for reading, read in READ.items():
        joint = any(s.imposed and len(s.fields) > 1 for s in program.statements)
        if reading == "soft" and (kind in SOFTLY or joint):  # which it refuses in any case
            continue
        try:
            read(program)(*program.arguments)
            yield reading, "NOT REFUSED"
        except Refusal as error:
            named = statement.name in str(error)
            yield reading, "refused" if named else f"REFUSED WITHOUT A NAME: {error}"
        except Exception as error:
            yield reading, "FAILED: " + "".join(traceback.format_exception(error)[-3:])


def blamed(program: RandomProgram):
    """The same of the linter, which blames the statement and no other."""
    statement = program.statements[program.mistake[1]]
    try:
        findings = bc.check(program.program, *program.arguments).findings
    except Exception as error:
        yield "linted", "FAILED: " + "".join(traceback.format_exception(error)[-3:])
        return
    errors = [f for f in findings if f.severity == "error"]
    places = [f.where for f in errors if f.where != "program"]
    right = any(statement.name in f.finding for f in errors) if not places else True
    fields = [program.full(program.fields[i].name) for i in statement.fields]  # with too many facts
    own = (program.full(statement.name), statement.name, *fields)
    right = right and bool(errors) and all(place.startswith(own) for place in places)
    yield "linted", "refused" if right else f"NOT FOUND: {errors}"


# --- many of them


def outcome_of(seed: int) -> tuple[str, str, object]:
    """Of one program: the reading, how it came out, and by how much or why."""
    reading = reading_of(seed)
    try:
        with warnings.catch_warnings(action="ignore", category=bc.StiffnessWarning):
            deviation = compare(RandomProgram(seed), reading)
        return reading, "right" if deviation <= TOLERANCE else "WRONG", deviation
    except Refusal as error:
        named = names_something(RandomProgram(seed), str(error))
        return reading, "refused" if named else "REFUSED WITHOUT A NAME", error
    except Exception as error:
        return reading, "FAILED", "".join(traceback.format_exception(error)[-3:])


def main(what: str, first: int, number: int) -> None:
    """Read "programs", or "mistakes", of so many seeds; print what deviates and a summary."""
    numpyro.enable_x64()
    counts, worst, began = Counter(), 0.0, time.time()
    for seed in range(first, first + number):
        if what == "mistakes":
            program = spoiled(seed)
            said = [*refusals(program), *blamed(program)]
            found = [(reading, outcome, program.mistake[0]) for reading, outcome in said]
        else:
            found = [outcome_of(seed)]
        for reading, outcome, detail in found:
            counts[f"{reading}: {outcome[:22]}"] += 1
            if outcome not in ("right", "refused") or (outcome == "refused" and what == "programs"):
                print(f"{seed} {reading} {outcome}: {detail}", flush=True)
            worst = max(worst, detail) if outcome == "right" else worst
        if seed % 50 == 49:
            jax.clear_caches()
            tracing.forget()
            print(f"# {seed}: {time.time() - began:.0f} s, worst {worst:.1e}", flush=True)
    print(f"worst of the right ones {worst:.1e}")
    print("\n".join(f"{count:6} {what}" for what, count in sorted(counts.items())))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
