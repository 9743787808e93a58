"""The handler of LiteLLM: routes requests before the proxy's call, and writes the row of each when it has ended."""

from __future__ import annotations

import asyncio
import functools
import os
import sys
from collections.abc import AsyncGenerator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import litellm
from litellm.integrations.custom_logger import CustomLogger

from jaxroute.data.records import parsed
from jaxroute.gateway import abilities, requests, rows, watching
from jaxroute.gateway.gate import Gate
from jaxroute.gateway.recorder import Recorder, one_thread
from jaxroute.gateway.requests import Request
from jaxroute.gateway.settings import Settings, known, load_settings
from jaxroute.gateway.writing import LOG, LogWriter
from jaxroute.types import InputError

METADATA = ("metadata", "litellm_metadata")
PROXY = "litellm.proxy.proxy_server"
BRIEF = 4000
"""Characters of a request that are encoded at once by a quick encoder; longer ones leave the event loop free."""
PATIENCE = 1.0
"""Seconds after the end of a stream in which LiteLLM may say more of it."""
LEFT = 499
"""The status with which the proxy ends a request whose client is gone."""


class Handler(CustomLogger, Recorder):
    """Routes requests before the proxy's call, and logs every routed request."""

    def __init__(self, gate: Gate, writer: LogWriter | None = None) -> None:
        CustomLogger.__init__(self)
        Recorder.__init__(self, gate, writer)
        if gate.router is not None and gate.router.encoder is None:
            LOG.error(
                "the router takes features but requests are texts, so %s answers; fit the router with --features-by",
                gate.settings.default,
            )
        self.pool = ThreadPoolExecutor(2, "jaxroute-decide")

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Handler:
        """From a ``models.yaml``.

        Raises:
            InputError: the file is invalid; see ``load_settings``.
        """
        path = Path(path)
        proxy = sys.modules.get(PROXY)
        known_here = functools.partial(_listed, path, proxy)
        gate = Gate(known_here(load_settings(path)))
        settings = gate.settings
        gate.apart()
        handler = cls(gate)
        if proxy is not None:
            from jaxroute.gateway import endpoints

            one_thread()
            file = settings.feedback_file
            endpoints.add(proxy.app, None if file is None else LogWriter(file), handler.ready)
        if settings.reload_seconds:
            watching.watch(path, lambda: handler.gate, handler.take, known_here, settings.reload_seconds)
        return handler

    # Before the call, in the proxy

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: Any
    ) -> dict[str, Any]:
        """Called by the proxy before a request: replaces the alias by the chosen model."""
        call = str(getattr(call_type, "value", call_type))
        named, alias = data.get("model"), self.gate.settings.alias
        names = [part.strip() for part in named.split(",")] if isinstance(named, str) else []
        if call not in requests.ENDPOINTS or alias not in names:
            return data
        if len(names) > 1:  # all models of a list answer, or the fastest: there is no choice to learn from, so no row
            chosen = self.gate.choose(self.text(call, data)).model
            data["model"] = ",".join(dict.fromkeys(chosen if name == alias else name for name in names))
            return data
        text, held = self.text(call, data), (data.get(name) for name in METADATA)
        route = functools.partial(self.route, call, data, text, data.get("litellm_call_id"), *held)
        if self.gate.quick and len(text or "") < BRIEF:
            request = route()
        else:  # other requests go on meanwhile
            request = await asyncio.get_running_loop().run_in_executor(self.pool, route)
        arrived = data.get("proxy_server_request")
        if isinstance(arrived, dict) and isinstance(arrived.get("arrival_time"), float):
            request.begun = arrived["arrival_time"]
        logging = data.get("litellm_logging_obj")
        if request.id != data.get("litellm_call_id"):  # the client chose an id that is taken
            data["litellm_call_id"] = request.id
            if logging is not None:
                logging.litellm_call_id = request.id
                logging.model_call_details["litellm_call_id"] = request.id
        data["model"] = request.choice.model
        return data

    async def async_pre_call_deployment_hook(self, kwargs: dict[str, Any], call_type: Any) -> None:
        """Called before each attempt at a deployment."""
        if (request := self._attempt(kwargs, call_type)) is not None:
            request.attempts += 1

    async def async_post_call_failure_deployment_hook(
        self, request_data: Mapping[str, Any], exception: Exception, call_type: Any, fallback_depth: int | None = None
    ) -> None:
        """Called after each attempt that failed."""
        if (request := self._attempt(request_data, call_type)) is not None:
            request.failed.append(_group(request_data) or request.choice.model)

    def _attempt(self, kwargs: Mapping[str, Any], call_type: Any) -> Request | None:
        """The request of an attempt; None for a call inside a call, by which LiteLLM serves one endpoint as another."""
        request = self.store.get(kwargs.get("litellm_call_id"))
        own, _ = requests.ENDPOINTS.get(str(getattr(call_type, "value", call_type)), (None, None))
        return request if request is not None and own == request.endpoint else None

    # After the call

    def log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._answered(kwargs, response_obj, end_time)

    async def async_log_success_event(self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any) -> None:
        self._answered(kwargs, response_obj, end_time)

    async def async_post_call_success_hook(self, data: dict[str, Any], user_api_key_dict: Any, response: Any) -> None:
        """Called by the proxy with a whole answer; LiteLLM never logs those of this endpoint from other providers."""
        request = self.store.get(data.get("litellm_call_id"))
        if request is not None and request.endpoint == "generate_content":
            self._generated(data, "answered", response)

    async def async_post_call_streaming_iterator_hook(
        self, user_api_key_dict: Any, response: Any, request_data: dict[str, Any]
    ) -> AsyncGenerator[Any, None]:
        """Called by the proxy with a streamed answer. Of this endpoint it is the only one that says how it ends, except
        from Google's models, of which LiteLLM's own word comes first and is better: it has the cost."""
        request = self.store.get(request_data.get("litellm_call_id"))
        watched = request is not None and request.endpoint == "generate_content"
        last: Any = None
        try:
            async for chunk in response:
                last = chunk if watched and "usageMetadata" in str(chunk) else last
                yield chunk
        except BaseException as error:
            if watched:
                gone = isinstance(error, GeneratorExit | asyncio.CancelledError)
                self._generated(request_data, "left" if gone else "failed", last)
            raise
        if watched:
            asyncio.get_running_loop().call_later(PATIENCE, self._generated, request_data, "answered", last)

    def _generated(self, data: Mapping[str, Any], status: str, response: Any) -> None:
        """Write the row of an answer of Gemini's endpoint."""
        if (request := self.store.finish(data.get("litellm_call_id"))) is None:
            return
        found = parsed(str(response, "utf-8", "replace") if isinstance(response, bytes) else response)
        if isinstance(found, str):  # an event of a stream
            found = parsed(found.partition("data:")[2].strip())
        usage = _field(found, "usageMetadata")
        answer = {
            "response_id": _field(found, "responseId"),
            "input_tokens": _field(usage, "promptTokenCount"),
            "output_tokens": _field(usage, "candidatesTokenCount"),
        }
        answered = getattr(data.get("deployment"), "model_name", None) if status != "failed" else None
        self.end(request, status, model=answered, answer=answer)

    async def async_post_call_response_headers_hook(
        self, data: dict[str, Any], user_api_key_dict: Any, response: Any, **_: Any
    ) -> dict[str, str] | None:
        """Called by the proxy for the headers of an answer."""
        request = self.store.get(data.get("litellm_call_id"))
        if request is None:
            return None
        choice = request.choice
        return {
            "x-jaxroute-model": choice.model,
            "x-jaxroute-propensity": f"{choice.propensity:.6g}",
            "x-jaxroute-by": choice.by,
            "x-jaxroute-logged": "true" if request.weight else "false",
            "x-jaxroute-version": str(request.version or "none"),
        }

    async def async_post_call_failure_hook(
        self, request_data: dict[str, Any], original_exception: Exception, user_api_key_dict: Any, **_: Any
    ) -> None:
        """Called by the proxy when it gives a request up."""
        left = getattr(original_exception, "status_code", None) == LEFT
        self.give_up(request_data.get("litellm_call_id"), "left" if left else "failed")

    def _answered(self, kwargs: dict[str, Any], response: Any, end: Any) -> None:
        """Log one answered request; a failure to write never affects the answer."""
        id = kwargs.get("litellm_call_id")
        request = self.store.get(id)
        if request is None:
            return
        payload = kwargs.get("standard_logging_object") or {}
        answered = _group(kwargs.get("litellm_params") or {}) or payload.get("model_group") or request.choice.model
        if self.store.finish(id) is None:
            return
        read, written = rows.tokens(_field(response, "usage"))
        identity = _field(response, "id")
        answer = {
            "response_id": identity if isinstance(identity, str) else None,
            "cost": _cost(kwargs, read, written),
            "input_tokens": payload.get("prompt_tokens") if read is None else read,
            "output_tokens": payload.get("completion_tokens") if written is None else written,
            "cache_hit": kwargs.get("cache_hit"),
        }
        held = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        status = "left" if held.get("client_disconnected") else "answered"
        if _redacted(kwargs):
            request.text = None
        self.end(request, status, end=end.timestamp(), model=answered, answer=answer)

    def private(self, request: Request) -> bool:
        """Whether LiteLLM was told to keep messages out of all logs."""
        return bool(litellm.turn_off_message_logging)


