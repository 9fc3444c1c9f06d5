"""Parsegate's own HTTP interface, from the client's side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import httpx

from domain.errors import BadSetting, CallRefused, CredentialRefused, OddAnswer, ProviderUnavailable
from domain.job_state import FINAL, JobState
from domain.setting_sources import without_password
from domain.settings import Settings
from parsegate.data_folder import TOKEN_FILE, URL_FILE, read_line

DEFAULT_URL: Final = "http://127.0.0.1:8080"
POLL_S: Final = 0.1
MOST_POLL_S: Final = 1.0
GREETING_S: Final = 5.0
"""How long whoever answers at the URL may take to say that it is a Parsegate."""
ANSWER_S: Final = 20.0
UPLOAD_S: Final = 60.0


class Api:
    """One Parsegate.

    Every call raises `ProviderUnavailable` if it can't be reached, `CallRefused` if it refuses, `CredentialRefused` if
    the token is not accepted.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._token = token
        self._greeted = False
        self._http = httpx.Client(base_url=url, timeout=httpx.Timeout(ANSWER_S, connect=GREETING_S))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, content: BinaryIO, filename: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Order a document; answers `job_id`, `document_id`, `state`."""
        said = {"files": {"file": (filename, content)}, "data": dict(fields)}
        return self._json("POST", "/v1/documents", timeout=UPLOAD_S, **said)

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it stands."""
        return self._json("GET", f"/v1/documents/{job_id}")

    def jobs(self, wanted: Mapping[str, str]) -> dict[str, Any]:
        """A page of jobs, newest first."""
        return self._json("GET", "/v1/documents", params=dict(wanted))

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Cancel a job; answers it."""
        return self._json("POST", f"/v1/documents/{job_id}/cancel")

    def retry(self, job_id: str) -> dict[str, Any]:
        """Order a job's document again; answers the new job's `job_id`."""
        return self._json("POST", f"/v1/documents/{job_id}/retry")

    def follow(self, job_ids: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """All these jobs each time that one has changed, the last time when all have ended."""
        known: dict[str, dict[str, Any]] = {}
        going, pause_s = set(job_ids), POLL_S
        while True:
            now = {job_id: self.job(job_id) for job_id in job_ids if job_id in going}
            if any(known.get(job_id) != job for job_id, job in now.items()):
                known, pause_s = known | now, POLL_S
                yield [known[job_id] for job_id in job_ids]
            going -= {job_id for job_id, job in now.items() if JobState(job["state"]) in FINAL}
            if not going:
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, MOST_POLL_S)

    def result(self, job_id: str, form: str) -> str:
        """A job's result as `markdown`, `text` or `json`."""
        return self._ask("GET", f"/v1/documents/{job_id}/result", params={"format": form}).text

    def quote(self, files: Sequence[tuple[str, BinaryIO]], fields: Mapping[str, str]) -> dict[str, Any]:
        """What documents would cost, from their names and bytes."""
        said = {"files": [("file", file) for file in files], "data": dict(fields)}
        return self._json("POST", "/v1/quote", timeout=UPLOAD_S, **said)

    def quote_counted(self, documents: Sequence[Mapping[str, Any]], fields: Mapping[str, str]) -> dict[str, Any]:
        """What documents would cost whose pages were counted by `quote`."""
        return self._json("POST", "/v1/quote", json={"documents": documents, **fields})

    def budget(self) -> dict[str, Any]:
        """Every budget that the token may see."""
        return self._json("GET", "/v1/budget")

    def change_budget(self, change: Mapping[str, Any]) -> dict[str, Any]:
        """Set a limit, or grant something on top; answers every budget."""
        return self._json("PUT", "/v1/budget", json=dict(change))

    def usage(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What has been settled."""
        return self._json("GET", "/v1/usage", params=dict(asked))

    def usage_csv(self, asked: Mapping[str, str]) -> str:
        """What has been settled, as CSV."""
        return self._ask("GET", "/v1/usage", params={**asked, "format": "csv"}).text

    def limits(self, *, waiting: int) -> dict[str, Any]:
        """The provider's pace: what is set and learned, and `waiting` of the jobs that wait."""
        return self._json("GET", "/v1/limits", params={"waiting": waiting})

    def set_limit(self, name: str, value: str) -> dict[str, Any]:
        """Set a limit."""
        return self._json("PUT", "/v1/limits", json={name: value})

    def drifts(self, *, every: bool, limit: int) -> dict[str, Any]:
        """Bills that are not what was priced."""
        return self._json("GET", "/v1/drifts", params={"all": str(every).lower(), "limit": limit})

    def explain_drift(self, drift_id: int, words: str, billed: float | None) -> dict[str, Any]:
        """Put on record why a bill is not what was priced, and, where that was assumed, what was billed."""
        said: dict[str, Any] = {"explanation": words} | ({} if billed is None else {"billed_credits": billed})
        return self._json("POST", f"/v1/drifts/{drift_id}/explain", json=said)

    def rejected_webhooks(self, *, limit: int) -> dict[str, Any]:
        """Webhooks that were not let in."""
        return self._json("GET", "/v1/webhooks/rejected", params={"limit": limit})

    def delete(self, job_id: str) -> dict[str, Any]:
        """Delete a job's document; answers what was removed."""
        return self._json("DELETE", f"/v1/documents/{job_id}")

    def erasure(self, job_id: str) -> dict[str, Any]:
        """What was removed of a job's document that was deleted."""
        return self._json("GET", f"/v1/documents/{job_id}/erasure")

    def deliveries(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """Events for receivers, and what became of them."""
        return self._json("GET", "/v1/deliveries", params=dict(asked))

    def redeliver(self, delivery_id: str) -> dict[str, Any]:
        """Have an event sent once more."""
        return self._json("POST", f"/v1/deliveries/{delivery_id}/redeliver")

    def endpoints(self) -> dict[str, Any]:
        """Receivers that fail."""
        return self._json("GET", "/v1/endpoints")

    def enable_endpoint(self, endpoint_id: str) -> dict[str, Any]:
        """Post to a receiver again."""
        return self._json("POST", f"/v1/endpoints/{endpoint_id}/enable")

    def redo(self, *, dry_run: bool) -> dict[str, Any]:
        """Order again, for real, what the local parser stood in for, or only what that would cost."""
        return self._json("POST", "/v1/redo", json={"provenance": "mock", "dry_run": dry_run})

    def mode(self) -> dict[str, Any]:
        """The mode in force."""
        return self._json("GET", "/v1/mode")

    def set_mode(self, mode: str) -> dict[str, Any]:
        """Switch the mode."""
        return self._json("PUT", "/v1/mode", json={"mode": mode})

    def _json(self, method: str, path: str, **said: Any) -> dict[str, Any]:
        answer = self._ask(method, path, **said)
        try:
            body = answer.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise self._stranger(answer)
        return body

    def _ask(self, method: str, path: str, **said: Any) -> httpx.Response:
        if not self._greeted:
            # Neither the token nor a document goes to a stranger, and a mute one is known soon.
            self._send("GET", "/healthz", timeout=GREETING_S)
            self._greeted = True
            self._http.headers["Authorization"] = f"Bearer {self._token}"
        answer = self._send(method, path, **said)
        if answer.status_code == 401:
            raise CredentialRefused(
                "the token is not accepted: set PARSEGATE_TOKEN ('parsegate token create' makes one)"
            )
        if answer.status_code >= 400:
            raise CallRefused(_problem(answer), status=answer.status_code)
        return answer

    def _send(self, method: str, path: str, **said: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **said)
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
            words = str(error) or type(error).__name__
            raise ProviderUnavailable(
                f"no Parsegate answers at {self._shown_url} ({words}): start one with 'parsegate up', "
                "or set PARSEGATE_URL"
            ) from error
        if "Correlation-Id" not in answer.headers:
            raise self._stranger(answer)
        return answer

    @property
    def _shown_url(self) -> str:
        return without_password(self.url)

    def _stranger(self, answer: httpx.Response) -> OddAnswer:
        return OddAnswer(
            f"what answers at {self._shown_url} is not a Parsegate (HTTP {answer.status_code}): set PARSEGATE_URL to "
            "where one is"
        )


def _problem(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        problem = None
    if isinstance(problem, dict):
        words = problem.get("detail") or problem.get("title")
        if words:
            return str(words)
    return f"the server answered {answer.status_code}"


def connect(settings: Settings) -> Api:
    """The Parsegate that the settings name, or the one that runs on this machine with this data folder.

    Raises:
        BadSetting: no token is known.
    """
    url = settings.client_url or read_line(settings.data_dir / URL_FILE) or DEFAULT_URL
    token = read_line(settings.data_dir / TOKEN_FILE)
    if settings.client_token is not None:
        token = settings.client_token.get_secret_value()
    if not token:
        raise BadSetting("PARSEGATE_TOKEN is not set, and there is no 'parsegate up' with its data folder here")
    if not (token.isascii() and token.isprintable()):
        raise BadSetting("PARSEGATE_TOKEN is not a token: 'parsegate token create' makes one")
    return Api(url, token)
