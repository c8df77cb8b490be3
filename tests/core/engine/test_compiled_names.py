"""Compiled functions have names of their own.

Machine code names the functions that it calls, and numba adds a number that each process counts anew. Of functions of
one name, a process that loads code that others compiled would call one for another.
"""

import importlib
import pkgutil

import bbcodec.coder
import bbcodec.deflate
import bbcodec.engine


def compiled_functions():
    """Dispatchers of coder, deflate and engine, each once."""
    found = {}
    for package in (bbcodec.coder, bbcodec.deflate, bbcodec.engine):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            for value in vars(importlib.import_module(module.name)).values():
                if hasattr(value, "py_func"):
                    found[id(value)] = value
    return list(found.values())


def test_compiled_functions_have_names_of_their_own():
    names = [(one.py_func.__module__, one.py_func.__qualname__) for one in compiled_functions()]
    assert len(names) > 50
    assert sorted(set(names)) == sorted(names)
    assert not [name for name in names if "<locals>" in name[1]]
