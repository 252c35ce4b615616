"""A package of the user's repository."""

from era_models.wrapper import EraModel

__all__ = ["EraModel"]
