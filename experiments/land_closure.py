"""Seven terms of the land's energy and water, closed month by month and cell by cell, and the term
that is at fault.

Net radiation leaves the land as sensible and latent heat or goes into the ground, and rain
evaporates, runs off or stays:

    R_n = H + LE + G        P = LE/L_v + Q + ΔS        in every cell and month

(W m⁻², and mm per day). Products like NEWS and CLASS measure each term by itself and close both
laws by the conditional mean, taking the errors of different terms for independent. They are not:
what is wrong with a cloud is wrong in radiation and in rain. Here the truth is synthetic and
closes; what is measured has errors that are correlated between terms, by a known matrix, and
between neighbouring cells. Each cell and month is a problem of seven unknowns and two rows; nothing
larger is formed.

* `as measured`: nothing closed.
* `independent errors`: closed with the right standard deviations and no correlation, as it is done.
* `given correlation`: closed with `bayescons.gaussians.correlated`, the errors' own matrix.
* `estimated correlation`: with the matrix that stations have shown in another year, at which the
  truth is known.

Coverage is the share of cells and months whose truth lies in the 95 % interval; that errors of
neighbouring cells are alike does not change it. `RMSE` is that of the closed term over that of the
measured one.

The second part plants an error: the sign of the ground heat flux, for which CLASS 1.0 was
withdrawn. `bayescons.diagnostics.suspects` turns the sign of each term and looks at the evidence of
the laws; it names a term where the ratio is beyond chance, at a rate of one false alarm in 1,000 at
most. It is told how many cells are alike, 8π l² for errors smoothed over l cells: that many are one
piece of evidence.

The third is speed: the months of one year and of seven at half a degree, read from a file, closed
and written, one after another, in a fresh process, beside the closed form written out in NumPy for
this very problem.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from matplotlib.figure import Figure

import bayescons as bc
from bayescons.diagnostics import Suspects, suspects
from bayescons.plots.fields import COLOURS, FONT
from experiments import panels
from experiments.measurement import elsewhere, memory
from experiments.rows import Row
from experiments.tables import Table, against_targets, pivot

TERMS = ("Rn", "H", "LE", "G", "P", "Q", "ΔS")
UNITS = ("W m⁻²",) * 4 + ("mm/day",) * 3
PER_DAY = 86400 / 2.5008e6  # mm per day of evaporation for 1 W m⁻² of latent heat
ERRORS = np.array([12.0, 15.0, 15.0, 5.0, 0.6, 0.4, 0.5])  # standard deviations, about
# Of what errors share: clouds, how heat is parted, gauges. C = L L' + what is each term's own.
LOADINGS = np.array(
    [
        [0.7, 0.0, 0.0],
        [0.4, 0.7, 0.0],
        [0.3, -0.7, 0.0],
        [0.0, 0.0, 0.0],
        [-0.4, 0.0, 0.75],
        [0.0, 0.0, 0.6],
        [0.0, 0.0, 0.6],
    ]
)
CORRELATION = LOADINGS @ LOADINGS.T + np.diag(1 - np.sum(LOADINGS**2, axis=1))
LAWS = np.array(
    [[1.0, -1.0, -1.0, -1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -PER_DAY, 0.0, 1.0, -1.0, -1.0]]
)
MEASURED, INDEPENDENT, GIVEN, ESTIMATED = (
    "as measured",
    "independent errors",
    "given correlation",
    "estimated correlation",
)
NEAR = 2.0  # cells, standard deviation of the filter by which neighbouring errors are alike
FALSE_ALARM = 1e-3
LEVEL = 1.959964  # standard deviations of a 95 % interval
SECONDS, PEAK, RATIO = "seconds", "peak memory, GB", "seconds over the closed form by hand"
RIGHT, TURNED = "right", "ground heat flux turned"
FIGURES = {
    "": (
        "Left, the share of cells and months whose truth lies in the 95 % interval, by term; the "
        "line is 95 %. Right, the error of the closed term over that of the measured one."
    ),
    "_suspects": (
        "Log evidence gained by turning the sign of a term, one point for each trial: where the "
        "budget is right (left) and where the ground heat flux has the wrong sign (right). Beyond "
        "the dashed line a term is named."
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    """Size of a run.

    Attributes:
        cells: latitudes and longitudes.
        months: that are scored.
        stations: at which the correlation is estimated, in a year of their own.
        region: cells of a trial of suspects, for twelve months.
        trials: with a right budget, and as many with a turned sign.
        streamed: months of the timed closures.
    """

    cells: tuple[int, int]
    months: int
    stations: int = 200
    region: tuple[int, int] = (48, 96)
    trials: int = 100
    streamed: tuple[int, ...] = (12, 84)


SETTINGS = {
    "quick": Settings(cells=(18, 36), months=12, region=(36, 72), trials=5, streamed=(2,)),
    "paper": Settings(cells=(360, 720), months=12),
}


# --- The land
# -----------------------------------------------------------------------------


def truth(cells: tuple[int, int], months: np.ndarray) -> np.ndarray:
    """Terms that close, shape (months, 7, *cells): seasons by latitude, wet and dry by longitude.

    Args:
        cells: latitudes and longitudes.
        months: their numbers, January being 0.
    """
    lat = np.deg2rad(np.linspace(89.75, -89.75, cells[0]))[:, None]
    lon = np.linspace(0, 2 * np.pi, cells[1], endpoint=False)
    season = np.cos(2 * np.pi * (months - 6) / 12)[:, None, None] * np.sin(lat)
    wet = 0.5 + 0.4 * np.cos(2 * lat) * np.cos(3 * lon)
    rn = 110 * np.cos(lat) + 70 * season + 0 * lon
    g = 8 * season + 0 * lon
    le = np.maximum(rn - g, 0.0) * (0.15 + 0.7 * wet)
    p = 0.4 + 4 * wet * (1 + 0.3 * season)
    q = 0.35 * p
    parts = (rn, rn - g - le, le, g, p, q, p - PER_DAY * le - q)
    return np.stack(np.broadcast_arrays(*parts), axis=1)


def spread(cells: tuple[int, int]) -> np.ndarray:
    """Standard deviations of the errors, shape (7, *cells): half as large here, half more there."""
    lat = np.linspace(0, np.pi, cells[0])[:, None]
    lon = np.linspace(0, 4 * np.pi, cells[1], endpoint=False)
    return ERRORS[:, None, None] * (1 + 0.5 * np.sin(lat) * np.cos(lon))


def errors(key, cells: tuple[int, int], months: int) -> np.ndarray:
    """Errors over their standard deviations, (months, 7, *cells): correlated between terms and
    between neighbouring cells, independent between months.
    """
    noise = np.asarray(jax.random.normal(key, (months, 7, *cells)))
    near = scipy.ndimage.gaussian_filter(noise, (0, 0, NEAR, NEAR), mode="wrap")
    one = np.zeros(cells)
    one[0, 0] = 1.0
    near /= np.sqrt(np.sum(scipy.ndimage.gaussian_filter(one, NEAR, mode="wrap") ** 2))
    return np.einsum("kl,mlxy->mkxy", np.linalg.cholesky(CORRELATION), near)


def estimated(key, stations: int) -> np.ndarray:
    """The correlation of errors that stations, far from each other, show over twelve months."""
    drawn = np.asarray(jax.random.normal(key, (12 * stations, 7)))
    return np.corrcoef(drawn @ np.linalg.cholesky(CORRELATION).T, rowvar=False)


# --- Closures
# -----------------------------------------------------------------------------


@functools.cache
def _laws(shape: tuple[int, ...]) -> bc.Constraint:
    """Both laws at every point of a field of seven terms."""

    def off(u):
        rn, h, le, g, p, q, ds = u
        return jnp.stack([rn - h - le - g, p - PER_DAY * le - q - ds])

    return bc.Constraint(bc.functional(off, shape), 0.0, name="budgets")


@functools.partial(jax.jit, static_argnums=3)
def _closed(measured, scale, correlation, shape: tuple[int, ...]):
    belief = bc.gaussians.correlated(measured.astype(float), scale.astype(float), correlation)
    posterior = bc.condition(belief, _laws(shape))
    return posterior.mean, jnp.sqrt(posterior.variance)


def closed(measured, scale, correlation) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every term given both laws, shape (7, *points)."""
    mean, sd = _closed(measured, scale, jnp.asarray(correlation), tuple(measured.shape))
    return np.asarray(mean), np.asarray(sd)


