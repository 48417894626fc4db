"""Networks over values on a grid, which a modality may offer: its side of the contract, and the registry of them.

A network sees numbers on a grid, such as the values of pixels, and gives features of each of them that depend on
earlier ones only. It never sees codes, labels or budgets: core makes the numbers, wraps labels into the condition, and
makes distributions of the features.

[C, *S] is the shape of the grid: C values, such as red, green and blue, in each cell of S, such as rows and columns.
The order of values is that of a raster: cell after cell in row-major order, and in a cell its C values in turn. E is
how many numbers stand for a value, F how many features of it there are, and Q the number of channels of the condition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from pydantic import BeforeValidator, SerializeAsAny
from pydantic_core import PydanticCustomError

from anytime_core.display import shown
from anytime_core.errors import ConfigError, PluginError, UsageError, nearest
from anytime_core.registry import Registry
from anytime_core.section import Section

if TYPE_CHECKING:
    from torch import Tensor

Cell = tuple[int, ...]
"""The place of one value: its place in S, such as row and column, and which of the C values of that cell it is."""


class NetworkSection(Section):
    """Base of the sections of networks. Each network adds its own fields, with a default and a description."""

    kind: str

    def check(self, grid: ValueGrid) -> None:
        """Raise ConfigError if a network of these sizes cannot be one over `grid`; by default it can be any."""


@dataclass(frozen=True)
class ValueGrid:
    """What a network is built for.

    Attributes:
        channels: C.
        shape: S.
        inputs: E.
        condition: Q; 0: there is no condition.
    """

    channels: int
    shape: tuple[int, ...]
    inputs: int = 1
    condition: int = 0


class ValueNetwork(Protocol):
    """A network over values: a `torch.nn.Module` that offers this.

    Attributes:
        features: F.
    """

    features: int

    def __call__(self, x: Tensor, condition: Tensor | None) -> Tensor:
        """Features of every value of some leading rows.

        Args:
            x: [B, C * E, R, *S[1:]], the values of the first R <= S[0] rows; those of the first of the C channels are
                the first E planes. A value that is not known yet is zeros.
            condition: [B, Q, R, *S[1:]], which features at every cell may depend on; None if Q is 0.

        Returns:
            [B, C * F, R, *S[1:]], the features of the first channel first. Those of a value depend on earlier values
            only, and are the same whatever R is.
        """
        ...


@runtime_checkable
class HasIncremental(Protocol):
    """A network that can also go from value to value, and keeps what it needs of earlier ones, adds this."""

    def incremental(self) -> IncrementalValues:
        """What computes features of one value after another. The weights may be those of the network itself."""
        ...


class IncrementalValues(Protocol):
    """Features of one value after another. An engine makes one, and all its batches share it."""

    def state(self, batch: int, condition: Tensor | None) -> tuple[Tensor, ...]:
        """What is kept of a new batch, each [B, ...], on the device of the weights. Steps change it in place.

        Args:
            batch: B.
            condition: [B, Q, *S], for all cells; None if Q is 0. If it is needed later, it is a part of the state.
        """
        ...

    def features(self, x: Tensor | None, state: tuple[Tensor, ...], cell: Cell) -> Tensor:
        """Features [B, F] of the value at `cell`. The cells of a state are asked for in order, each once.

        Args:
            x: [B, E], the value before that one; None at the first.
            state: of this batch.
            cell: row, column and channel.
        """
        ...


@dataclass(frozen=True)
class OfferedNetwork:
    """A network that a modality offers, not built yet.

    Attributes:
        Config: its section; the default of `kind` is the name under which it is offered.
        build: section, grid -> the network, untrained, a `torch.nn.Module` that follows `ValueNetwork`.
        description: one line.
        axes: the number of dimensions of S.
    """

    Config: type[NetworkSection]
    build: Callable[[Any, ValueGrid], Any]
    description: str
    axes: int = 2


@runtime_checkable
class HasValueNetworks(Protocol):
    """A modality that offers networks over values on a grid adds this; they are the same for any configuration."""

    @staticmethod
    def value_networks() -> Mapping[str, OfferedNetwork]:
        """The networks by name. What it calls imports no torch: a network is imported when it is built."""
        ...


class Networks(Registry[Any]):
    """The networks of the modalities that have been imported, by name."""

    def __init__(self) -> None:
        super().__init__("network", NetworkSection, "", ())
        self._offered: dict[str, tuple[OfferedNetwork, type]] = {}

    def offer(self, modality: Any) -> None:
        """Add what a modality offers.

        Raises:
            PluginError: it is not what the contract says, or another modality offers a network of the same name.
        """
        offered = modality.value_networks() if hasattr(modality, "value_networks") else {}
        for name, network in offered.items():
            _, other = self._offered.get(name, (network, modality))
            origin = f"network '{shown(name)}' of modality '{modality.name}'"
            if (other.__module__, other.__qualname__) != (modality.__module__, modality.__qualname__):
                raise PluginError(f"{origin}: modality '{other.name}' offers one of this name too")
            section = network.Config
            if not issubclass(section, NetworkSection) or section.model_fields["kind"].default != name:
                raise PluginError(f"{origin} has no Config of kind '{name}' that derives from NetworkSection")
            self._offered[name] = (network, modality)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._offered))

    def described(self) -> dict[str, str]:
        """Each network and what it is in a line."""
        return {name: offered.description for name, (offered, _) in self._offered.items()}

    def __getitem__(self, kind: str) -> OfferedNetwork:  # type: ignore[override]
        """The network called `kind`. Raises UsageError if the modality offers none of this name."""
        if kind not in self._offered:
            raise UsageError(f"no network '{shown(kind)[:100]}'{nearest(kind, self)}: {self.choices()}")
        return self._offered[kind][0]

    def parse(self, value: Any) -> Any:
        """See `Registry`; there is no network by default."""
        if not isinstance(value, NetworkSection) and not (isinstance(value, Mapping) and "kind" in value):
            raise PydanticCustomError("no_name", "kind: name a network: {choices}", {"choices": self.choices()})
        return super().parse(value)

    def section_of(self, kind: str) -> type[Section]:
        """The section of a network. Raises what `__getitem__` raises."""
        return self[kind].Config

    def known_sections(self) -> list[type[Section]]:
        """The sections of all networks."""
        return [offered.Config for offered, _ in self._offered.values()]

    def origin(self, kind: str) -> str:
        """A network and the modality that offers it, for messages."""
        return f"network '{kind}' of modality '{self._offered[kind][1].name}'"  # type: ignore[attr-defined]

    def choices(self, modality: type | None = None) -> str:
        """What may be chosen of a modality, or of all that have been imported, for messages."""
        names = [name for name, (_, by) in self._offered.items() if modality in (None, by)]
        return f"choose {', '.join(names)}" if names else "the modality offers none, so use another prior.kind"

    def check_offered(self, section: Any, modality: Any) -> None:
        """Raise ConfigError if the section of a prior has a network that another modality offers."""
        network = getattr(section, "network", None)
        if isinstance(network, NetworkSection) and self._offered[network.kind][1] is not modality:
            raise ConfigError(
                f"prior.network.kind: modality '{modality.name}' offers no network '{network.kind}': "
                f"{self.choices(modality)}"
            )


NETWORKS = Networks()

AnyNetwork = Annotated[
    SerializeAsAny[NetworkSection] | None,
    BeforeValidator(lambda value: None if value is None else NETWORKS.parse(value)),
]
"""The section of any network, or none, for a field of a config."""
