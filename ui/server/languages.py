"""Who reads the page in which language: told by the visitor's cookie, else by the browser (Accept-Language).

    request -> answered in it throughout: the gate sets it before anything else
    call    -> spoken in the language of the request that it came with, also when the queue runs it
    page    -> its configuration translated, `lang` and `dir` set, the browser told what the page speaks

Programs send no Accept-Language, and are answered in English unless they do.
"""

from __future__ import annotations

import json
from functools import wraps
from typing import Any

from gradio import route_utils, routes
from starlette.responses import HTMLResponse

from ui.look.language import LANGUAGE, chosen_language, direction, translated_page
from ui.server.gradio_changes import replace

COOKIE = "timbre_language"
OF_GRADIO = {"zh-Hans": "zh-CN"}  # languages of ours that Gradio calls otherwise
# Gradio's own words and `lang` follow what the browser says it speaks; the menu reloads the page in another.
SCRIPT = """<script>(() => {
  const spoken = %s, ofGradio = %s;
  for (const [name, value] of [["language", ofGradio], ["languages", [ofGradio]]])
    Object.defineProperty(navigator, name, {get: () => value, configurable: true});
  const show = () => {
    for (const menu of document.querySelectorAll("select.tm-language")) menu.value = spoken;
  };
  new MutationObserver(show).observe(document, {childList: true, subtree: true});
  document.addEventListener("change", (event) => {
    if (!event.target.matches?.("select.tm-language")) return;
    document.cookie = "%s=" + event.target.value + "; path=/; max-age=31536000; samesite=lax";
    location.reload();
  });
})();</script>"""


def language_of(request: Any) -> str:  # noqa: ANN401  # Gradio's and Starlette's requests have no common type
    """Return in which language to answer a request."""
    cookies, headers = request.cookies, request.headers
    return chosen_language(cookies.get(COOKIE), headers.get("accept-language"))


def translate_gradio() -> None:
    """Have Gradio send pages, and run calls, in the language of who asks."""
    if not hasattr(route_utils.call_process_api, "__wrapped__"):
        replace(route_utils, "call_process_api", _spoken(route_utils.call_process_api))
    if not hasattr(routes.templates.TemplateResponse, "__wrapped__"):
        replace(routes.templates, "TemplateResponse", _translated(routes.templates.TemplateResponse))


def _spoken(call: Any) -> Any:  # noqa: ANN401
    @wraps(call)
    def spoken(app: Any, body: Any, gr_request: Any, *more: Any, **others: Any) -> Any:  # noqa: ANN401
        request = gr_request[0] if isinstance(gr_request, list) else gr_request
        if request is not None:
            LANGUAGE.set(language_of(request))
        return call(app, body, gr_request, *more, **others)  # what is awaited, in the same context

    return spoken


def _translated(respond: Any) -> Any:  # noqa: ANN401
    @wraps(respond)
    def translated(*, request: Any, name: str, context: dict[str, Any]) -> HTMLResponse:  # noqa: ANN401
        translated_page(context["config"])
        page = respond(request=request, name=name, context=context)
        spoken = LANGUAGE.get()
        told_to = json.dumps(spoken), json.dumps(OF_GRADIO.get(spoken, spoken))
        told = f'lang="{spoken}"\n\tdir="{direction(spoken)}"'
        body = bytes(page.body).decode().replace('lang="en"', told, 1)
        body = body.replace("<head>", "<head>" + SCRIPT % (*told_to, COOKIE), 1)
        return HTMLResponse(body, headers={"vary": "Accept-Language, Cookie"})

    return translated