def by_hand(measured, scale, correlation) -> tuple[np.ndarray, np.ndarray]:
    """The same by its formula in NumPy, S inverted as a matrix of two by two."""
    m, d = (np.moveaxis(np.asarray(a, float), 0, -1) for a in (measured, scale))
    rows = LAWS * d[..., None, :]  # G D
    gain = rows @ correlation  # G D C, as K G' = D (G D C)'
    s = gain @ np.swapaxes(rows, -1, -2)
    det = s[..., 0, 0] * s[..., 1, 1] - s[..., 0, 1] ** 2
    inverse = np.stack([s[..., 1, 1], -s[..., 0, 1], -s[..., 0, 1], s[..., 0, 0]], axis=-1)
    inverse = (inverse / det[..., None]).reshape(s.shape)
    weights = inverse @ gain
    mean = m - d * np.einsum("...r,...rk->...k", m @ LAWS.T, weights)
    variance = d**2 * (1 - np.sum(gain * weights, axis=-2))
    return np.moveaxis(mean, -1, 0), np.sqrt(np.moveaxis(variance, -1, 0))


# --- Rows
# -----------------------------------------------------------------------------


def rows(settings: Settings, key: jax.Array) -> list[Row]:
    """Of all three parts."""
    score, wrong, timed = jax.random.split(key, 3)
    return [
        *_scores(settings, score),
        *_trials(settings, wrong),
        *_seconds(settings, timed),
    ]


