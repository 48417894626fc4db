"""Its codes, and the vectors that they stand for.

Letters: B batch, P positions, N code length, n a prefix length, D code dimension, K codebook size.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from anytime_core.testing.quantizers.subject import (
    BATCH,
    CLOSE,
    DIM,
    POSITIONS,
    Subject,
    check,
    indices,
    length_of,
    quantised,
    random_codes,
    trained,
    vectors,
)
from anytime_core.truncation import prefix_mask


@check("discrete")
def codes_are_indices(subject: Subject, folder: Path) -> None:
    """Codes are int64 [B, N] in 0..K-1, of zeros and of huge vectors too, and training and encoding agree on them."""
    quantizer: Any = trained(subject).eval()
    for scale in (1.0, 0.0, 1e6):
        z = scale * vectors()
        codes: Tensor = quantizer.encode(z)
        assert codes.dtype == torch.int64, f"codes are {codes.dtype}, not int64"
        wanted = (BATCH, length_of(quantizer))
        assert codes.shape == wanted, f"codes have shape {tuple(codes.shape)}, not {wanted}"
        assert codes.min() >= 0, f"code {codes.min().item()} is below 0"
        assert codes.max() < quantizer.size, f"code {codes.max().item()} is beyond the {quantizer.size} that there are"
        assert torch.equal(indices(quantizer, z), codes), "encode() gives other codes than the forward pass"


@check("discrete")
def vectors_are_those_of_the_codes(subject: Subject, folder: Path) -> None:
    """What the decoder sees in training, [B, N, D] float32, is what it sees of the codes by `lookup`."""
    quantizer, z = trained(subject).eval(), vectors()
    out, wanted = quantised(quantizer, z), (BATCH, length_of(quantizer), DIM)
    assert out.vectors.shape == wanted, f"vectors have shape {tuple(out.vectors.shape)}, not {wanted}"
    assert out.vectors.dtype == torch.float32, f"vectors are {out.vectors.dtype}, not float32"
    worst = (out.vectors - quantizer.lookup(indices(quantizer, z))).abs().max().item()
    assert worst < CLOSE, f"vectors differ by {worst:.3g} from those that lookup() has for their codes"


@check("continuous")
def continuous_codes_pass_through(subject: Subject, folder: Path) -> None:
    """Vectors stay as they are, codes are None, and whoever asks for indices gets a ValueError."""
    quantizer, z = subject.make(), vectors()
    out = quantised(quantizer, z)
    assert torch.equal(out.vectors, z), "vectors are changed"
    assert out.codes is None, "there are codes, and size is None"
    zeros = torch.zeros(BATCH, length_of(quantizer), dtype=torch.int64)
    for name, ask in (
        ("encode", lambda: quantizer.encode(z)),
        ("lookup", lambda: quantizer.lookup(zeros)),
        ("code_vectors", quantizer.code_vectors),
    ):
        try:
            ask()
        except ValueError:
            continue
        raise AssertionError(f"{name}() raises no ValueError, and codes are continuous")


@check("discrete")
def later_codes_do_not_matter(subject: Subject, folder: Path) -> None:
    """Vectors of a prefix do not depend on what comes after it, and are had without it."""
    quantizer = trained(subject).eval()
    codes = random_codes(quantizer)
    whole = quantizer.lookup(codes)
    for length in range(1, length_of(quantizer)):
        others = torch.cat([codes[:, :length], random_codes(quantizer)[:, length:]], 1)
        alone = quantizer.lookup(codes[:, :length])
        assert alone.shape == (BATCH, length, DIM), (
            f"lookup() of {length} codes has shape {tuple(alone.shape)}, not {(BATCH, length, DIM)}"
        )
        for found, after in ((alone, "are not there"), (quantizer.lookup(others)[:, :length], "are others")):
            worst = (found - whole[:, :length]).abs().max().item()
            assert worst < CLOSE, f"vectors of the first {length} codes differ by {worst:.3g} where later ones {after}"


@check()
def dropped_codes_are_not_assembled(subject: Subject, folder: Path) -> None:
    """`assembled` gives the decoder [B, P, D], what is known of each position by the codes that are kept alone."""
    quantizer = subject.make().eval()
    length = length_of(quantizer)
    of_codes = torch.randn(BATCH, length, DIM)
    for kept_codes in range(1, length + 1):
        kept = prefix_mask(torch.full((BATCH,), kept_codes), length)
        others = torch.where(kept.unsqueeze(-1), of_codes, torch.randn(of_codes.shape))
        (found, known), (again, _) = quantizer.assembled(of_codes, kept), quantizer.assembled(others, kept)
        wanted = (BATCH, POSITIONS, DIM)
        assert found.shape == wanted, f"assembled vectors have shape {tuple(found.shape)}, not {wanted}"
        assert known.shape == wanted[:2], f"what is known has shape {tuple(known.shape)}, not {wanted[:2]}"
        positions = min(kept_codes, POSITIONS)
        assert known.sum(1).eq(positions).all(), f"of {kept_codes} codes, not {positions} positions are known"
        same = torch.equal(found[known], again[known])
        assert same, f"what is assembled of {kept_codes} codes depends on codes after them"


@check("discrete")
def table_has_a_vector_a_code(subject: Subject, folder: Path) -> None:
    """`code_vectors` is [K, D] or [N, K, D] as `shared` says, finite, detached, and another vector for every code."""
    quantizer = subject.make()
    table, each = quantizer.code_vectors(), (quantizer.size, DIM)
    wanted = each if quantizer.shared else (length_of(quantizer), *each)
    assert table.shape == wanted, f"code_vectors() has shape {tuple(table.shape)}, not {wanted}"
    assert not table.requires_grad, "code_vectors() wants a gradient"
    assert table.isfinite().all(), "code_vectors() is not finite"
    for position, rows in enumerate(table if table.ndim == 3 else [table]):
        different = len(rows.unique(dim=0))
        assert different == quantizer.size, (
            f"{quantizer.size} codes of position {position} stand for {different} vectors"
        )


@check("discrete", "independent")
def table_is_what_is_looked_up(subject: Subject, folder: Path) -> None:
    """`lookup` of every code at every position is its row of the table."""
    quantizer = trained(subject).eval()
    assert quantizer.size is not None
    codes = torch.arange(quantizer.size)[:, None].expand(-1, length_of(quantizer))
    found = quantizer.lookup(codes).transpose(0, 1)  # [N, K, D]
    worst = (found - quantizer.code_vectors()).abs().max().item()
    assert worst < CLOSE, f"vectors of the table differ by {worst:.3g} from those that lookup() gives"


@check()
def rows_do_not_mix(subject: Subject, folder: Path) -> None:
    """In evaluation mode each row of a batch is what it would be alone, in vectors and in loss."""
    quantizer, z = trained(subject).eval(), vectors()
    together = quantised(quantizer, z)
    for row in range(BATCH):
        alone = quantised(quantizer, z[row : row + 1])
        for name, whole, one in (
            ("vectors", together.vectors, alone.vectors),
            ("loss", together.loss, alone.loss),
        ):
            worst = (whole[row] - one[0]).abs().max().item()
            assert worst < CLOSE, f"the {name} of row {row} differs by {worst:.3g} alone"


@check()
def evaluation_is_deterministic(subject: Subject, folder: Path) -> None:
    """In evaluation mode it gives the same twice, and changes nothing of itself."""
    quantizer, z = trained(subject).eval(), vectors()
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    first, second = quantised(quantizer, z), quantised(quantizer, z)
    assert torch.equal(first.vectors, second.vectors), "it gives other vectors the second time"
    changed = [name for name, value in quantizer.state_dict().items() if not torch.equal(value, before[name])]
    assert not changed, f"it changes its {', '.join(changed)} in evaluation mode"


@check("discrete")
def autocast_changes_no_code(subject: Subject, folder: Path) -> None:
    """Codes are chosen in float32, in a training in bfloat16 too."""
    quantizer = trained(subject).eval()
    z = torch.randn(200, POSITIONS, DIM)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        encoded, found = quantizer.encode(z), indices(quantizer, z)
    for codes, of in ((encoded, "encode()"), (found, "the forward pass")):
        others = int((codes != quantizer.encode(z)).sum())
        assert not others, f"{others} of {codes.numel()} codes of {of} are others under autocast"


@check()
def one_position_of_one_number_is_enough(subject: Subject, folder: Path) -> None:
    """It works for P = 1 and for D = 1."""
    for positions, dim in ((1, DIM), (POSITIONS, 1), (1, 1)):
        quantizer, z = subject.make(positions, dim), vectors(positions, dim)
        out, where = quantised(quantizer, z), f"with {positions} positions and D = {dim}"
        wanted = (BATCH, length_of(quantizer, positions), dim)
        assert out.vectors.shape == wanted, f"vectors have shape {tuple(out.vectors.shape)} {where}"
        assert out.vectors.isfinite().all(), f"vectors are not finite {where}"
        if out.codes is not None:
            looked_up = quantizer.eval().lookup(out.codes)
            assert looked_up.shape == wanted, f"lookup() has shape {tuple(looked_up.shape)} {where}"
