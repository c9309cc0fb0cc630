#!/usr/bin/env bash
# NumPyro 0.22.0: NUTS adds 1e-3 * 5 / (n + 5) to every variance that n draws of a warm-up window gave
# (Stan's rule, regularize_mass_matrix=True is the default). The floor has the unit of the unknown
# squared, so a posterior whose standard deviations lie far apart is sampled by the unit in which it is
# written: one unknown of standard deviation 1e-4 beside two of 1 takes 64 leapfrog steps a draw where
# 5 do, and at 1e-6 chains do not mix at all (R-hat above 10), without one divergence. All unknowns small alike
# take 5 as well, so trying one alone shows nothing. regularize_mass_matrix=False removes it, and costs nothing
# here; so does scaling the unknowns.
# BlackJAX 1.7.1 has the rule in window_adaptation, and no switch.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'numpyro==0.22.0' 'jax==0.12.0.1' 'jaxlib==0.12.0.1'
cat > "$work/steps.py" <<'PY'
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.diagnostics import split_gelman_rubin
from numpyro.infer import MCMC, NUTS

numpyro.enable_x64()


def told(scales, **settings):
    def program():
        numpyro.sample("u", dist.Normal(jnp.zeros(3), jnp.array(scales)).to_event(1))

    run = MCMC(
        NUTS(program, **settings), num_warmup=1000, num_samples=1000, num_chains=4,
        chain_method="vectorized", progress_bar=False,
    )
    run.run(jax.random.key(0), extra_fields=("num_steps", "diverging"))
    extra = run.get_extra_fields()
    r_hat = float(split_gelman_rubin(run.get_samples(group_by_chain=True)["u"]).max())
    return float(extra["num_steps"].mean()), r_hat, int(extra["diverging"].sum())


for name, scales, settings in (
    ("all near 1", (1.0, 1.0, 1.0), {}),
    ("all 1e-4", (1e-4, 1e-4, 1e-4), {}),
    ("one 1e-4", (1.0, 1e-4, 1.0), {}),
    ("one 1e-4, not regularised", (1.0, 1e-4, 1.0), {"regularize_mass_matrix": False}),
    ("one 1e-6", (1.0, 1e-6, 1.0), {}),
    ("one 1e-6, not regularised", (1.0, 1e-6, 1.0), {"regularize_mass_matrix": False}),
):
    steps, r_hat, lost = told(scales, **settings)
    print(f"{name}: {steps:.1f} steps a draw, R-hat {r_hat:.2f}, {lost} divergences")
    assert lost == 0
    if name == "one 1e-4":
        assert 40 < steps < 100
    elif name == "one 1e-6":
        assert steps > 500
        assert r_hat > 10
    else:
        assert steps < 7
        assert r_hat < 1.02
PY
"$work/venv/bin/python" "$work/steps.py"
# Seen on 2026-11-30:
# all near 1: 4.5 steps a draw, R-hat 1.00, 0 divergences
# all 1e-4: 4.7 steps a draw, R-hat 1.00, 0 divergences
# one 1e-4: 64.3 steps a draw, R-hat 1.00, 0 divergences
# one 1e-4, not regularised: 4.5 steps a draw, R-hat 1.00, 0 divergences
# one 1e-6: 818.4 steps a draw, R-hat 83.09, 0 divergences
# one 1e-6, not regularised: 4.7 steps a draw, R-hat 1.00, 0 divergences
