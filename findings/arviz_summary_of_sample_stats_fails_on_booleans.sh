#!/usr/bin/env bash
# ArviZ 1.3.0 (arviz-stats 1.3.3): summary(tree, group="sample_stats") raises NumPy's TypeError about subtracting
# booleans for the trees that its own converters make, because `diverging` is boolean and the interval is
# a quantile; kind="diagnostics", which shows no interval, raises it as well. The same table without the
# booleans works. What helps: name the others by var_names, and count the booleans.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check 'arviz==1.3.0' 'arviz-base==1.3.1' 'arviz-stats==1.3.3' 'numpyro==0.22.0' 'jax==0.12.0.1' 'jaxlib==0.12.0.1'
cat > "$work/table.py" <<'PY'
import arviz as az
import jax
import numpyro
import numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS


def program():
    numpyro.sample("u", dist.Normal(0.0, 1.0))


run = MCMC(NUTS(program), num_warmup=200, num_samples=200, num_chains=2,
           chain_method="sequential", progress_bar=False)
run.run(jax.random.key(0), extra_fields=("diverging", "num_steps", "accept_prob"))
tree = az.from_numpyro(run)
stats = tree["sample_stats"]
print({name: str(values.dtype) for name, values in stats.data_vars.items()})
numbers = [name for name, values in stats.data_vars.items() if values.dtype != bool]
print(len(az.summary(tree, group="sample_stats", var_names=numbers)), "rows without the booleans")
for kind in "all", "diagnostics":
    try:
        az.summary(tree, group="sample_stats", kind=kind)
    except TypeError as error:
        print(f"with them, kind={kind!r}:", error)
        assert "boolean subtract" in str(error)
    else:
        raise AssertionError("the summary of a group with booleans works now")
PY
"$work/venv/bin/python" "$work/table.py"
# Seen on 2026-11-30:
# {'acceptance_rate': 'float32', 'diverging': 'bool', 'n_steps': 'int32', 'tree_depth': 'int64', 'reached_max_tree_depth': 'bool'}
# 3 rows without the booleans
# with them, kind='all': numpy boolean subtract, the `-` operator, is not supported, use the bitwise_xor, the `^` operator, or the logical_xor function instead.
# with them, kind='diagnostics': the same
