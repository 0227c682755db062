"""httpx clients that pay for 402 answers, sync and async.

A call that is paid for follows no redirect with the payment, and no other host than the one called is paid for it.
Options, timeouts, cookies and transports are httpx's own.
"""

from __future__ import annotations

from typing import Any

import httpx

from walletgate.agent.errors import OfferRefused, make
from walletgate.agent.x402 import HEADER, X402Client, is_x402


class PayingClient(httpx.Client):
    """An `httpx.Client` whose calls pay."""

    def __init__(self, shop: X402Client, **options: Any) -> None:
        super().__init__(**options)
        self._shop = shop

    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Sends, and where the answer is 402, pays and sends again.

        Raises:
            As httpx; GateDenied, ApprovalPending, ApprovalRejected, OfferRefused, PaidNotServed.
        """
        request.read()
        response = super().send(request, **options)
        if not _asks(response) or not is_x402(response.headers.get(HEADER), response.read()):
            return response
        asked = _asked(request, response)
        with self._shop.call(asked.method, str(asked.url), asked.content) as call:
            while _asks(response):
                paid = _paid(asked, call.pays(response.headers.get(HEADER), response.read()))
                try:
                    response = super().send(paid, **{**options, "follow_redirects": False})
                except httpx.HTTPError as error:
                    raise call.not_served(f"did not answer ({type(error).__name__})") from error
                call.answered(response.status_code)
        return response


class AsyncPayingClient(httpx.AsyncClient):
    """An `httpx.AsyncClient` whose calls pay."""

    def __init__(self, shop: X402Client, **options: Any) -> None:
        super().__init__(**options)
        self._shop = shop

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """As `PayingClient.send`; the gate, and whoever decides there, is waited for on a thread."""
        await request.aread()
        response = await super().send(request, **options)
        if not _asks(response) or not is_x402(response.headers.get(HEADER), await response.aread()):
            return response
        asked, threads = _asked(request, response), self._shop.account.threads
        with self._shop.call(asked.method, str(asked.url), asked.content) as call:
            while _asks(response):
                header = response.headers.get(HEADER)
                paid = _paid(asked, await threads.run(call.pays, header, await response.aread()))
                try:
                    response = await super().send(paid, **{**options, "follow_redirects": False})
                except httpx.HTTPError as error:
                    raise call.not_served(f"did not answer ({type(error).__name__})") from error
                call.answered(response.status_code)
        return response


def _asks(response: httpx.Response) -> bool:
    return response.status_code == httpx.codes.PAYMENT_REQUIRED


def _asked(request: httpx.Request, response: httpx.Response) -> httpx.Request:
    """The request that the 402 answers, on the host that was called."""
    asked = response.request
    if asked.url.host != request.url.host or (request.url.scheme == "https" and asked.url.scheme != "https"):
        raise make(OfferRefused, "a redirect leads to another place that asks for money", code="x402_redirected")
    return asked


def _paid(asked: httpx.Request, header: dict[str, str]) -> httpx.Request:
    headers = httpx.Headers(asked.headers)
    headers.update(header)
    return httpx.Request(asked.method, asked.url, headers=headers, content=asked.content, extensions=asked.extensions)
