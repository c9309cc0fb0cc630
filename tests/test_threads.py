"""Four threads at once get what one gets."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import bayescons as bc


def flat(n, total):
    u = numpyro.sample("u", dist.Normal(jnp.zeros(n), 1.0).to_event(1))
    bc.observe("sum", lambda u: u.sum(), u, total)


def uncertain(n, total):
    s = numpyro.sample("s", dist.HalfNormal(1.0))
    u = numpyro.sample("u", dist.Normal(jnp.zeros(n), 1.0 + s).to_event(1))
    bc.observe("sum", lambda u: u.sum(), u, total)


DOORS = {
    "conjugate": lambda n, total: bc.conjugate(flat)(n, total).mean["u"],
    "latents": lambda n, total: bc.conjugate(uncertain, key=jax.random.key(0), latent_draws=32)(
        n, total
    ).mean["u"],
    "sample": lambda n, total: bc.sample(flat, n, total, key=0, draws=4, chains=1).posterior["u"],
    "check": lambda n, total: (bc.check(flat, n, total).ok, np.full(n, total / n))[1],
}


@pytest.mark.parametrize("door", DOORS)
def test_threads_do_not_disturb_each_other(door):
    wrong, ask = [], DOORS[door]

    def work(thread):
        try:
            for i in range(3):
                n, total = 3 + (i + thread) % 3, 2.0 + thread
                found = np.asarray(ask(n, total))
                if abs(found.sum(-1) - total).max() > 1e-10:
                    wrong.append((n, total, found))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
