"""Names every policy knows without declaring them, because their addresses are the same for everybody.

A policy's own address book comes first: a name declared there means what is declared. These are facts, not
trust: a known name permits nothing until a rule names it.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from walletgate.types import ZERO_ADDRESS, Address


def _addresses(*texts: str) -> frozenset[Address]:
    return frozenset(Address(bytes.fromhex(text[2:])) for text in texts)


KNOWN_ADDRESSES: Final[Mapping[str, frozenset[Address]]] = MappingProxyType(
    {
        "zero": frozenset({ZERO_ADDRESS}),
        "permit2": _addresses("0x000000000022D473030F116dDEE9F6B43aC78BA3"),
        "multicall3": _addresses("0xcA11bde05977b3631167028862bE2a173976CA11"),
        "x402-exact": _addresses("0x402085c248EeA27D92E8b30b2C58ed07f9E20001"),
        "x402-upto": _addresses("0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"),
        # The mixer's routers and Ethereum pools: ETH 0.1 to 100, DAI, USDC and USDT.
        "tornado": _addresses(
            "0xd90e2f925DA726b50C4Ed8D0Fb90Ad053324F31b",
            "0x722122dF12D4e14e13Ac3b6895a86e84145b6967",
            "0x12D66f87A04A9E220743712cE6d9bB1B5616B8Fc",
            "0x47CE0C6eD5B0Ce3d3A51fdb1C52DC66a7c3c2936",
            "0x910Cbd523D972eb0a6f4cAe4618aD62622b39DbF",
            "0xA160cdAB225685dA1d56aa342Ad8841c3b53f291",
            "0xD4B88Df4D29F5CedD6857912842cff3b20C8Cfa3",
            "0xFD8610d20aA15b7B2E3Be39B396a1bC3516c7144",
            "0x07687e702b410Fa43f4cB4Af7FA097918ffD2730",
            "0x23773E65ed146A459791799d01336DB287f25334",
            "0xd96f2B1c14Db8458374d9Aca76E26c3D18364307",
            "0x4736dCf1b7A3d580672CcE6E7c65cd5cc9cFBa9D",
            "0x169AD27A470D064DEDE56a2D3ff727986b15D52B",
            "0x0836222F2B2B24A3F36f98668Ed8F0B38D1a872f",
        ),
    }
)
