"""Named events and their handlers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from roomful.rtc._background import Background
from roomful.rtc.log import logger

T_contra = TypeVar("T_contra", contravariant=True, bound=Hashable)

Handler = Callable[..., Any]


class EventEmitter(Generic[T_contra]):
    """Calls the handlers of an event, in the order in which they were added.

    A handler may be a plain function or a coroutine function; it may take fewer arguments than the event
    has. What it raises is logged with its traceback, and the handlers after it run all the same.

    >>> emitter: EventEmitter[str] = EventEmitter()
    >>> @emitter.on("greet")
    ... def greet(name):
    ...     print(f"Hello, {name}!")
    >>> emitter.emit("greet", "Ada", "a second argument, which this handler doesn't take")
    Hello, Ada!
    """

    def __init__(self) -> None:
        # By event: handlers in their order, each with the number of arguments it takes (None: any).
        self._events: dict[T_contra, dict[Handler, int | None]] = {}
        self._background = Background()

    def emit(self, event: T_contra, *args: Any) -> None:
        """Calls every handler of `event`.

        Raises:
            TypeError: a handler needs more arguments than there are; the others have run by then.
        """
        misfit: TypeError | None = None
        for handler, arity in list(self._events.get(event, {}).items()):
            taken = args if arity is None else args[:arity]
            try:
                result = handler(*taken)
            except (Exception, asyncio.CancelledError) as error:  # Of the handler: a call is not cancelled.
                if isinstance(error, TypeError) and not _accepts(handler, taken):
                    misfit = error
                else:
                    logger.exception("a handler of %r raised", event)
                continue
            if inspect.iscoroutine(result):
                self._background.start(result, f"a handler of {event!r}")
        if misfit is not None:
            raise misfit

    def on(self, event: T_contra, callback: Handler | None = None) -> Handler:
        """Adds a handler of `event`; without one, a decorator that adds what it decorates."""
        if callback is None:

            def decorator(callback: Handler) -> Handler:
                self.on(event, callback)
                return callback

            return decorator
        self._events.setdefault(event, {})[callback] = _arity(callback)
        return callback

    def once(self, event: T_contra, callback: Handler | None = None) -> Handler:
        """Adds a handler of the next `event` alone; without one, a decorator that adds what it decorates."""
        if callback is None:

            def decorator(callback: Handler) -> Handler:
                self.once(event, callback)
                return callback

            return decorator

        return self.on(event, _Once(self, event, callback))

    def off(self, event: T_contra, callback: Handler) -> None:
        """Removes a handler of `event`, however it was added; one that isn't there is no error."""
        handlers = self._events.get(event, {})
        for handler in list(handlers):
            if handler == callback or (isinstance(handler, _Once) and handler.__wrapped__ == callback):
                del handlers[handler]


def _arity(handler: Handler) -> int | None:
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):  # some builtins have none to see
        return None
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(parameter.kind in positional for parameter in parameters)


def _accepts(handler: Handler, args: tuple[Any, ...]) -> bool:
    try:
        inspect.signature(handler).bind(*args)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


class _Once:
    """A handler that takes itself away when it is called."""

    def __init__(self, emitter: EventEmitter[Any], event: Hashable, callback: Handler) -> None:
        self._emitter = emitter
        self._event = event
        self.__wrapped__ = callback  # where inspect looks for the signature

    def __call__(self, *args: Any) -> Any:
        self._emitter.off(self._event, self)
        return self.__wrapped__(*args)
