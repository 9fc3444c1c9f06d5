"""Loaded by schemathesis (`hooks` in schemathesis.toml): signs what should be let in, as the provider would."""

from __future__ import annotations

from typing import Any, Final

import requests
import schemathesis
from requests.auth import AuthBase

from domain.signatures import signature_003
from tests.gateway_harness import sign

SECRET_003: Final = "the older webhooks' secret"


class Signed(AuthBase):
    """Signs a request's raw body, once there is one."""

    def __init__(self, job_id: str | None) -> None:
        self._job_id = job_id

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        assert isinstance(body, str | bytes)
        raw = body.encode() if isinstance(body, str) else body
        if "LC-Signature" in request.headers and self._job_id is not None:
            request.headers["LC-Signature"] = sign(self._job_id, raw)
        if "X-Webhook-Signature" in request.headers:
            request.headers["X-Webhook-Signature"] = signature_003(SECRET_003, raw)
        return request


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Sign what is right otherwise; what is wrong on purpose stays so."""
    is_right = case.meta is not None and case.meta.generation.mode.is_positive
    if is_right and case.operation.path.startswith(("/webhook", "/api/v1/webhooks")):
        kwargs["auth"] = Signed((case.path_parameters or {}).get("job_id"))
