"""Ways to draw codes that are compared: engines of the transformer, and the loops of transformers and x-transformers.

All draw at temperature 1 from randomly initialised transformers of the same sizes. Peers are imported when they are
made, as a machine may lack them.

Letters: B batch, n codes to draw, N code length, K codebook size.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.budget import Budget
from anytime_core.labels import ClassLabels
from anytime_core.priors.transformer.config import TransformerConfig
from anytime_core.priors.transformer.model import TransformerPrior
from anytime_core.quantizers.base import CodeSpec
from anytime_core.sampling import open_sampler
from anytime_core.sampling.adaptive import Gains
from anytime_core.sampling.deadline import Costs
from anytime_core.sampling.engines import Engines
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.sampler import Sampler
from anytime_core.sampling.source import Source
from benchmarks.report import device

_EXACTNESS = ("int8", "bfloat16", "float32")
_ON_ONE_THREAD = " on one thread"


@dataclass(frozen=True)
class Sizes:
    """Sizes of the transformers that are compared; `kv_heads` None: as many heads of keys and values as of queries."""

    layers: int = 6
    width: int = 512
    heads: int = 8
    kv_heads: int | None = None
    feedforward: int = 4
    length: int = 100
    codebook: int = 500

    @property
    def matrices(self) -> list[tuple[int, int]]:
        """Inputs and outputs of every matrix that a code goes through."""
        width, hidden = self.width, self.width * self.feedforward
        keys = width * (self.kv_heads or self.heads) // self.heads
        layer = [(width, width + 2 * keys), (width, width), (width, hidden), (hidden, width)]
        return [*layer * self.layers, (width, self.codebook)]

    @property
    def weights(self) -> int:
        """How many numbers these matrices have."""
        return sum(inputs * outputs for inputs, outputs in self.matrices)

    @property
    def prior(self) -> dict[str, Any]:
        """The values of the config's section; `kv_heads` only where it says something."""
        names = ("layers", "width", "heads", "feedforward", *(["kv_heads"] if self.kv_heads is not None else []))
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, eq=False)
class Contender:
    """One way to draw codes.

    Attributes:
        name: of the engine or the peer.
        precision: of its products.
        run: draws (B, n).
        begin: does what it takes to have something that can be decoded, of B samples.
    """

    name: str
    precision: str
    run: Callable[[int, int], object]
    begin: Callable[[int], object]

    @property
    def label(self) -> str:
        """Name and precision."""
        return f"{self.name}, {self.precision}"


def make(name: str, precision: str, sizes: Sizes) -> Contender:
    """The contender of that name, with fresh weights."""
    torch.manual_seed(0)
    return (_engine if name in TransformerPrior.engines() else _peer)(name, precision, sizes)


def as_exact_as(precision: str, contenders: Sequence[Contender]) -> list[Contender]:
    """Those that compute in `precision` or in a more exact one."""
    least = _EXACTNESS.index(precision)
    return [contender for contender in contenders if _EXACTNESS.index(contender.precision) >= least]


def libraries(contenders: Sequence[Contender]) -> list[Contender]:
    """Those that are none of our engines."""
    return [contender for contender in contenders if contender.name not in TransformerPrior.engines()]


def peer_names(batch: int) -> list[str]:
    """The libraries' ways to draw a batch on this device."""
    names = ["transformers", "x-transformers"]
    if device().type == "cuda":
        return [*names, "transformers, static cache", "transformers, static cache and compiled"]
    if batch == 1 and torch.get_num_threads() > 1:
        names += [name + _ON_ONE_THREAD for name in names]
    return names


