"""What `import forecast` offers: names that are imported when they are first asked for."""

import ast
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest

import forecast


def test_dir_is_the_public_names_and_each_is_there():
    assert dir(forecast) == sorted(forecast.__all__)
    assert all(getattr(forecast, name) is not None for name in dir(forecast))


def test_what_type_checkers_see_is_what_there_is():
    """The imports under TYPE_CHECKING name what `__getattr__` gives, from where it takes it."""
    tree = ast.parse(Path(inspect.getfile(forecast)).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    places = {alias.name: node.module for node in imports for alias in node.names}
    assert {*places, "__version__"} == set(forecast.__all__)
    for name, module in places.items():
        value = getattr(forecast, name)
        if inspect.ismodule(value):
            assert value.__name__ == f"{module}.{name}"
        else:
            assert value.__module__ == module


def test_version_is_that_of_the_distribution():
    assert forecast.__version__ == version("game-scaling")


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="has no attribute 'forecats'"):
        _ = forecast.forecats


def test_public_modules_are_the_modules_themselves():
    from forecast.classical import huber_lse
    from forecast.verify.backtest import backtest

    assert forecast.backtest.backtest is backtest
    assert forecast.classical.huber_lse is huber_lse
    assert forecast.published.datasets is forecast.datasets
