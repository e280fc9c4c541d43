"""Published figures of real training runs, bundled as run tables with their provenance."""

from forecast.published.catalogue import Dataset, datasets

__all__ = ["Dataset", "datasets"]
