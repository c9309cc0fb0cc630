"""Energy and water of the land, month by month and cell by cell: seven terms with errors of their
own, and two laws that tie them.

    R_n = H + LE + G,   P = LE/L_v + Q + ΔS   in every cell and month
    R_n, H, LE, G in W m⁻²;  P, Q, ΔS in mm per day;  L_v = 2.5008e6 J/kg

Latent heat is in both: what the water budget says of it reaches the radiation. Each cell and month
is a problem of seven unknowns and two rows by itself.
"""

import jax
import jax.numpy as jnp
import numpyro

import bayescons as bc

MONTHS, CELLS = 12, 30
PER_DAY = 86400 / 2.5008e6  # mm per day of evaporation for a latent heat of 1 W m⁻²
ERRORS = {"rn": 10.0, "h": 15.0, "le": 15.0, "g": 5.0, "p": 0.4, "q": 0.3, "ds": 0.5}


def program(terms, errors=ERRORS):
    """The terms as they were measured, tied by both laws; arrays (months, cells) by name."""
    rn, h, le, g, p, q, ds = (
        numpyro.sample(name, bc.diagonal(terms[name], errors[name])) for name in ERRORS
    )
    bc.observe("energy", lambda rn, h, le, g: rn - h - le - g, (rn, h, le, g), 0.0)
    bc.observe("water", lambda p, le, q, ds: p - PER_DAY * le - q - ds, (p, le, q, ds), 0.0)


def truth(key):
    """Seasons that close: radiation and rain drive, and what is left goes into ground and store."""
    season = jnp.cos(2 * jnp.pi * (jnp.arange(MONTHS)[:, None] - 6) / 12)
    wet = jax.random.uniform(key, (1, CELLS))
    rn, g = 90 + 70 * season + 0 * wet, 4 * season + 0 * wet
    le = (rn - g) * (0.2 + 0.6 * wet)
    p = 1 + 3 * wet - 0.5 * season
    q = 0.3 * p
    ds = p - PER_DAY * le - q
    return {"rn": rn, "h": rn - g - le, "le": le, "g": g, "p": p, "q": q, "ds": ds}


def inputs(key):
    """Measurements of all terms, each with its error."""
    first, *keys = jax.random.split(key, 1 + len(ERRORS))
    exact = truth(first)
    noise = {n: jax.random.normal(k, (MONTHS, CELLS)) for n, k in zip(ERRORS, keys, strict=True)}
    return {"terms": {name: exact[name] + ERRORS[name] * noise[name] for name in ERRORS}}
