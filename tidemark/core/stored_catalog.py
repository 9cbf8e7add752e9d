"""The catalog in Postgres, for what reads it once; that it cannot be read is an error of the project."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from tidemark.core.errors import UnavailableError
from tidemark.core.settings import Settings
from udfs.catalog.cache import CatalogUnavailable
from udfs.catalog.store import PostgresCatalogSource


@contextmanager
def readable() -> Iterator[None]:
    """Raise UnavailableError where the block finds that the catalog cannot be read."""
    try:
        yield
    except CatalogUnavailable as error:
        raise UnavailableError(f"{error}.", "start Postgres (`tidemark up`), then repeat.") from error


@contextmanager
def stored_catalog(settings: Settings) -> Iterator[PostgresCatalogSource]:
    """The catalog of the settings, closed at the end of the block.

    Raises
    ------
    UnavailableError
        The block finds that it cannot be read.
    """
    with readable(), closing(PostgresCatalogSource(settings.postgres.ops.url, settings.catalog.schema_name)) as source:
        yield source
