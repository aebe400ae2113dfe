"""An OpenAI-compatible server as the engine, such as `vllm serve`: prompts go as token ids to /v1/completions.

Token ids, made here with the teacher's own tokenizer, keep a document from ending its own turn, whatever the server
does with text. Invariants: a request that the server loses is asked again until `patience_s` have passed without any
server, so a server that is restarted loses nothing; what the server refuses (4xx) is a rejected row.
"""

import asyncio
import logging
import os
import random
import time
from typing import Any, Literal

from rcpt_ray.mixture.tokenize import load_tokenizer
from rcpt_ray.thoughts.engine import Completion, EngineCannotStart, EngineDied, Request, RowRefused
from rcpt_ray.thoughts.prompt import PromptFrame, PromptTokens, load_prompt
from rcpt_ray.thoughts.spec import ThoughtsSpec

_RETRY_S = 1.0
_MOST_LOSSES = 3
_BUSY = (408, 409, 425, 429)
_OWNER = (401, 402, 403, 404)


class ServerBusy(Exception):
    """The server asks to come back later."""

    def __init__(self, said: str, wait_s: float) -> None:
        super().__init__(said)
        self.wait_s = wait_s


class HttpEngine:
    """A teacher behind HTTP."""

    def __init__(self, tokenizer_path: str, reference: str, spec: ThoughtsSpec) -> None:
        from openai import AsyncOpenAI

        http = spec.http
        self._spec, self._model = spec, http.model or reference
        self.seeds: Literal["request", "engine", "none"] = "request" if http.seeds_requests else "none"
        self._client = AsyncOpenAI(
            base_url=http.url,
            api_key=os.environ.get(http.api_key_variable, "none"),
            timeout=http.timeout_s,
            max_retries=0,
        )
        tokenizer: Any = load_tokenizer(tokenizer_path, spec.teacher.trust_remote_code)
        self._frame = PromptFrame(load_prompt(spec.prompt), spec.asked_words, tokenizer)
        self._open, self._waiting = asyncio.Semaphore(http.requests_in_flight), asyncio.Lock()

    async def start(self) -> None:
        """Wait until the server answers and knows the model."""
        from openai import APIConnectionError, APIStatusError, InternalServerError, RateLimitError

        http, until_s, why = self._spec.http, time.monotonic() + self._spec.http.patience_s, ""
        while time.monotonic() < until_s:
            try:
                names = [model.id async for model in self._client.models.list()]
            except (APIConnectionError, InternalServerError, RateLimitError) as error:
                why = f"{type(error).__name__}: {error.__cause__ or error}"
                await asyncio.sleep(_RETRY_S)
                continue
            except APIStatusError as error:
                raise self._cannot_go_on(error) from None
            if self._model not in names:
                raise EngineCannotStart(
                    f"{http.url} serves {', '.join(names) or 'no model'}, not {self._model}; set thoughts.http.model"
                )
            return
        raise EngineCannotStart(f"{http.url} did not answer within patience_s={http.patience_s:g} ({why}); start it")

    async def complete(self, request: Request) -> Completion:
        """One thought; what the server loses or has no time for is asked again."""
        from openai import APIConnectionError, InternalServerError

        num_losses, busy_until_s = 0, 0.0
        async with self._open:
            while True:
                try:
                    return await self._ask(request)
                except ServerBusy as busy:
                    busy_until_s = busy_until_s or time.monotonic() + self._spec.http.patience_s
                    if time.monotonic() > busy_until_s:
                        raise EngineCannotStart(f"{self._spec.http.url} is too busy: {busy}") from None
                    await asyncio.sleep(min(busy.wait_s, self._spec.http.patience_s))
                except (APIConnectionError, InternalServerError) as error:
                    num_losses += 1
                    logging.getLogger(__name__).warning("%s for %r", type(error).__name__, request.doc_id)
                    if num_losses == _MOST_LOSSES:
                        if isinstance(error, InternalServerError):
                            raise RowRefused("server_error") from None
                        raise EngineDied(f"the server was lost {num_losses} times with this request") from None
                    await asyncio.sleep(_RETRY_S)
                    async with self._waiting:
                        await self.start()

    async def _ask(self, request: Request) -> Completion:
        from openai import APIStatusError, InternalServerError

        sampling = self._spec.sampling
        prompt = self._frame.within(request.text, self._spec.max_model_tokens, sampling.max_thought_tokens)
        # Beyond the standard, and known to vLLM; sent only where it asks for something.
        extra = {"repetition_penalty": sampling.repetition_penalty} if sampling.repetition_penalty != 1.0 else None
        try:
            answer = await self._client.completions.create(
                model=self._model,
                prompt=prompt.token_ids,
                max_tokens=sampling.max_thought_tokens,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                seed=request.seed if self.seeds == "request" else None,
                stop=list(self._frame.stop) or None,
                logprobs=0 if self._spec.keep_logprobs else None,
                extra_body=extra,
            )
        except InternalServerError:
            raise
        except APIStatusError as error:
            raise self._meaning(error, request) from None
        except ValueError as error:
            raise RowRefused("answer_not_understood") from error
        return _completion(answer, prompt)

    def _meaning(self, error: Any, request: Request) -> Exception:
        """Who must act on an HTTP status: the row, the server's owner, or time."""
        if error.status_code in _BUSY:
            after = error.response.headers.get("retry-after", "")
            return ServerBusy(str(error), float(after) if after.isdecimal() else random.uniform(0.5, 1.5) * _RETRY_S)
        if error.status_code in _OWNER:
            return self._cannot_go_on(error)
        logging.getLogger(__name__).warning("request %r refused: %s", request.doc_id, error)
        too_long = error.status_code == 400 and "context" in str(error)
        return RowRefused("too_long_for_model" if too_long else "engine_refused")

    def _cannot_go_on(self, error: Any) -> EngineCannotStart:
        http = self._spec.http
        if error.status_code in (401, 403):
            return EngineCannotStart(f"{http.url} refuses the key in ${http.api_key_variable}; set it")
        return EngineCannotStart(f"{http.url} answers {error.status_code}: {error}; see to the url, model and account")

    def close(self) -> None:
        """The server is not ours to end."""


def _completion(answer: Any, prompt: PromptTokens) -> Completion:
    """What a server's answer says; refuses one that says nothing."""
    choices = getattr(answer, "choices", None)  # a gateway's page comes as its characters, null as None
    if not choices or choices[0].text is None:
        raise RowRefused("answer_not_understood")
    choice, usage = choices[0], answer.usage
    logprobs = choice.logprobs.token_logprobs if choice.logprobs else None
    return Completion(
        thought=choice.text.strip(),
        finish_reason=choice.finish_reason or "unknown",
        num_text_tokens=prompt.num_text_tokens,
        num_prompt_tokens=len(prompt.token_ids),
        num_thought_tokens=(usage.completion_tokens or 0) if usage else 0,
        thought_logprob=sum(value for value in logprobs if value is not None) if logprobs else None,
    )
