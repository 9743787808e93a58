"""The two ways to use jaxroute in LiteLLM: in its Python `litellm.Router`, and as a handler of its proxy.

    router = litellm.Router(model_list=...)
    install(router, Gate(load_settings("models.yaml")))     # requests for "auto" are routed, answers are logged

    # callbacks.py, beside the proxy's config.yaml:  litellm_settings: {callbacks: callbacks.handler}
    handler = Handler.from_file("models.yaml")

Requests for text are routed by their text. All other requests, and those for other model names, are passed on unchanged
and not logged. Every routed request has one row, written when it has been answered or has failed for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
from collections.abc import Callable
from typing import Any

import litellm
from litellm.types.router import CustomRoutingStrategyBase

from jaxroute.gateway import abilities, requests
from jaxroute.gateway.gate import Gate
from jaxroute.gateway.handler import Handler as Handler
from jaxroute.gateway.requests import Request
from jaxroute.gateway.settings import known
from jaxroute.gateway.writing import LogWriter

UNDER_WAY: contextvars.ContextVar[Request | None] = contextvars.ContextVar("jaxroute_request", default=None)
"""The routed request of a `litellm.Router`, while it is asked."""


class Strategy(CustomRoutingStrategyBase):
    """Puts the chosen model in the alias's place wherever a `litellm.Router` picks a deployment.

    A retry of the same request chooses among the models that have not failed yet.
    """

    def __init__(self, router: Any, handler: Handler) -> None:
        self.handler = handler
        self.pick, self.pick_async = router.get_available_deployment, router.async_get_available_deployment

    async def async_get_available_deployment(self, model: str, *args: Any, **kwargs: Any) -> Any:
        return await self.pick_async(self._model(model), *args, **kwargs)

    def get_available_deployment(self, model: str, *args: Any, **kwargs: Any) -> Any:
        return self.pick(self._model(model), *args, **kwargs)

    def _model(self, model: str) -> str:
        request, gate = UNDER_WAY.get(), self.handler.gate
        if request is None or model != gate.settings.alias:
            return model
        request.asked += 1
        if request.asked > 1:  # a retry: the first attempt was decided when the request came
            left = [m for m in gate.settings.models if m not in request.tried]
            request.choice = gate.choose(request.text, left or None, context=request.facts)
            request.tried.append(request.choice.model)
        return request.choice.model


def _asked(handler: Handler, call: str, ask: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a `litellm.Router` whose requests for the alias are routed and logged."""
    holder = requests.ENDPOINTS[call][1]

    def begin(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Request | None, dict[str, Any]]:
        body = dict(zip(("model", holder), args, strict=False)) | kwargs
        if body.get("model") != handler.gate.settings.alias:
            return None, body
        if body.get("metadata", 0) is None:  # LiteLLM's Router fails on it
            del body["metadata"]
        request = handler.route(call, body, handler.text(call, body), body.get("litellm_call_id"), body.get("metadata"))
        return request, body | {"litellm_call_id": request.id}

    @functools.wraps(ask)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        request, body = begin(args, kwargs)
        if request is None:
            return await ask(*args, **kwargs)
        token = UNDER_WAY.set(request)
        try:
            return _watched(await ask(**body), functools.partial(handler.give_up, request.id))
        except BaseException as error:
            handler.give_up(request.id, "left" if isinstance(error, asyncio.CancelledError) else "failed")
            raise
        finally:
            UNDER_WAY.reset(token)

    @functools.wraps(ask)
    def synchronous(*args: Any, **kwargs: Any) -> Any:
        request, body = begin(args, kwargs)
        if request is None:
            return ask(*args, **kwargs)
        token = UNDER_WAY.set(request)
        try:
            return _watched(ask(**body), functools.partial(handler.give_up, request.id))
        except BaseException:
            handler.give_up(request.id, "failed")
            raise
        finally:
            UNDER_WAY.reset(token)

    return asynchronous if call.startswith("a") else synchronous


def _watched(answer: Any, end: Callable[[str], None]) -> Any:
    """The answer, which says how it ends if it is a stream: LiteLLM tells a handler of whole streams only.

    Its class becomes a subclass of its class, so that it is still what LiteLLM returns.

    Args:
        end: called with "failed" where the stream breaks, with "left" where it is closed or cancelled before its end.
    """
    kind, over = type(answer), False

    def broken(error: BaseException | None) -> None:
        nonlocal over
        if not over and not isinstance(error, StopAsyncIteration | StopIteration):
            end("failed" if isinstance(error, Exception) else "left")
        over = True

    async def following(self: Any) -> Any:
        try:
            return await kind.__anext__(self)
        except BaseException as error:
            broken(error)
            raise

    def following_at_once(self: Any) -> Any:
        try:
            return kind.__next__(self)
        except BaseException as error:
            broken(error)
            raise

    async def close(self: Any) -> None:
        broken(None)
        await kind.aclose(self)

    ways = {"__anext__": following, "__next__": following_at_once, "aclose": close}
    methods = {name: way for name, way in ways.items() if hasattr(kind, name)}
    if methods:
        with contextlib.suppress(TypeError):  # of C: nobody says how it ends
            answer.__class__ = type(kind.__name__, (kind,), methods)
    return answer


def install(router: Any, gate: Gate, writer: LogWriter | None = None) -> Handler:
    """Route a `litellm.Router`'s requests for the gate's alias, and log their answers.

    Args:
        router: its model_list must hold every model of the settings, under the same names, and the alias (with any
            deployment: LiteLLM retries only names that it knows).
        gate: settings and router.
        writer: of the log; None makes the one that the settings name.

    Returns:
        The handler, registered with LiteLLM.

    Raises:
        InputError: a model of the settings, or the alias, is not in the router's list.
    """
    known(gate.settings, router.get_model_names())
    gate.settings = abilities.informed(gate.settings, router.model_list)
    handler = Handler(gate, writer)
    router.set_custom_routing_strategy(Strategy(router, handler))
    for call in requests.ENDPOINTS:
        if (ask := getattr(router, call, None)) is not None:
            setattr(router, call, _asked(handler, call, ask))
    litellm.callbacks.append(handler)
    return handler
