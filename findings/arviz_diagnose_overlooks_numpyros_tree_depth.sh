#!/usr/bin/env bash
# ArviZ 1.3.0: diagnose(tree) says nothing of trajectories that end at the limit of their length where the
# tree is NumPyro's. arviz-base 1.3.1 writes the flag of its NumPyro converter as `reached_max_tree_depth`,
# arviz-stats 1.3.3 looks for `reached_max_treedepth` and skips the check where there is none: no line, no
# warning, and no entry in what it returns. Under the other name the same flag is reported.
# What helps: tree["sample_stats"] with the variable renamed, before diagnose.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'arviz==1.3.0' 'arviz-base==1.3.1' 'arviz-stats==1.3.3' 'numpyro==0.22.0' 'jax==0.12.0.1' 'jaxlib==0.12.0.1'
cat > "$work/depth.py" <<'PY'
import arviz as az
import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import xarray
from numpyro.infer import MCMC, NUTS


def program():
    numpyro.sample("u", dist.Normal(jnp.zeros(2), jnp.array([1.0, 0.01])).to_event(1))


kernel = NUTS(program, max_tree_depth=4, adapt_mass_matrix=False)
run = MCMC(kernel, num_warmup=300, num_samples=300, num_chains=2,
           chain_method="sequential", progress_bar=False)
run.run(jax.random.key(0), extra_fields=("num_steps", "diverging"))
tree = az.from_numpyro(run)
flags = tree["sample_stats"]["reached_max_tree_depth"]
print(f"{float(flags.mean()):.0%} of the trajectories end at the limit")
assert flags.mean() > 0.5

_, told = az.diagnose(tree, show_diagnostics=False, return_diagnostics=True)
print("diagnose looks at", sorted(told))
assert "treedepth" not in told

stats = tree["sample_stats"].to_dataset()
tree["sample_stats"] = xarray.DataTree(stats.rename(reached_max_tree_depth="reached_max_treedepth"))
_, told = az.diagnose(tree, show_diagnostics=False, return_diagnostics=True)
print("under the other name at", sorted(told), f"and counts {told['treedepth']['n_max']}")
assert told["treedepth"]["n_max"] == int(flags.sum())
PY
"$work/venv/bin/python" "$work/depth.py"
# Seen on 2026-11-30:
# 58% of the trajectories end at the limit
# diagnose looks at ['divergent', 'ess', 'rhat']
# under the other name at ['divergent', 'ess', 'rhat', 'treedepth'] and counts 349
