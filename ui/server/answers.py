"""How a request is refused, in one sentence, before Gradio sees it."""

from __future__ import annotations

from starlette.responses import JSONResponse, PlainTextResponse, Response

from pipelines.monitoring import REFUSALS
from rvc.errors import LimitError, RvcError
from ui.look.language import retold


def refusal(status: int, sentence: str, *, as_json: bool = False, retry_after_s: float = 0.0) -> Response:
    """Return the answer to a request whose body is read no further."""
    sentence, headers = retold(sentence), {"connection": "close"}
    if retry_after_s:
        headers["retry-after"] = str(max(1, round(retry_after_s)))
    if as_json:
        return JSONResponse({"detail": sentence}, status, headers)
    return PlainTextResponse(f"{sentence}\n", status, headers)


def refusal_of(error: RvcError, *, as_json: bool = False) -> Response:
    """Count an error and return its answer: 429 for a limit, 403 for anything else."""
    REFUSALS.labels(type(error).__name__).inc()
    if isinstance(error, LimitError):
        return refusal(429, str(error), as_json=as_json, retry_after_s=error.retry_after_s)
    return refusal(403, str(error), as_json=as_json)
