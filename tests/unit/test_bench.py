"""`make bench` takes too long for every run of the tests; what it is made of must load all the same."""

import importlib
import pkgutil

import pytest

import tests.bench


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(tests.bench.__path__)])
def test_every_part_of_the_bench_loads(name):
    assert importlib.import_module(f"tests.bench.{name}")
