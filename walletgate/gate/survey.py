"""Asking nodes what a policy pins, for `policy lint`. An answer that makes no sense is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from walletgate.chain import NodeChain, NodeRefusedError
from walletgate.encoding import checksum_address, printable
from walletgate.errors import ChainError
from walletgate.policy import Policy
from walletgate.policy.onchain import ChainSays, Wanted, read_code, read_number, read_text, wanted
from walletgate.types import Address

T = TypeVar("T")
_DECIMALS: Final = "0x313ce567"
_SYMBOL: Final = "0x95d89b41"


async def survey(policy: Policy, urls: Mapping[int, str]) -> dict[int, ChainSays]:
    """What the nodes at `urls`, by chain id, say about what `policy` pins."""
    return {
        chain_id: await _ask_chain(NodeChain(urls[chain_id], chain_id), asked)
        for chain_id, asked in wanted(policy).items()
        if chain_id in urls
    }


async def _ask_chain(chain: NodeChain, asked: Wanted) -> ChainSays:
    try:
        await chain.check()
        return ChainSays(
            chain_id=chain.chain_id,
            code={a: found for a in sorted(asked.code) if (found := await _ask(chain, a, None, read_code)) is not None},
            decimals={a: await _ask(chain, a, _DECIMALS, read_number) for a in sorted(asked.numbers)},
            symbols={a: await _ask(chain, a, _SYMBOL, read_text) for a in sorted(asked.tokens)},
        )
    except ChainError as error:
        actual = error.data.get("actual")
        if error.code == "wrong_chain" and isinstance(actual, int):
            return ChainSays(chain_id=actual)
        return ChainSays(problem=error.detail)
    except NodeRefusedError as refusal:
        return ChainSays(problem=f"the node refuses: {printable(refusal.message, length_max=100)}")
    finally:
        await chain.close()


async def _ask(chain: NodeChain, address: Address, data: str | None, read: Callable[[object], T | None]) -> T | None:
    """One answer; a call that reverts has none.

    Raises:
        ChainError: the node itself does not answer.
    """
    to = checksum_address(address)
    try:
        if data is None:
            return read(await chain.forward("eth_getCode", (to, "latest")))
        return read(await chain.forward("eth_call", ({"to": to, "data": data}, "latest")))
    except NodeRefusedError:
        return None
