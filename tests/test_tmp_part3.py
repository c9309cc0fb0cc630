import math
import jax, pytest
from experiments import __main__ as command
from experiments import sbc, conformal
from experiments.rows import from_json

TINY = {
    "sbc": sbc.Settings(
        simulations=20,
        latents=50,
        network=(20, 20),
        points=(2, 7),
        draws=9,
        warmup=20,
        pairs=(
            ("linear", "itself"),
            ("hierarchical scale", "imposed, not observed"),
            ("neural process", "itself"),
            ("heavy tails", "itself"),
        ),
    ),
    "conformal": conformal.Settings(
        functions=3, calibration=19, shape=3, beyond=2, latents=3, draws=10, families=("stefan", "burgers"), points=21
    ),
}

@pytest.mark.parametrize("name", TINY)
def test_tiny(name, tmp_path):
    written = command.run(name, TINY[name], tmp_path, preset="tiny")
    rows, _ = from_json(written[0])
    assert len({(r.problem, r.parameter, r.method, r.metric) for r in rows}) == len(rows)
    assert [row for row in rows if math.isnan(row.mean) and row.n == 1 and not row.note] == []
    assert all(hash(s) for s in (sbc.SETTINGS["paper"], conformal.SETTINGS["paper"]))
