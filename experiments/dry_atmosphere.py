"""A dry atmosphere that another model simulates: its runs, the fields in them, and the totals that
they close.

The model is `dinosaur` in the configuration of Held and Suarez (Bulletin of the American
Meteorological Society 75, 1994): primitive equations on a flat rotating sphere, T21 (64 x 32
points), eight sigma levels, temperature relaxed to a profile and winds near the ground dragged. It
runs in an environment of its own and is no dependency.

With the quadrature weights w of the Gaussian grid (Σ w = 1), thicknesses Δσ_k and the surface
pressure p of each column, the totals are, per square metre,

    mass      Σ w p                                             (Pa, times area / g in kg)
    energy    Σ w Σ_k Δσ_k p/g (c_p T + (u² + v²)/2)            (J/m²; the ground is flat)
    momentum  Σ w Σ_k Δσ_k p/g (u + Ω a cos φ) a cos φ          (kg/s, axial, angular)

Each time step of 30 minutes is four changes one after another, and the totals are taken between
them: the forcing (known), the equations without it, horizontal diffusion (∇⁶, 0.1 days for the
shortest wave), and a factor on the pressure that brings the mass back to 10⁵ Pa (the model predicts
log p and loses about 0.2 Pa a day). So mass is constant to rounding, and the change of
energy and momentum over a day is the sum of four numbers in the file. The second of them is what
the model's own equations fail to close.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bayescons.refusals import RefusedFile

PACKAGE = "dinosaur==1.5.1"
LEVELS = 8
LAWS = "mass", "energy", "momentum"
PARTS = "forcing", "equations", "diffusion", "mass fix"
PROGRAM = """
import os
import sys
import jax
jax.config.update("jax_enable_x64", True)
import jax.numpy as jnp
import numpy as np
from dinosaur import coordinate_systems, held_suarez, primitive_equations
from dinosaur import primitive_equations_states, scales, sigma_coordinates
from dinosaur import spherical_harmonic, time_integration, xarray_utils

seed, spinup, days = map(int, sys.argv[1:])
units, steps = scales.units, 48  # of 30 minutes, to a day
coords = coordinate_systems.CoordinateSystem(
    horizontal=spherical_harmonic.Grid.T21(),
    vertical=sigma_coordinates.SigmaCoordinates.equidistant(8),
)
grid, specs = coords.horizontal, primitive_equations.PrimitiveEquationsSpecs.from_si()

def si(unit):
    return float(specs.dimensionalize(1.0, unit).to(unit).magnitude)

pascal, kelvin, metre = si(units.pascal), si(units.degK), si(units.m)
speed, second = si(units.m / units.s), si(units.s)
g = float(specs.g) * metre / second**2
gas = float(specs.R) * metre**2 / second**2 / kelvin
heat = gas / float(specs.kappa)
radius, rate = float(specs.radius) * metre, float(specs.angular_velocity) / second
start, features = primitive_equations_states.isothermal_rest_atmosphere(
    coords, specs, p0=1e5 * units.pascal, p1=5e3 * units.pascal
)
reference = features[xarray_utils.REF_TEMP_KEY]
equation = primitive_equations.PrimitiveEquations(
    reference, grid.to_modal(features[xarray_utils.OROGRAPHY]), coords, specs
)
forcing = held_suarez.HeldSuarezForcing(coords, specs, reference)
dt = float(specs.nondimensionalize(1800 * units.s))
advance = time_integration.imex_rk_sil3(equation, dt)
tau = float(specs.nondimensionalize(0.1 * units.day))
smooth = time_integration.horizontal_diffusion_step_filter(grid, dt, tau=tau, order=3)
longitude, sine = map(np.asarray, grid.nodal_axes)
cosine = np.sqrt(1 - sine**2)
weights = np.asarray(grid.spherical_harmonics.basis.w) * np.ones(len(sine))
weights = weights / (weights.sum() * len(longitude))  # of one point, all together 1
thickness = np.asarray(coords.vertical.layer_thickness)[:, None, None]

