"""Budgets that people close, as laws across the variables of a dataset: a line for each, and the
names are yours. What they say is their text, `print(labelled.budgets.water())`; where yours is
another, write it, `labelled.law(...)`.
"""

from __future__ import annotations

from bayescons.labelled.laws import Equation, law

VAPORISATION = "quantity(2.5008e6, 'J kg-1')"  # latent heat of water at 0 °C
# ρ c_p of sea water: 1026 kg m-3, as NEMO has it, times 3991.868 J kg-1 K-1, the c_p0 of TEOS-10.
SEA_WATER = "quantity(4.095657e6, 'J m-3 K-1')"


def _array(name: str) -> str:
    """A name as laws have it."""
    return name if name.isidentifier() and name.isascii() else f"'{name}'"


def _law(name: str, equation: str, scale: float | None) -> Equation:
    return law(f"{name}: {equation}" + ("" if scale is None else f" +- {scale!r}"))


def _over(word: str, expression: str, axes: str) -> str:
    """A sum or an average, where it is over axes at all."""
    return f"{word}({expression}, {axes})" if axes else expression


def dry_air(
    pressure: str = "ps",
    vapour: str = "q",
    thickness: str = "dp",
    *,
    level: str = "level",
    axes: str = "lat, lon",
    time: str = "time",
    scale: float | None = None,
) -> Equation:
    """Dry air neither comes nor goes: the average of p_s - Σ_k q_k Δp_k does not change, step by
    step.

    Args:
        pressure: at the surface.
        vapour: specific humidity (all water, where there is more than vapour).
        thickness: pressure between the faces of a level, Δa_k + Δb_k p_s where levels are hybrid.
        level: its axis.
        axes: of the average.
        time: axis of the steps.
        scale: standard deviation; None for an exact law.

    Example:
        >>> bc.labelled.budgets.dry_air().name
        'dry air'
    """
    dry = f"{_array(pressure)} - sum({_array(vapour)} * {_array(thickness)}, {level})"
    return _law("dry air", f"step({_over('average', dry, axes)}, {time}) = 0", scale)


def water(
    storage: str = "tcw",
    evaporation: str = "e",
    precipitation: str = "p",
    *,
    axes: str = "lat, lon",
    time: str = "time",
    scale: float | None = None,
) -> Equation:
    """Water in the air changes by what rises less what falls: d⟨W⟩/dt = ⟨E - P⟩ over each step,
    fluxes being those of the interval that ends at their time.

    Args:
        storage: water in a column, kg m-2.
        evaporation: upwards, kg m-2 s-1.
        precipitation: downwards.
        axes: of the average; "" for columns without transport between them.
        time: axis of the steps.
        scale: standard deviation; None for an exact law.
    """
    return _tendency(
        "water",
        _array(storage),
        f"{_array(evaporation)} - {_array(precipitation)}",
        axes,
        time,
        scale,
    )


def energy(
    storage: str = "te",
    top: str = "toa",
    surface: str = "sfc",
    *,
    axes: str = "lat, lon",
    time: str = "time",
    scale: float | None = None,
) -> Equation:
    """Energy of the air changes by what enters at the top less what leaves at the surface:
    d⟨E⟩/dt = ⟨F_top - F_surface⟩ over each step, both downwards, of the interval that ends at their
    time.

    Args:
        storage: total energy of a column, J m-2.
        top: net flux at the top, W m-2 downwards.
        surface: net flux at the surface, W m-2 downwards.
        axes: of the average.
        time: axis of the steps.
        scale: standard deviation; None for an exact law.
    """
    return _tendency(
        "energy", _array(storage), f"{_array(top)} - {_array(surface)}", axes, time, scale
    )


def heat(
    temperature: str = "thetao",
    flux: str = "hfds",
    *,
    depth: str = "lev",
    axes: str = "lat, lon",
    time: str = "time",
    scale: float | None = None,
) -> Equation:
    """Heat of the sea changes by what enters through its surface: ρ c_p d⟨∫ θ dz⟩/dt = ⟨Q⟩ over
    each step, with ρ c_p = 4.095657e6 J m-3 K-1.

    Args:
        temperature: potential, or conservative.
        flux: downwards, W m-2, of the interval that ends at its time.
        depth: axis of the integral, in metres; its cells count where it has bounds.
        axes: of the average.
        time: axis of the steps.
        scale: standard deviation; None for an exact law.
    """
    content = f"{SEA_WATER} * integral({_array(temperature)}, {depth})"
    return _tendency("heat", content, _array(flux), axes, time, scale)


def salt(
    salinity: str = "so",
    *,
    depth: str = "lev",
    axes: str = "lat, lon",
    time: str = "time",
    scale: float | None = None,
) -> Equation:
    """Salt of the sea neither comes nor goes: ⟨∫ S dz⟩ does not change, step by step. Arguments as
    of `heat`.
    """
    content = _over("average", f"integral({_array(salinity)}, {depth})", axes)
    return _law("salt", f"step({content}, {time}) = 0", scale)


def land_energy(
    net: str = "rn",
    sensible: str = "h",
    latent: str = "le",
    ground: str = "g",
    *,
    scale: float | None = None,
) -> Equation:
    """R_n = H + LE + G at every point: net radiation goes into the air as sensible and latent heat,
    or into the ground.

    Example:
        >>> bc.labelled.budgets.land_energy().text
        'land energy: rn = h + le + g'
    """
    parts = " + ".join(map(_array, (sensible, latent, ground)))
    return _law("land energy", f"{_array(net)} = {parts}", scale)


def land_water(
    precipitation: str = "p",
    latent: str = "le",
    runoff: str = "q",
    storage_change: str = "ds",
    *,
    scale: float | None = None,
) -> Equation:
    """P = LE/L_v + Q + ΔS at every point: what falls evaporates, runs off or stays; LE in W m-2,
    all others in kg m-2 s-1, L_v = 2.5008e6 J/kg.
    """
    parts = f"{_array(latent)} / {VAPORISATION} + {_array(runoff)} + {_array(storage_change)}"
    return _law("land water", f"{_array(precipitation)} = {parts}", scale)


def _tendency(
    name: str, storage: str, flux: str, axes: str, time: str, scale: float | None
) -> Equation:
    """d⟨storage⟩/dt = ⟨flux⟩, both expressions."""
    held, came = _over("average", storage, axes), _over("average", flux, axes)
    return _law(name, f"rate({held}, {time}) = later({came}, {time})", scale)
