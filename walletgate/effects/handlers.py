"""Handlers that many families share, for functions whose effects are plain from their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from walletgate.effects.registry import Frame, Handler
from walletgate.types import Effect

Part = tuple[int, str]
"""Index of an address argument, and what goes to that address."""


def nothing(_frame: Frame) -> Iterable[Effect]:
    """The call itself is all there is to say."""
    return ()


def redirects(*parts: Part) -> Handler:
    """Nothing leaves; only says who gets what."""

    def handler(frame: Frame) -> Iterator[Effect]:
        for index, what in parts:
            yield frame.redirect(frame.args[index], what)

    return handler


def spends(asset: int, amount: int, *parts: Part) -> Handler:
    """Takes argument `amount` of the token in argument `asset`, and says who gets what."""

    def handler(frame: Frame) -> Iterator[Effect]:
        yield frame.spend(frame.args[asset], frame.args[amount])
        for index, what in parts:
            yield frame.redirect(frame.args[index], what)

    return handler
