"""A folder in memory where there is such a place: Qdrant syncs some hundred files for each load."""

from tests.qdrant.conftest import folder

__all__ = ["folder"]
