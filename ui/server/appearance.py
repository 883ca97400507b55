"""What browsers and other sites show of the page itself: icon, manifest, title, preview."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from rvc.files import ROOT

NAME = "Timbre"
ABOUT = "Clone a voice from a few minutes of recordings, then convert any recording into it."
FOLDER = ROOT / "assets" / "page"
FILES = ("icon.svg", "icon-192.png", "icon-512.png", "preview.png")
ICON = FOLDER / "icon-192.png"  # what Gradio serves as /favicon.ico
KEPT_S = 86_400
MANIFEST = {
    "name": NAME,
    "short_name": NAME,
    "description": ABOUT,
    "start_url": "./",
    "display": "standalone",
    "background_color": "#fafaf9",
    "theme_color": "#0f766e",
    "icons": [
        {"src": "icon.svg", "sizes": "any", "type": "image/svg+xml"},
        {"src": "icon-192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "icon-512.png", "sizes": "512x512", "type": "image/png"},
    ],
}
# Goes into Gradio's template, which knows the page's own address as `config.root`.
HEAD = f"""
<meta name="description" content="{ABOUT}" />
<meta name="theme-color" content="#0f766e" />
<link rel="icon" type="image/svg+xml" href="icon.svg" />
<link rel="apple-touch-icon" href="icon-192.png" />
<meta property="og:title" content="{NAME}" />
<meta property="og:description" content="{ABOUT}" />
<meta property="og:type" content="website" />
<meta property="og:image" content="{{{{ config.get('root', '') }}}}/preview.png" />
<meta property="og:image:width" content="1200" />
<meta property="og:image:height" content="630" />
<meta name="twitter:card" content="summary_large_image" />
"""


def routes() -> list[Route]:
    """Return the routes; they stand before Gradio's own of the same names."""
    return [
        Route("/manifest.json", _manifest),
        *(Route(f"/{name}", partial(_file, FOLDER / name)) for name in FILES),
    ]


async def _manifest(request: Request) -> Response:
    del request
    return JSONResponse(MANIFEST, media_type="application/manifest+json")


async def _file(path: Path, request: Request) -> Response:
    del request
    return FileResponse(path, headers={"cache-control": f"public, max-age={KEPT_S}"})
