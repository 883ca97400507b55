"""What makes a method an endpoint: a name, types and words for the API page, and who calls.

Every endpoint answers JSON or a file, and tells who calls by the rules of the page (`ui.server.identity`).
Its docstring is what "Use via API" shows. Parameter names are promises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import gradio as gr

from pipelines.store.records import Caller, Row
from ui.server.services import Services, as_gr_error, throttle

Method = Callable[..., Any]
Options = Row | None


class Endpoints:
    """Endpoints of one subject: those of its methods that are marked, in the order in which they stand."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._jobs = services.jobs
        self._library = services.library

    def add(self) -> None:
        """Add them to the page that is being built."""
        for name, method in vars(type(self)).items():
            if hasattr(method, "queue"):
                gr.api(getattr(self, name), api_name=name, **method.queue)

    def _follow(self, caller: Caller, job_id: str) -> Iterator[Row]:
        # A row that lists thousands of recordings is half a megabyte.
        every_s = min(len(self._jobs.get(caller, job_id)["files"]) / 1_000, 1.0)
        for row in throttle(self._jobs.follow(caller, job_id), every_s):
            yield self._services.with_result(caller, row)


def endpoint(**queue: object) -> Callable[[Method], Method]:
    """Make a method of `Endpoints` an endpoint of its name; its refusals are shown as `gr.Error`.

    `queue` is what `gr.api` is told of its queue. A method that has a parameter `caller` is given who sent
    the request, one with `request` the request.
    """

    def register(method: Method) -> Method:
        signature = inspect.signature(method, eval_str=True)  # Gradio wants annotations as objects
        own, *others = signature.parameters.values()
        wanted = others.pop(0).name if others and others[0].name in ("caller", "request") else ""

        def called(self: Endpoints, request: gr.Request, *values: object) -> Any:  # noqa: ANN401
            if wanted == "caller":
                return method(self, self._services.caller(request), *values)
            return method(self, request, *values) if wanted else method(self, *values)

        @wraps(method)
        def answer(self: Endpoints, request: gr.Request, *values: object) -> Any:  # noqa: ANN401
            with as_gr_error(to_program=True):
                return called(self, request, *values)

        @wraps(method)
        def stream(self: Endpoints, request: gr.Request, *values: object) -> Iterator[Row]:
            with as_gr_error(to_program=True):
                yield from called(self, request, *values)

        shown: Any = stream if inspect.isgeneratorfunction(method) else answer
        request = own.replace(name="request", annotation=gr.Request)
        shown.__signature__ = signature.replace(parameters=[own, request, *others])
        shown.__annotations__ = {one.name: one.annotation for one in (request, *others)}
        shown.queue = queue
        return shown

    return register
