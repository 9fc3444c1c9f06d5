"""``GET /v1/audit``: who changed what about the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import falcon.asgi
from typing_extensions import TypedDict

from gateway.amounts import Time, time_text
from gateway.dependencies import Dependencies
from gateway.openapi.description import Operation, answer
from gateway.parameters import Choice, Whole
from gateway.pool import run_in
from models.changes import What, list_changes
from models.service_tables import Change
from models.tokens import Scope

WHAT: Final = Choice("what", What, "Only of this kind.")
LIMIT: Final = Whole("limit", 100, 1, 1000, "How many a page has at most.")
MOST_ID: Final = 9_223_372_036_854_775_807
BEFORE: Final = Whole("before", MOST_ID, 1, 999_999_999_999_999_999, "Only those before this `change_id`.")


class ChangeSaid(TypedDict):
    """A change: `before` and `after` are what is changed, as it was and is; null where there is nothing to tell."""

    change_id: int
    at: Time
    who: str
    what: What
    subject: str
    before: Any
    after: Any


class ChangesSaid(TypedDict):
    """Changes, the newest first; `next_before` is null on the last page."""

    items: list[ChangeSaid]
    next_before: int | None


class Audit:
    """``GET /v1/audit``."""

    scopes: Mapping[str, Scope] | None = {"GET": Scope.ADMIN}
    operations: Mapping[str, Operation] = {
        "GET": Operation(
            "listChanges",
            {200: answer(ChangesSaid)},
            fails=(400,),
            parameters=[WHAT.described, BEFORE.described, LIMIT.described],
        )
    }

    def __init__(self, dependencies: Dependencies) -> None:
        self._pool = dependencies.pool

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Who changed what, newest first: budgets, mode, limits, tokens, keys, and what was settled by hand.

        Raises:
            Problem: 400, a parameter is malformed.
        """
        limit, before, what = LIMIT.of(req), BEFORE.of(req), WHAT.of(req)
        found = await run_in(self._pool, lambda: list_changes(limit + 1, what=what, before=before))
        shown = found[:limit]
        page: ChangesSaid = {
            "items": [_view(change) for change in shown],
            "next_before": shown[-1].change_id if len(found) > limit else None,
        }
        resp.media = page


def _view(change: Change) -> ChangeSaid:
    return {
        "change_id": change.change_id,
        "at": time_text(change.at),
        "who": change.who,
        "what": What(change.what),
        "subject": change.subject,
        "before": change.before,
        "after": change.after,
    }
