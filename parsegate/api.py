"""Parsegate's own HTTP interface, from the client's side."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import httpx

from domain.errors import BadSetting, CallRefused, CredentialRefused, OddAnswer, ProviderUnavailable
from domain.job_state import FINAL, JobState
from domain.settings import Settings
from parsegate.data_folder import TOKEN_FILE, URL_FILE

DEFAULT_URL: Final = "http://127.0.0.1:8080"
POLL_S: Final = 0.1
MOST_POLL_S: Final = 1.0


class Api:
    """One Parsegate.

    Every call raises `ProviderUnavailable` if it can't be reached, `CallRefused` if it refuses, `CredentialRefused` if
    the token is not accepted.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=httpx.Timeout(60.0, connect=5.0)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._http.close()

    def submit(self, content: BinaryIO, filename: str, fields: Mapping[str, str]) -> dict[str, Any]:
        """Order a document; answers `job_id`, `document_id`, `state`."""
        return self._json("POST", "/v1/documents", files={"file": (filename, content)}, data=dict(fields))

    def job(self, job_id: str) -> dict[str, Any]:
        """A job as it stands."""
        return self._json("GET", f"/v1/documents/{job_id}")

    def follow(self, job_id: str) -> Iterator[dict[str, Any]]:
        """A job each time it has changed, the last time when it has ended."""
        seen, pause_s = None, POLL_S
        while True:
            job = self.job(job_id)
            if job != seen:
                seen, pause_s = job, POLL_S
                yield job
            if JobState(job["state"]) in FINAL:
                return
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, MOST_POLL_S)

    def result(self, job_id: str, form: str) -> str:
        """A job's result as `markdown`, `text` or `json`."""
        return self._ask("GET", f"/v1/documents/{job_id}/result", params={"format": form}).text

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
            raise OddAnswer(f"{self.url} is not a Parsegate", evidence=answer.text) from None
        if not isinstance(body, dict):
            raise OddAnswer(f"{self.url} is not a Parsegate", evidence=answer.text)
        return body

    def _ask(self, method: str, path: str, **said: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **said)
        except httpx.TransportError as error:
            words = str(error) or type(error).__name__
            raise ProviderUnavailable(
                f"no Parsegate answers at {self.url} ({words}): start one with 'parsegate up', or set PARSEGATE_URL"
            ) from error
        if answer.status_code == 401:
            raise CredentialRefused(
                "the token is not accepted: set PARSEGATE_TOKEN ('parsegate token create' makes one)"
            )
        if answer.status_code >= 400:
            raise CallRefused(_problem(answer), status=answer.status_code)
        return answer


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
    url = settings.client_url or _read(settings.data_dir / URL_FILE) or DEFAULT_URL
    token = _read(settings.data_dir / TOKEN_FILE)
    if settings.client_token is not None:
        token = settings.client_token.get_secret_value()
    if not token:
        raise BadSetting("PARSEGATE_TOKEN is not set, and there is no 'parsegate up' with its data folder here")
    return Api(url, token)


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
