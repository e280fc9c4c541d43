"""ArviZ without the notice on its next version that it prints when it is imported, once a day, and without a home.

It looks for settings in the user's home, and notes the day in their cache: it cannot be imported where there is no
home, or one that cannot be written. While it is imported it has a folder of its own for both.
"""

import os
import tempfile
import warnings

import matplotlib.pyplot  # noqa: F401  (arviz imports it, and it has other needs)
import platformdirs

with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=r"\s*ArviZ is undergoing a major refactor", category=FutureWarning)
    user_cache_dir, platformdirs.user_cache_dir = platformdirs.user_cache_dir, lambda *names, **options: folder
    homeless = os.path.expanduser("~") == "~"
    if homeless:
        os.environ["HOME"] = folder
    try:
        import arviz as az
    finally:
        platformdirs.user_cache_dir = user_cache_dir
        if homeless:
            del os.environ["HOME"]

__all__ = ["az"]
