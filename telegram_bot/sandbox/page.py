"""The chat in a browser: three files, served as they are."""

from pathlib import Path

from aiohttp import web

STATIC = Path(__file__).with_name("static")
FILES = {"/": "chat.html", "/chat.css": "chat.css", "/chat.js": "chat.js"}
HEADERS = {
    # What bots and people write is shown as text; should a mistake let markup through, it still runs nothing.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def routes() -> list[web.RouteDef]:
    return [web.get(path, _file) for path in FILES]


async def _file(request: web.Request) -> web.StreamResponse:
    return web.FileResponse(STATIC / FILES[request.path], headers=HEADERS)