def _scores(settings: Settings, key: jax.Array) -> list[Row]:
    cells, months = settings.cells, settings.months
    of_errors, of_stations = jax.random.split(key)
    exact, scale = truth(cells, np.arange(months)), spread(cells)
    keys = jax.random.split(of_errors, months)
    matrices = {
        INDEPENDENT: np.eye(7),
        GIVEN: CORRELATION,
        ESTIMATED: estimated(of_stations, settings.stations),
    }
    methods = (MEASURED, *matrices)
    inside = {name: np.zeros(7) for name in methods}
    squares = {name: np.zeros(7) for name in methods}
    off = dict.fromkeys(methods, 0.0)
    size = np.abs(LAWS) @ np.abs(exact).reshape(months, 7, -1).max(axis=(0, 2))
    for month in range(months):
        measured = exact[month] + scale * errors(keys[month], cells, 1)[0]
        for name in methods:
            plain = name == MEASURED
            mean, sd = (measured, scale) if plain else closed(measured, scale, matrices[name])
            miss = mean - exact[month]
            inside[name] += (np.abs(miss) <= LEVEL * sd).mean(axis=(1, 2)) / months
            squares[name] += (miss**2).mean(axis=(1, 2)) / months
            residual = np.abs(np.tensordot(LAWS, mean, 1)).max(axis=(1, 2)) / size
            off[name] = max(off[name], float(residual.max()))
    where = f"{cells[0]} × {cells[1]} cells, {months} months"
    count = months * cells[0] * cells[1]
    out = []
    for name in methods:
        target = ("≥ 0.93", "≤ 0.97") if name in (GIVEN, ESTIMATED) else (None, None)
        out += [
            Row("land", where, name, f"coverage {term}", float(share), n=count)
            for term, share in zip(TERMS, inside[name], strict=True)
        ]
        least, most = inside[name].min(), inside[name].max()
        out.append(
            Row("land", where, name, "least coverage", float(least), n=count, reference=target[0])
        )
        out.append(
            Row("land", where, name, "largest coverage", float(most), n=count, reference=target[1])
        )
        out += [
            Row("land", where, name, f"RMSE {term}", float(math.sqrt(ratio)), n=count)
            for term, ratio in zip(TERMS, squares[name] / squares[MEASURED], strict=True)
        ]
        target = None if name == MEASURED else "≤ 1e-12"
        out.append(Row("land", where, name, "residual / terms", off[name], reference=target))
    return out


