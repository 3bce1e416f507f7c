"""The documented clients as programs that use them do: in this process, and in a browser, for there is no other
JavaScript here. Each answers in the same words, so that the same tests hold both.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import httpx
from playwright.sync_api import Page

from config.env import BASE_DIR
from tests.ports import free_port

CLIENTS = BASE_DIR / "docs" / "clients"
PATIENCE = 60  # seconds for an answer

Answer = bool | str | int  # access or none, "unavailable", or the status of a refusal


def nowhere() -> str:
    """The address of a server that is down."""
    return f"http://127.0.0.1:{free_port()}"


def python_client() -> Any:
    spec = importlib.util.spec_from_file_location("starledger_client", CLIENTS / "starledger.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class PythonProgram:
    """:ivar statuses: of all answers that came over the wire"""

    def __init__(self, url: str, key: str, **options: Any) -> None:
        self.client = python_client()
        self.now = 1000.0
        self.starledger = self.client.Starledger(url, key, timeout=PATIENCE, clock=lambda: self.now, **options)
        self.statuses: list[int] = []
        self.starledger.http.event_hooks = {"response": [lambda answer: self.statuses.append(answer.status_code)]}

    def close(self) -> None:
        self.starledger.http.close()

    def has_access(self, user_id: str, entitlement: str = "gold") -> Answer:
        try:
            return self.starledger.has_access(user_id, entitlement)
        except self.client.Unavailable:
            return "unavailable"
        except httpx.HTTPStatusError as refused:
            return refused.response.status_code

    def who_has(self, entitlement: str, user_ids: list[str]) -> set[str]:
        return self.starledger.who_has(entitlement, user_ids)

    def forward(self, seconds: float) -> None:
        self.now += seconds

    def lose_the_server(self) -> None:
        self.starledger.http.base_url = nowhere()


class JavaScriptProgram:
    """:ivar statuses: of all answers that came over the wire"""

    NAMES = {"stale_for": "staleFor", "most_kept": "mostKept"}
    ASK = """async ([userId, entitlement]) => {
        try {
            return await starledger.hasAccess(userId, entitlement);
        } catch (error) {
            if (error instanceof Unavailable) return "unavailable";
            if (error.status) return error.status;
            throw error;
        }
    }"""

    def __init__(self, page: Page, url: str, key: str, **options: Any) -> None:
        self.page = page
        self.statuses: list[int] = []
        page.on("response", lambda answer: "/api/" in answer.url and self.statuses.append(answer.status))
        # A page and the module at the server's own address; what the module asks for reaches the server.
        page.route(f"{url}/program", lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"))
        page.route(f"{url}/starledger.mjs", lambda route: route.fulfill(path=CLIENTS / "starledger.mjs"))
        page.clock.install(time=0)
        page.goto(f"{url}/program")
        page.clock.pause_at(3_600)  # from here on time passes when it is told to
        spelled = {self.NAMES.get(name, name): value for name, value in options.items()} | {"timeout": PATIENCE}
        page.evaluate(
            """async ([key, options]) => {
                const module = await import("/starledger.mjs");
                window.Unavailable = module.Unavailable;
                window.starledger = new module.Starledger(location.origin, key, options);
            }""",
            [key, spelled],
        )

    def close(self) -> None:
        self.page.close()

    def has_access(self, user_id: str, entitlement: str = "gold") -> Answer:
        answer: Answer = self.page.evaluate(self.ASK, [user_id, entitlement])
        return answer

    def who_has(self, entitlement: str, user_ids: list[str]) -> set[str]:
        ask = "async ([entitlement, userIds]) => [...await starledger.whoHas(entitlement, userIds)]"
        return set(self.page.evaluate(ask, [entitlement, user_ids]))

    def forward(self, seconds: float) -> None:
        self.page.clock.fast_forward(seconds * 1000)

    def lose_the_server(self) -> None:
        self.page.evaluate("url => { starledger.url = url; }", nowhere())
