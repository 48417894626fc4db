"""What a sampling job is: its name, its parts, and the files that it makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from anytime_core.budget import Budget
from anytime_core.digest import digest
from anytime_core.jobs.arrays import ArrayOutput
from anytime_core.jobs.output import ARRAYS_SUFFIX, FolderOutput, Output
from anytime_core.jobs.records import SAMPLES_FILE, read_head
from anytime_core.jobs.tar_output import TarOutput
from anytime_core.run import Run
from anytime_core.sampling.options import SamplingOptions
from anytime_core.sampling.samples import Samples


@dataclasses.dataclass(frozen=True)
class SamplingJob:
    """Everything that decides which samples are drawn and which files they become; see `write_samples`."""

    run: Run
    indices: Sequence[int]
    budget: Budget
    options: SamplingOptions
    suffix: str
    progressive: bool = False
    pack: bool = False
    drawn: Samples | None = None

    @property
    def timed(self) -> bool:
        """Whether it has a deadline; not if it only writes samples that were drawn within one."""
        return self.drawn is None and self.budget.seconds is not None

    @property
    def codes(self) -> int:
        """How many codes the budget allows at most."""
        return self.budget.most_codes(self.code_length)

    @property
    def code_length(self) -> int:
        """N."""
        return self.run.require_prior().code_length

    @property
    def arrays(self) -> bool:
        """Whether samples go into one file of arrays; they do not if the modality writes such files itself."""
        return self.suffix not in self.run.modality.suffixes

    @property
    def many(self) -> str | None:
        """Suffix of files that hold many samples each, None if there are none."""
        return ".tar" if self.pack else ARRAYS_SUFFIX if self.arrays else None

    @property
    def part(self) -> str | None:
        """`i/n` if this is part i of a job that is done in n parts, else None."""
        if not isinstance(self.indices, range) or not 0 <= self.indices.start < self.indices.step != 1:
            return None
        return f"{self.indices.start}/{self.indices.step}"

    @property
    def whole(self) -> str | None:
        """A name for the job that this is a part of, and its files; None if it is all of it."""
        if self.part is None or not isinstance(self.indices, range):
            return None
        return self._digest([self.indices.stop, self.indices.step])

    def digest(self) -> str:
        """A name that follows from everything that decides what the files will be."""
        return self._digest(str(self.indices) if isinstance(self.indices, range) else list(self.indices))

    def joins(self, earlier: Path, *, overwrite: bool) -> bool:
        """Whether a `samples.json` lists other parts of the same job; with `overwrite` also this part."""
        try:
            head = read_head(earlier, SAMPLES_FILE)
            return head["job"] == self.whole and (overwrite or self.part not in head["shards"])
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def output(self, folder: Path) -> Output[Any]:
        """What takes its samples into `folder`."""
        if self.pack:
            return TarOutput(self.run.modality, folder, self.suffix, self.part)
        if not self.arrays:
            return FolderOutput(self.run.modality, folder, self.suffix)
        prior = self.run.require_prior()
        return ArrayOutput(
            folder,
            self.run.modality.sample_shape(),
            code_length=self.codes,
            codebook_size=prior.codebook_size,
            classes=self.run.record.classes if prior.classes else (),
            progressive=self.progressive,
            part=self.part,
        )

    def fits(self, mark: Mapping[str, Any]) -> bool:
        """Whether this job can have set a mark."""
        return mark["done"] <= len(self.indices) and (mark["output"] is not None) == (self.many is not None)

    def _digest(self, indices: Any) -> str:
        described = {
            "run": str(self.run.folder.resolve()),
            "trained": self.run.record.model_dump(mode="json", include={"created", "stages"}),
            "indices": indices,
            "budget": str(self.budget),
            "options": dataclasses.asdict(dataclasses.replace(self.options, batch_size=None)),
            "files": [self.suffix, self.progressive, self.pack],
            **({} if self.drawn is None else {"codes": self.drawn.codes.tolist(), "of": self.drawn.lengths.tolist()}),
        }
        return digest(described)[:12]