def trial(settings: Settings, key: jax.Array, *, turned: bool) -> Suspects:
    """What is found of one measured year of a region, each month by itself."""
    cells = settings.region
    exact, scale = truth(cells, np.arange(12)), spread(cells)
    measured = exact + scale * errors(key, cells, 12)
    if turned:
        measured[:, TERMS.index("G")] *= -1
    whole, sd = (np.moveaxis(a, 1, 0) for a in (measured, np.broadcast_to(scale, exact.shape)))
    belief = bc.gaussians.correlated(whole, sd, CORRELATION)
    alike = 8 * np.pi * NEAR**2
    return suspects(belief, _laws(whole.shape), TERMS, false_alarm=FALSE_ALARM, alike=alike)


@functools.cache
def trials(settings: Settings, seed: int, turned: bool) -> list[Suspects]:
    """Of all keys."""
    keys = jax.random.split(jax.random.key(seed), settings.trials)
    return [trial(settings, each, turned=turned) for each in keys]


def _seed(key: jax.Array) -> int:
    """By which trials are remembered: rows and figures show the same ones."""
    return int(jax.random.randint(key, (), 0, 2**31 - 1))


def _trials(settings: Settings, key: jax.Array) -> list[Row]:
    where = f"{settings.region[0]} × {settings.region[1]} cells, 12 months"
    out = []
    for turned, label, metric, wanted, reference in (
        (False, RIGHT, "trials in which a term is named", None, "≤ 0"),
        (True, TURNED, "trials in which G is named first", "G", f"≥ {settings.trials}"),
    ):
        found = trials(settings, _seed(key) + turned, turned)
        count = sum((f.named is not None) if wanted is None else f.named == wanted for f in found)
        out.append(
            Row("suspects", where, label, metric, count, n=settings.trials, reference=reference)
        )
        out.append(
            Row(
                "suspects",
                where,
                label,
                "chi-square / rows",
                float(np.mean([f.chi_square / f.rows for f in found])),
                n=settings.trials,
            )
        )
    return out


def _seconds(settings: Settings, key: jax.Array) -> list[Row]:
    """Timed in a process of its own, from file to file."""
    cells, out = settings.cells, []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write(folder, cells, max(settings.streamed), key)
        for months in settings.streamed:
            where = f"{cells[0]} × {cells[1]} cells, {months} months"
            unknowns = 7 * months * cells[0] * cells[1]
            ours = elsewhere("experiments.land_closure:streamed", name, months, "closed")
            hand = elsewhere("experiments.land_closure:streamed", name, months, "by_hand")
            note = f"{unknowns / 1e6:.3g} million unknowns, {2 * unknowns / 7e6:.3g} million rows"
            largest = months == 84 and cells == (360, 720)
            aims = ("≤ 60", "≤ 4") if largest else (None, None)
            out += [
                Row("speed", where, GIVEN, SECONDS, ours[0], reference=aims[0], note=note),
                Row("speed", where, GIVEN, PEAK, ours[1], reference=aims[1]),
                Row("speed", where, GIVEN, RATIO, ours[0] / hand[0]),
                Row("speed", where, "by hand, NumPy", SECONDS, hand[0]),
                Row("speed", where, "by hand, NumPy", PEAK, hand[1]),
            ]
    return out


def _write(folder: Path, cells: tuple[int, int], months: int, key: jax.Array) -> None:
    """Measured months in single precision, as such products are stored."""
    scale = spread(cells)
    np.save(folder / "scale.npy", scale.astype(np.float32))
    shape = (months, 7, *cells)
    file = np.lib.format.open_memmap(folder / "measured.npy", "w+", np.float32, shape)
    for month, each in enumerate(jax.random.split(key, months)):
        exact = truth(cells, np.array([month % 12]))[0]
        file[month] = exact + scale * errors(each, cells, 1)[0]
    file.flush()


def streamed(folder: str, months: int, method: str) -> tuple[float, float]:
    """Seconds from file to file, compilation included, and the peak of memory in GB."""
    close: Callable = {"closed": closed, "by_hand": by_hand}[method]
    start, place = time.perf_counter(), Path(folder)
    measured = np.load(place / "measured.npy", mmap_mode="r")
    scale = np.load(place / "scale.npy")
    shape = (months, *measured.shape[1:])
    mean, sd = (
        np.lib.format.open_memmap(place / f"{name}.npy", "w+", np.float32, shape)
        for name in ("mean", "sd")
    )
    for month in range(months):
        found = close(np.asarray(measured[month]), scale, CORRELATION)
        mean[month], sd[month] = found
    mean.flush()
    sd.flush()
    return time.perf_counter() - start, memory("VmHWM") / 1e9


