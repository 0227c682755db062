"""A `requests.Session` that pays for 402 answers.

As with httpx: the payment follows no redirect, and only the host that was called is paid.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any
from urllib.parse import urlsplit

import requests

from walletgate.agent.errors import OfferRefused, make
from walletgate.agent.x402 import HEADER, X402Client, is_x402

_inside: ContextVar[bool] = ContextVar("walletgate_x402_inside", default=False)


class PayingSession(requests.Session):
    """A session whose calls pay."""

    def __init__(self, shop: X402Client) -> None:
        super().__init__()
        self._shop = shop

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Sends, and where the answer is 402, pays and sends again.

        Raises:
            As requests; GateDenied, ApprovalPending, ApprovalRejected, OfferRefused, PaidNotServed.
        """
        if _inside.get():
            # requests comes by here for each redirect it follows.
            return super().send(request, **options)
        token = _inside.set(True)
        try:
            return self._send(request, options)
        finally:
            _inside.reset(token)

    def _send(self, request: requests.PreparedRequest, options: dict[str, Any]) -> requests.Response:
        response = super().send(request, **options)
        if response.status_code != requests.codes.payment_required:
            return response
        if not is_x402(response.headers.get(HEADER), response.content):
            return response
        asked = response.request
        with self._shop.call(asked.method or "", asked.url or "", _body(request, asked)) as call:
            while response.status_code == requests.codes.payment_required:
                paid = asked.copy()
                paid.headers.update(call.pays(response.headers.get(HEADER), response.content))
                try:
                    response = super().send(paid, **{**options, "allow_redirects": False})
                except requests.RequestException as error:
                    raise call.not_served(f"did not answer ({type(error).__name__})") from error
                call.answered(response.status_code)
        return response


def _body(request: requests.PreparedRequest, asked: requests.PreparedRequest) -> bytes:
    first, last = urlsplit(request.url or ""), urlsplit(asked.url or "")
    if str(first.hostname) != str(last.hostname) or (first.scheme == "https" and last.scheme != "https"):
        raise make(OfferRefused, "a redirect leads to another place that asks for money", code="x402_redirected")
    body = asked.body or b""
    if not isinstance(body, bytes | str):
        raise make(OfferRefused, "a body that is read once cannot be sent again with a payment", code="x402_body_gone")
    return body.encode() if isinstance(body, str) else body