def _engine(name: str, precision: str, sizes: Sizes) -> Contender:
    """An engine as samplers use it, on a run that is nothing but a prior."""
    spec = CodeSpec(length=sizes.length, size=sizes.codebook, dim=1, grid=(sizes.length,))
    prior = TransformerPrior(TransformerConfig.model_validate(sizes.prior), spec).to(device()).eval()
    nowhere = Path()
    source = Source(
        run=None,
        folder=nowhere,
        prior=prior,
        decode=lambda codes, lengths=None: codes,
        decode_on_device=lambda codes, lengths=None: codes,
        labels=ClassLabels((), conditional=False, run=nowhere),
        costs=Costs(None, device()),
        gains=_no_gains,
        device=device(),
        engines=Engines(prior, nowhere),
    )

    def sampler(batch: int) -> Sampler:
        return open_sampler(source, SamplingOptions(engine=name, precision=precision, batch_size=batch))

    def run(batch: int, length: int) -> None:
        for _ in sampler(batch).batches(range(batch), Budget(length, "codes")):
            pass

    return Contender(name, precision, run, lambda batch: next(sampler(batch).stream(range(batch), None)))


def _no_gains() -> Gains:
    raise RuntimeError("nothing here has an adaptive budget")


def _peer(name: str, precision: str, sizes: Sizes) -> Contender:
    library, one_thread, _ = name.partition(_ON_ONE_THREAD)
    warnings.simplefilter("ignore")
    generate = _PEERS[library](sizes, torch.float32 if precision == "float32" else torch.bfloat16)

    def run(batch: int, length: int) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(1 if one_thread else before)
        generate(torch.full((batch, 1), sizes.codebook, device=device()), length)
        torch.set_num_threads(before)

    return Contender(name, precision, run, lambda batch: run(batch, 1))


def _transformers(sizes: Sizes, dtype: torch.dtype, **cache: object) -> Callable[[Tensor, int], object]:
    import transformers

    transformers.logging.set_verbosity_error()
    common = {"vocab_size": sizes.codebook + 1, "bos_token_id": sizes.codebook, "eos_token_id": None}
    model: Any  # mypy does not see through the decorated methods
    if sizes.kv_heads is None:
        gpt2 = transformers.GPT2Config(
            **common,
            n_positions=sizes.length + 1,
            n_embd=sizes.width,
            n_layer=sizes.layers,
            n_head=sizes.heads,
            n_inner=sizes.width * sizes.feedforward,
        )
        model = transformers.GPT2LMHeadModel(gpt2)
    else:
        llama = transformers.LlamaConfig(
            **common,
            max_position_embeddings=sizes.length + 1,
            hidden_size=sizes.width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            num_key_value_heads=sizes.kv_heads,
            # Of three matrices, as its feed-forward layers are gated: as many weights as ours.
            intermediate_size=sizes.width * sizes.feedforward * 2 // 3,
        )
        model = transformers.LlamaForCausalLM(llama)
    model.to(device(), dtype).eval()

    def generate(begin: Tensor, length: int) -> object:
        return model.generate(
            begin,
            attention_mask=torch.ones_like(begin),
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=True,
            top_k=0,
            pad_token_id=sizes.codebook,
            **cache,
        )

    return generate


def _x_transformers(sizes: Sizes, dtype: torch.dtype) -> Callable[[Tensor, int], object]:
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    grouped = {} if sizes.kv_heads is None else {"attn_kv_heads": sizes.kv_heads}
    layers = Decoder(
        dim=sizes.width,
        depth=sizes.layers,
        heads=sizes.heads,
        attn_dim_head=sizes.width // sizes.heads,
        ff_mult=sizes.feedforward,
        attn_flash=True,
        **grouped,
    )
    network = TransformerWrapper(num_tokens=sizes.codebook + 1, max_seq_len=sizes.length + 1, attn_layers=layers)
    model = AutoregressiveWrapper(network).to(device(), dtype).eval()
    return partial(model.generate, temperature=1.0, filter_logits_fn=lambda logits: logits, cache_kv=True)


_PEERS: dict[str, Callable[[Sizes, torch.dtype], Callable[[Tensor, int], object]]] = {
    "transformers": _transformers,
    "transformers, static cache": partial(_transformers, cache_implementation="static", disable_compile=True),
    "transformers, static cache and compiled": partial(_transformers, cache_implementation="static"),
    "x-transformers": _x_transformers,
}