def fields(state):
    "ps in Pa, T in K, u and v in m/s, each (level, longitude, latitude)."
    nodal = primitive_equations.compute_diagnostic_state_sigma(state, coords)
    u, v = (speed * c / cosine for c in nodal.cos_lat_u)
    t = kelvin * (nodal.temperature_variation + reference[:, None, None])
    return pascal * jnp.exp(grid.to_nodal(state.log_surface_pressure)), t, u, v

def totals(state):
    "Per square metre: dry mass as pressure (Pa), energy (J), axial angular momentum (kg/s)."
    ps, t, u, v = fields(state)
    air = thickness * weights * ps / g
    spin = (u + rate * radius * cosine) * radius * cosine
    each = jnp.ones_like(air) * g, heat * t + (u**2 + v**2) / 2, spin
    return jnp.stack([jnp.sum(air * one) for one in each])

one = grid.to_modal(np.ones(coords.surface_nodal_shape))
mass = 1e5

def fixed(state):
    "Pressure times a factor, so that the mass is that of the beginning."
    now = jnp.sum(weights * pascal * jnp.exp(grid.to_nodal(state.log_surface_pressure)))
    pressure = state.log_surface_pressure + jnp.log(mass / now) * one
    return state.replace(log_surface_pressure=pressure)

def forced(state):
    return state + dt * forcing.explicit_terms(state)

@jax.jit
def day(state):
    def step(carry, _):
        state, before = carry
        parts = []
        for part in (forced, advance, lambda s: smooth(s, s), fixed):
            state = part(state)
            after = totals(state)
            parts.append(after - before)
            before = after
        return (state, before), jnp.stack(parts)
    (state, _), parts = jax.lax.scan(step, (state, totals(state)), None, length=steps)
    return state, parts.sum(0)

@jax.jit
def seen(state):
    return *fields(state), totals(state)

state = fixed(start(jax.random.PRNGKey(seed)))
stored = {name: [] for name in ("ps", "t", "u", "v", "totals", "work")}
for number in range(spinup + days + 1):
    if number >= spinup:
        for name, value in zip(("ps", "t", "u", "v", "totals"), seen(state)):
            value = np.asarray(value)
            if name != "totals":
                value = np.moveaxis(value, -1, -2)
            stored[name].append(value.astype("f8" if name in ("ps", "totals") else "f4"))
    state, parts = day(state)
    if number >= spinup:
        stored["work"].append(np.asarray(parts))
    if number % 50 == 0:
        print("day", number - spinup, flush=True)
if not np.isfinite(stored["totals"]).all():
    sys.exit("the model has become unstable")
stored["ps"] = np.stack(stored["ps"])[:, 0]
constants = dict(
    longitude=longitude, sine=sine, weights=weights, thickness=thickness[:, 0, 0],
    g=g, heat=heat, radius=radius, rate=rate, mass=mass,
)
np.savez("part.npz", **constants, **{name: np.asarray(a) for name, a in stored.items()})
os.replace("part.npz", f"run_{seed}.npz")
"""


class Atmosphere(NamedTuple):
    """Grid and constants of a dry atmosphere.

    Its fields have channels, latitude and longitude: the surface pressure (Pa), then temperature
    (K), zonal wind and meridional wind (m/s) of each level from above.

    Attributes:
        longitude: in radians, shape (longitudes,).
        sine: of the latitudes from south to north, shape (latitudes,).
        weights: of one point of each latitude, all points together 1, shape (latitudes,).
        thickness: Δσ, shape (levels,).
        g: gravity, m/s².
        heat: c_p, J/(kg K).
        radius: a, m.
        rate: Ω, 1/s.
        mass: Σ w p, Pa.
    """

    longitude: np.ndarray
    sine: np.ndarray
    weights: np.ndarray
    thickness: np.ndarray
    g: float
    heat: float
    radius: float
    rate: float
    mass: float

    @property
    def levels(self) -> int:
        """How many."""
        return len(self.thickness)

    @property
    def channels(self) -> int:
        """The pressure, and three fields of each level."""
        return 1 + 3 * self.levels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a field."""
        return self.channels, len(self.sine), len(self.longitude)

    @property
    def mirror(self) -> np.ndarray:
        """Signs of the channels where north and south are exchanged, shape (channels,)."""
        return np.concatenate([np.ones(1 + 2 * self.levels), -np.ones(self.levels)])

    @property
    def variables(self) -> dict[str, slice]:
        """Channels of each variable."""
        n = self.levels
        starts = {"temperature": 1, "zonal wind": 1 + n, "meridional wind": 1 + 2 * n}
        return {"pressure": slice(0, 1)} | {k: slice(s, s + n) for k, s in starts.items()}


