"""What a module that exports one kind of model has: a framework's, the ensembles' and the functions'.

A new framework is such a module, and a line in ``known.MODULES``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from builder.bundle import post

if TYPE_CHECKING:
    from builder.export import conversion

Rank: TypeAlias = post.Scope | None


@dataclass(frozen=True, kw_only=True)
class Options:
    """The keyword arguments of ``export`` that one kind of model takes, with their defaults; by itself, none.

    A module that takes some has a subclass. The values are as the caller passed them: ``translate`` checks them.
    """


OptionsT = TypeVar("OptionsT", bound=Options)


class Framework(Protocol[OptionsT]):
    """A module that exports one kind of model.

    Attributes:
        Options: What it takes beyond the arguments that ``export`` has for all models.
        OPTION_HINT: What to do about an option that it does not take, for the error message; may be empty.
        RANK: Within what the predictions are ranked when the caller does not say; None for no rank.
    """

    Options: type[OptionsT]
    OPTION_HINT: str
    DEFAULT_RANK: Rank

    def feature_names(self, model: Any, options: OptionsT, /) -> tuple[str, ...] | None:
        """Return the names that the object itself knows, in its inputs' order; None if it knows none.

        Raises:
            errors.ExportError: The object cannot be exported at all, such as one that is not trained.
        """

    def convert(self, model: Any, given: conversion.InputSpec, options: OptionsT, /) -> conversion.ConvertedModel:
        """Return the object in this tool's terms.

        Raises:
            errors.ExportError: It has a part that cannot be expressed, or an option is invalid; the part is named.
        """
