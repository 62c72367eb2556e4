"""The reference: every public name says what it is, what its numbers count, and what it raises."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from google.protobuf.message import Message

from roomful import rtc

BUILD = Path(__file__).parents[2] / "docs" / "reference" / "build.py"


def load_build() -> ModuleType:
    spec = spec_from_file_location("reference_build", BUILD)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def documented() -> Iterator[tuple[str, Any, str]]:
    """Each class and function of ours with its name and all that is said of it."""
    private = load_build().TOLD
    for name in rtc.__all__:
        thing = getattr(rtc, name)
        if inspect.isfunction(thing):
            yield name, thing, thing.__doc__ or ""
        if not inspect.isclass(thing) or issubclass(thing, Message):
            continue
        own = thing.__doc__ or ""
        yield name, thing, "" if own.startswith(f"{name}(") else own  # A dataclass's own words.
        for home in thing.__mro__:
            for member, value in vars(home).items() if home.__module__.startswith("roomful.") else ():
                function = value.fget if isinstance(value, property) else inspect.unwrap(value)
                function = getattr(function, "__func__", function)
                if not inspect.isfunction(function) or function.__code__.co_filename == "<string>":
                    continue
                said = function.__doc__ or ""
                if member == "__init__" and function.__module__.startswith("roomful."):
                    yield f"{name}.{member}", function, own + said
                elif member[0] != "_" and not (thing is rtc.Room and member in private):
                    yield f"{name}.{member}", function, said and own + said


def test_every_public_name_says_what_it_is() -> None:
    assert [name for name, _, said in documented() if not said] == []


def test_every_number_is_explained() -> None:
    silent = [
        f"{name}: {parameter.name}"
        for name, thing, said in documented()
        if inspect.isfunction(thing)
        for parameter in inspect.signature(thing).parameters.values()
        if {"int", "float"} & set(str(parameter.annotation).split()) and parameter.name not in said
    ]
    assert silent == []


def test_every_error_is_named() -> None:
    silent = []
    for name, thing, said in documented():
        tree = (
            ast.parse(textwrap.dedent(inspect.getsource(thing))) if inspect.isfunction(thing) else ast.Pass()
        )
        for raised in ast.walk(tree):
            error = raised.exc if isinstance(raised, ast.Raise) else None
            error = error.func if isinstance(error, ast.Call) else error
            if isinstance(error, ast.Name) and error.id[0].isupper() and error.id not in said:
                silent.append(f"{name}: {error.id}")
    assert silent == []


def test_it_is_built(tmp_path: Path) -> None:
    page = load_build().build(tmp_path).read_text()
    for name in set(rtc.__all__) - {"stats"}:  # A module of its own.
        assert f'id="{name}"' in page, name
    assert 'id="Room.connect"' in page
    assert 'id="Room.arrived"' not in page
    assert "optional bool red = 5;" in re.sub("<[^>]*>", "", page)