# --- The page
# -----------------------------------------------------------------------------


def tables(rows: Sequence[Row]) -> list[Table]:
    """Coverage and errors by term, suspects, speed, and what was aimed at."""
    land = [row for row in rows if row.problem == "land"]
    return [
        pivot("Coverage of 95 % intervals", land, {f"coverage {term}": term for term in TERMS}),
        pivot(
            "Root mean squared error over that measured",
            land,
            {**{f"RMSE {term}": term for term in TERMS}, "residual / terms": "residual / terms"},
        ),
        pivot(
            "Suspects",
            [row for row in rows if row.problem == "suspects"],
            {
                "trials in which a term is named": "a term is named",
                "trials in which G is named first": "G is named",
                "chi-square / rows": "chi-square / rows",
            },
            methods="budget",
        ),
        pivot(
            "Speed",
            [row for row in rows if row.problem == "speed"],
            {SECONDS: SECONDS, PEAK: PEAK, RATIO: RATIO},
        ),
        against_targets("Aimed at", rows),
    ]


def figures(settings: Settings, key: jax.Array, rows: Sequence[Row]) -> dict[str, Figure]:
    """By the ending of the file's name, see `FIGURES`."""
    return {"": _bars(rows), "_suspects": _gains(settings, key)}


SHOWN = {MEASURED: 3, INDEPENDENT: 0, GIVEN: 1, ESTIMATED: 2}


def _bars(rows: Sequence[Row]) -> Figure:
    figure = panels.sheet(3.4)
    panes = figure.subplots(1, 2)
    at = {(row.method, row.metric): row.mean for row in rows}
    for number, (method, place) in enumerate(SHOWN.items()):
        heights = np.arange(7)[::-1] + 0.27 - 0.18 * number
        for pane, metric in zip(panes, ("coverage", "RMSE"), strict=True):
            values = [at[method, f"{metric} {term}"] for term in TERMS]
            pane.plot(values, heights, "o", markersize=5, color=COLOURS[place], label=method)
    for pane in panes:
        pane.set_yticks(np.arange(7)[::-1], TERMS, fontsize=FONT)
    panes[0].axvline(0.95, color="0.4", linewidth=1.0, zorder=0)
    panels.finish(panes[0], xlabel="coverage of 95 % intervals")
    panels.finish(panes[1], xlabel="RMSE, closed over measured")
    for pane in panes:  # `finish` chooses ticks for numbers, and these are names
        pane.set_yticks(np.arange(7)[::-1], TERMS, fontsize=FONT)
    handles, labels = panes[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=2, fontsize=FONT, frameon=False
    )
    return figure


def _gains(settings: Settings, key: jax.Array) -> Figure:
    figure = panels.sheet(3.2)
    seed = _seed(jax.random.split(key, 3)[1])
    panes = figure.subplots(1, 2, sharey=True)
    limit = math.log(len(TERMS) / FALSE_ALARM)
    for pane, turned, title in zip(panes, (False, True), (RIGHT, TURNED), strict=True):
        found = trials(settings, seed + turned, turned)
        for place, term in enumerate(TERMS[::-1]):
            gains = [each.terms[term].gain for each in found]
            jitter = np.linspace(-0.25, 0.25, len(gains))
            colour = COLOURS[0] if term == "G" else "0.5"
            pane.plot(gains, place + jitter, ".", markersize=4, color=colour)
        pane.axvline(limit, color="black", linestyle="--", linewidth=1.0)
        pane.set_xscale("symlog", linthresh=10.0)
        panels.finish(pane, title=title, xlabel="log evidence gained, nats")
        pane.set_yticks(np.arange(7), TERMS[::-1], fontsize=FONT)
        pane.set_xticks([-1e4, -1e2, 0, 1e2])
        pane.set_xlim(-5e4, 1e3)
    return figure