class Run(NamedTuple):
    """Days of a simulation.

    Attributes:
        fields: shape (days, channels, latitude, longitude); all but the pressure were kept in
            single precision.
        totals: of them before they were rounded, shape (days, 3), see `LAWS`.
        work: by which change the totals moved until the next day, shape (days, 4, 3), see `PARTS`.
    """

    fields: np.ndarray
    totals: np.ndarray
    work: np.ndarray


def totals(air: Atmosphere) -> Callable[[jax.Array], jax.Array]:
    """Field -> mass, energy and momentum, shape (3,), as at the head of this file."""
    cosine = jnp.asarray(np.sqrt(1 - air.sine**2))[:, None]
    weights, thickness = jnp.asarray(air.weights)[:, None], jnp.asarray(air.thickness)
    here = air.variables

    def of(field):
        mass = weights * field[0]
        t, u, v = (field[here[name]] for name in ("temperature", "zonal wind", "meridional wind"))

        def column(levels):
            return jnp.sum(mass * jnp.tensordot(thickness, levels, 1)) / air.g

        spin = (u + air.rate * air.radius * cosine[None]) * (air.radius * cosine[None])
        energy = column(air.heat * t + (u**2 + v**2) / 2)
        return jnp.stack([jnp.sum(mass), energy, column(spin)])

    return of


def simulated(
    folder: Path, environment: Path, seeds: Sequence[int], *, spinup: int, days: int
) -> tuple[Atmosphere, list[Run]]:
    """Runs of the model, one for each seed of its first perturbation; those that lie in the folder
    are not made again.

    Args:
        folder: of the files run_SEED.npz.
        environment: virtual environment of the model; made from the package index if missing.
        seeds: of the perturbation of the resting atmosphere that each begins with.
        spinup: days that are not kept.
        days: days that are.

    Raises:
        OSError: the model cannot be installed or run.
    """
    folder.mkdir(parents=True, exist_ok=True)
    python = environment / "bin" / "python"
    for seed in seeds:
        if (folder / f"run_{seed}.npz").exists():
            continue
        if not python.exists():
            _called([sys.executable, "-m", "venv", str(environment)], folder)
            _called([str(python), "-m", "pip", "install", "--quiet", PACKAGE], folder)
        (folder / "program.py").write_text(PROGRAM, encoding="utf-8")
        numbers = map(str, (seed, spinup, days))
        _called([str(python.absolute()), "program.py", *numbers], folder)
    read = [_read(folder / f"run_{seed}.npz") for seed in seeds]
    return read[0][0], [run for _, run in read]


def _read(path: Path) -> tuple[Atmosphere, Run]:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    constants = {
        name: arrays[name] if arrays[name].ndim else float(arrays[name])
        for name in Atmosphere._fields
    }
    parts = [arrays["ps"][:, None], *(arrays[name] for name in "tuv")]
    fields = np.concatenate([part.astype(float) for part in parts], axis=1)
    return Atmosphere(**constants), Run(fields, arrays["totals"], arrays["work"])


def _called(command: list[str], folder: Path) -> None:
    own = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        raise RefusedFile(
            5, f"the model could not be installed or run ({said}); it needs the package index"
        )