def _group(held: Mapping[str, Any]) -> str | None:
    """The model group of an attempt, in whichever of its metadata LiteLLM put it."""
    for name in METADATA:
        metadata = held.get(name)
        if isinstance(metadata, Mapping):
            for key in ("deployment_model_name", "model_group"):
                if found := metadata.get(key):
                    return str(found)
    return None


def _listed(path: Path, proxy: Any, settings: Settings) -> Settings:
    """The settings with what the proxy's configuration, and LiteLLM, know of their models.

    Raises:
        InputError: the proxy does not list one of them.
    """
    import yaml

    file = getattr(proxy, "user_config_file_path", None)
    if not isinstance(file, str) or not Path(file).is_file():
        return settings
    try:
        config = yaml.safe_load(Path(file).read_text())
    except (OSError, yaml.YAMLError):
        return settings  # the proxy says so itself
    names = watching.names_of(config)
    if names is not None:
        try:
            known(settings, names)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
    deployments = config.get("model_list") if isinstance(config, dict) else None
    return abilities.informed(settings, deployments if isinstance(deployments, list) else [])


def _field(held: Any, name: str) -> Any:
    return held.get(name) if isinstance(held, Mapping) else getattr(held, name, None)


def _cost(kwargs: Mapping[str, Any], read: int | None, written: int | None) -> float | None:
    """What LiteLLM says the answer cost; where it says 0 of tokens that have a price in config.yaml, their price."""
    cost = kwargs.get("response_cost")
    held = kwargs.get("litellm_params") or {}
    if cost or (not read and not written):
        return cost
    for priced in (held, held.get("model_info"), *(_field(held.get(m) or {}, "model_info") for m in METADATA)):
        prices = [_field(priced or {}, f"{kind}_cost_per_token") for kind in ("input", "output")]
        if all(isinstance(price, float | int) for price in prices):
            return float(prices[0] * (read or 0) + prices[1] * (written or 0))
    return cost


def _redacted(kwargs: Mapping[str, Any]) -> bool:
    """Whether LiteLLM was told to keep messages out of logs."""
    return requests.REDACTED in str(kwargs.get("messages"))[:200] or requests.REDACTED in str(kwargs.get("input"))[:200]
