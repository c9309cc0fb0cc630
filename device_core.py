import json, os, sys, time, traceback
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import numpyro, numpyro.distributions as dist
from numpyro.infer import MCMC, NUTS
sys.path.insert(0, "tests")
out = {"jax": jax.__version__, "numpyro": numpyro.__version__, "device": str(jax.devices()[0].device_kind)}
import bayescons as bc
from compilations import Compilations
def bench(f, n=10):
    f(); f(); t=time.perf_counter()
    for _ in range(n): f()
    return (time.perf_counter()-t)/n
N=201; grid=bc.Grid(x=np.linspace(0,1,N)); mass=bc.integral(grid); K=np.exp(-np.abs(grid["x"][:,None]-grid["x"])/0.3)
w=np.asarray(mass.weights[0])
def program(total, y):
    u=numpyro.sample("u", bc.kronecker(jnp.zeros(N),(K,),jitter=0.0))
    bc.observe("mass", mass, u, total)
    bc.observe("probe", lambda v: v[3]-v[4], u, 0.02)
    numpyro.sample("y", dist.Normal(u[::20],0.1).to_event(1), obs=y)
def latent(total):
    s=numpyro.sample("s", dist.LogNormal(0.,.5)); u=numpyro.sample("u", dist.Normal(jnp.zeros(N), s).to_event(1)); bc.observe("mass", mass, u, total)
def step(name, f):
    try: out[name]=f()
    except Exception as e: out[name]="ERR "+repr(e)[:300]; traceback.print_exc()
    print(name, out[name], flush=True)
def dense():
    y=np.linspace(0,1,11); p=bc.conjugate(program)(0.4,y)
    G=np.vstack([w, np.eye(N)[3]-np.eye(N)[4], np.eye(N)[::20]]); R=np.diag([0,0]+[0.01]*11); b=np.r_[0.4,0.02,y]
    S=G@K@G.T+R; m=K@G.T@np.linalg.solve(S,b); v=np.diag(K-K@G.T@np.linalg.solve(S,G@K))
    return {"mean": float(np.abs(np.asarray(p.mean["u"])-m).max()), "var": float(np.abs(np.asarray(p.variance["u"])-v).max()), "law": float(abs(w@np.asarray(p.mean["u"])-0.4))}
step("against dense algebra", dense)
def again():
    with Compilations() as c: bc.conjugate(program)(0.5,np.linspace(0,1,11)[::-1].copy()).mean["u"].block_until_ready()
    return {"compilations": c.number, "seconds": bench(lambda: bc.conjugate(program)(0.5,np.linspace(0,1,11)).mean["u"].block_until_ready())}
step("again", again)
def exact():
    m=MCMC(NUTS(bc.exact(latent)),num_warmup=200,num_samples=200,num_chains=1,progress_bar=False); m.run(jax.random.key(0),0.4); u=np.asarray(m.get_samples()["u"]); return float(np.abs(u@w-0.4).max())
step("exact NUTS law", exact)
step("check", lambda: bc.check(program,0.4,np.linspace(0,1,11)).summary)
def million(dtype):
    g=bc.Grid(x=np.linspace(0,1,1_000_000)); q=bc.integral(g); b=bc.diagonal(jnp.zeros(1_000_000,dtype), jnp.ones(1_000_000,dtype)); c=bc.Constraint(q,0.3)
    e=bench(lambda: bc.condition(b,c).mean.block_until_ready()); j=jax.jit(lambda b: bc.condition(b,c).mean); k=bench(lambda: j(b).block_until_ready())
    err=float(abs(np.asarray(q.weights[0])@np.asarray(bc.condition(b,c).mean,float)-0.3))
    return {"eager ms": 1e3*e, "jitted ms": 1e3*k, "ratio": e/k, "law": err}
step("1e6 float64", lambda: million(jnp.float64)); step("1e6 float32", lambda: million(jnp.float32))
json.dump(out, open(os.path.join(os.environ.get("OUT","."),"core.json"),"w"), indent=1)
