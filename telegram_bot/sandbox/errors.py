"""What the Bot API answers instead of a result."""

from typing import Any, ClassVar


class BotApiError(Exception):
    """A refusal: HTTP status, Telegram's words, and ``parameters`` such as ``retry_after``."""

    code: ClassVar[int]
    prefix: ClassVar[str]

    def __init__(self, words: str = "", **parameters: int) -> None:
        self.description = f"{self.prefix}: {words}" if words else self.prefix
        self.parameters = parameters
        super().__init__(self.description)

    def body(self) -> dict[str, Any]:
        answer = {"ok": False, "error_code": self.code, "description": self.description}
        return answer | {"parameters": self.parameters} if self.parameters else answer


class BadRequest(BotApiError):
    code, prefix = 400, "Bad Request"


class Unauthorized(BotApiError):
    code, prefix = 401, "Unauthorized"


class Forbidden(BotApiError):
    code, prefix = 403, "Forbidden"


class NotFound(BotApiError):
    code, prefix = 404, "Not Found"


class Conflict(BotApiError):
    code, prefix = 409, "Conflict"


class TooManyRequests(BotApiError):
    code, prefix = 429, "Too Many Requests"


class NotImplementedHere(BotApiError):
    """Telegram has this method, the local Telegram does not."""

    code, prefix = 501, "Not Implemented"


class NotPossible(Exception):
    """A person cannot do this in Telegram's client. The sentence says why."""
