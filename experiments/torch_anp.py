"""The attentive neural process in PyTorch, for comparison: a program that is told on stdin what to
do and answers on stdout.

It needs PyTorch and NumPy and nothing else, so that an interpreter that has those can run it by
itself:

    python torch_anp.py --threads 2 --rate 0.1

Every line is a command, and every answer one line of JSON:

    load FILE      weights from a .npz, under the names of a bayescons weight file    {"parameters":
    989826} batch FILE     a batch of functions from a .npz: contexts_inputs, contexts_values,
    targets_inputs, targets_values step N         N training steps on that batch    {"seconds":
    [...], "loss": ...} predict FILE   writes latent_mean, representation, mean and scale of the
    batch into a .npz: without dropout, z at the latent's mean
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributions import Normal, kl_divergence

LEAST_SCALE = 1e-3


class Attention(nn.Module):
    """Multi-head attention: y = LayerNorm(q + Linear[q, heads]), batch first."""

    def __init__(self, width: int, heads: int, rate: float):
        super().__init__()
        self.heads, self.rate = heads, rate
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(2 * width, width)
        self.normalise = nn.LayerNorm(width, eps=1e-5)
        self.dropout = nn.Dropout(rate)

    def forward(
        self, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
    ) -> torch.Tensor:
        """Queries (B, n, width), keys and values (B, m, width) → (B, n, width)."""
        q, k, v = (
            self._by_head(f(a))
            for f, a in ((self.query, queries), (self.key, keys), (self.value, values))
        )
        rate = self.rate if self.training else 0.0
        attended = (
            F.scaled_dot_product_attention(q, k, v, dropout_p=rate).transpose(1, 2).flatten(2)
        )
        return self.normalise(
            queries + self.dropout(self.merge(torch.cat([queries, attended], dim=-1)))
        )

    def _by_head(self, values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class LatentPath(nn.Module):
    """Readings → q(z | readings)."""

    def __init__(self, width: int, heads: int, rate: float):
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.attention = nn.ModuleList(Attention(width, heads, rate) for _ in range(2))
        self.hidden = nn.Linear(width, width)
        self.mean = nn.Linear(width, width)
        self.log_variance = nn.Linear(width, width)

    def forward(self, inputs: torch.Tensor, values: torch.Tensor) -> Normal:
        """Inputs (B, n, 2), values (B, n) → a distribution over (B, width)."""
        readings = self.embed(torch.cat([inputs, values[..., None]], dim=-1))
        for attend in self.attention:
            readings = attend(readings, readings, readings)
        hidden = F.relu(self.hidden(readings.mean(dim=1)))
        return Normal(
            self.mean(hidden), torch.exp(self.log_variance(hidden) / 2), validate_args=False
        )


class DeterministicPath(nn.Module):
    """Readings and points → what the readings near a point say of it."""

    def __init__(self, width: int, heads: int, rate: float):
        super().__init__()
        self.embed = nn.Linear(3, width)
        self.attention = nn.ModuleList(Attention(width, heads, rate) for _ in range(2))
        self.query = nn.Linear(2, width)
        self.where = nn.Linear(2, width)
        self.cross = nn.ModuleList(Attention(width, heads, rate) for _ in range(2))

    def forward(
        self, inputs: torch.Tensor, values: torch.Tensor, points: torch.Tensor
    ) -> torch.Tensor:
        """Inputs (B, n, 2), values (B, n), points (B, m, 2) → (B, m, width)."""
        readings = self.embed(torch.cat([inputs, values[..., None]], dim=-1))
        for attend in self.attention:
            readings = attend(readings, readings, readings)
        queries, where = self.query(points), self.where(inputs)
        for attend in self.cross:
            queries = attend(queries, where, readings)
        return queries


class Decoder(nn.Module):
    """[r, z, x] → N(μ, σ²), σ = softplus(raw) + 1e-3."""

    def __init__(self, width: int):
        super().__init__()
        self.embed = nn.Linear(2, width)
        self.hidden = nn.ModuleList(nn.Linear(3 * width, 3 * width) for _ in range(3))
        self.output = nn.Linear(3 * width, 2)

    def forward(
        self, representation: torch.Tensor, z: torch.Tensor, points: torch.Tensor
    ) -> Normal:
        """R (B, m, width), z (B, width), points (B, m, 2) → a distribution over (B, m)."""
        spread = z[:, None].expand(-1, points.shape[1], -1)
        hidden = torch.cat([representation, spread, self.embed(points)], dim=-1)
        for layer in self.hidden:
            hidden = F.relu(layer(hidden))
        mean, raw = self.output(hidden).unbind(-1)
        return Normal(mean, F.softplus(raw) + LEAST_SCALE, validate_args=False)


class AttentiveNeuralProcess(nn.Module):
    """Readings, a latent and points → u(x) ~ N(μ, σ²), independent given z."""

    def __init__(self, width: int, heads: int, rate: float):
        super().__init__()
        self.latent_path = LatentPath(width, heads, rate)
        self.deterministic_path = DeterministicPath(width, heads, rate)
        self.decoder = Decoder(width)

    def evidence_bound(
        self,
        contexts: tuple[torch.Tensor, torch.Tensor],
        targets: tuple[torch.Tensor, torch.Tensor],
    ) -> torch.Tensor:
        """Negative evidence lower bound, averaged over the batch."""
        posterior, prior = self.latent_path(*targets), self.latent_path(*contexts)
        predicted = self.decoder(
            self.deterministic_path(*contexts, targets[0]), posterior.rsample(), targets[0]
        )
        bound = predicted.log_prob(targets[1]).sum(dim=-1) - kl_divergence(posterior, prior).sum(
            dim=-1
        )
        return -bound.mean()


class Trainer:
    """A network, its optimiser and the batch it is trained on; one method a command."""

    def __init__(self, *, width: int, heads: int, rate: float, learning_rate: float = 1e-4):
        self.network = AttentiveNeuralProcess(width, heads, rate)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=learning_rate)
        self.contexts = self.targets = None

    def load(self, path: str) -> dict:
        """Take weights over; kernels are stored the other way round."""
        with np.load(path) as file:
            state = {
                _name(key): torch.from_numpy(np.ascontiguousarray(_kernel(key, file[key])))
                for key in file.files
            }
        self.network.load_state_dict(state)
        return {"parameters": sum(parameter.numel() for parameter in self.network.parameters())}

    def batch(self, path: str) -> dict:
        """Take a batch over."""
        with np.load(path) as file:
            arrays = {key: torch.from_numpy(file[key]) for key in file.files}
        self.contexts, self.targets = (
            (arrays[f"{of}_inputs"], arrays[f"{of}_values"]) for of in ("contexts", "targets")
        )
        return {"functions": len(self.contexts[0])}

    def step(self, count: str) -> dict:
        """Train, and say how long each step took."""
        self.network.train()
        seconds, loss = [], math.nan
        for _ in range(int(count)):
            start = time.perf_counter()
            self.optimiser.zero_grad(set_to_none=True)
            bound = self.network.evidence_bound(self.contexts, self.targets)
            bound.backward()
            self.optimiser.step()
            loss = bound.item()
            seconds.append(time.perf_counter() - start)
        return {"seconds": seconds, "loss": loss}

    @torch.inference_mode()
    def predict(self, path: str) -> dict:
        """Write what the network says of the batch."""
        self.network.eval()
        latent = self.network.latent_path(*self.contexts)
        representation = self.network.deterministic_path(*self.contexts, self.targets[0])
        predicted = self.network.decoder(representation, latent.mean, self.targets[0])
        arrays = {
            "latent_mean": latent.mean,
            "representation": representation,
            "mean": predicted.mean,
            "scale": predicted.scale,
        }
        np.savez(path, **{name: array.numpy() for name, array in arrays.items()})
        return {"written": path}


def main() -> None:
    """Answer commands until there are no more."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    trainer = Trainer(width=options.width, heads=options.heads, rate=options.rate)
    print(json.dumps({"torch": torch.__version__, "threads": torch.get_num_threads()}), flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        print(json.dumps(getattr(trainer, command)(argument)), flush=True)


def _name(key: str) -> str:
    head, _, last = key.rpartition(".")
    return f"{head}.{'bias' if last == 'bias' else 'weight'}"


def _kernel(key: str, array: np.ndarray) -> np.ndarray:
    return array.T if key.endswith("kernel") else array


if __name__ == "__main__":
    main()
