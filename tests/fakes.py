"""A chain that lives in memory and misbehaves on demand; the only fake of a node in these tests.

It keeps real nonces, takes each nonce once, mines when told (or at once), and can be away, refuse, take a
transaction and say nothing, drop what it took, revert, or reorganise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import rlp
from eth_account import Account
from eth_account.typed_transactions import TypedTransaction
from hexbytes import HexBytes

from walletgate.chain import Block, FeeQuote, NodeRefusedError, Receipt
from walletgate.encoding import keccak256
from walletgate.errors import ChainError
from walletgate.types import Address, Hash32, Transaction

GWEI = 10**9


@dataclass
class Sent:
    """A transaction the chain took: whose, which nonce, and where it is mined."""

    sender: Address
    nonce: int
    raw: bytes
    block: int | None = None
    succeeded: bool = True
    mined_ms: int | None = None


@dataclass
class FakeChain:
    """Implements `walletgate.chain.Chain`. Set a field and it behaves so from the next call on."""

    chain_id: int = 31337
    head: int = 100
    mine_at_once: bool = True
    away: bool = False
    refuse: str | None = None
    silent: bool = False
    revert: bool = False
    estimate: int | str = 50_000
    base_fee: int = GWEI
    fee_per_gas: int = GWEI
    balances: dict[Address, int] = field(default_factory=dict)
    starts: dict[Address, int] = field(default_factory=dict)
    sent: dict[Hash32, Sent] = field(default_factory=dict)
    received: list[bytes] = field(default_factory=list)
    forwarded: list[tuple[str, tuple[object, ...]]] = field(default_factory=list)
    answers: dict[str, object] = field(default_factory=dict)
    reads: dict[tuple[str, str], str] = field(default_factory=dict)
    """Results of `eth_call` by contract and calldata, both in lower-case hex."""
    clock_ms: Callable[[], int] = lambda: 0
    fork: int = 0
    """Every reorganisation makes other blocks: their hashes change from `forked_at` on."""
    forked_at: int = 0
    times_s: dict[int, int] = field(default_factory=dict)

    async def forward(self, method: str, params: Sequence[object]) -> object:
        self._check()
        self.forwarded.append((method, tuple(params)))
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        if method == "eth_call" and answer is None and self.reads:
            call: dict[str, str] = params[0]  # type: ignore[assignment]
            return self.reads.get((call["to"].lower(), call["data"].lower()))
        return answer

    async def block(self, number: int) -> Block | None:
        self._check()
        if number > self.head:
            return None
        return Block(number, self.hash_of(number), self.times_s.get(number, self.clock_ms() // 1000))

    def hash_of(self, number: int) -> str:
        branch = self.fork if number >= self.forked_at else 0
        return "0x" + keccak256(f"{number}/{branch}".encode()).hex()

    async def block_number(self) -> int:
        self._check()
        return self.head

    async def nonce(self, wallet: Address, block: str) -> int:
        self._check()
        height = self.head if block in ("latest", "pending") else int(block, 16)
        mined = [s.nonce for s in self.sent.values() if s.sender == wallet and (s.block or 2**62) <= height]
        waiting = [s.nonce for s in self.sent.values() if s.sender == wallet] if block == "pending" else []
        start = self.starts.get(wallet, 0)
        return max([start, *(n + 1 for n in (*mined, *waiting))])

    async def fees(self) -> FeeQuote:
        self._check()
        return FeeQuote(self.base_fee, GWEI // 10)

    async def estimate_gas(self, call: Transaction) -> int:
        self._check()
        if isinstance(self.estimate, str):
            raise NodeRefusedError(3, self.estimate)
        return self.estimate

    async def balance(self, wallet: Address) -> int:
        self._check()
        return self.balances.get(wallet, 10**18)

    async def send_raw(self, raw: bytes) -> None:
        self.received.append(raw)
        if self.away:
            raise ChainError("no answer", code="broadcast_uncertain")
        if self.refuse is not None:
            raise ChainError("refused", code="broadcast_rejected", data={"node_message": self.refuse})
        self.take(raw)
        if self.silent:
            raise ChainError("no answer", code="broadcast_uncertain")

    async def receipt(self, tx_hash: Hash32) -> Receipt | None:
        self._check()
        found = self.sent.get(tx_hash)
        if found is None or found.block is None:
            return None
        return Receipt(found.block, found.succeeded, 21_000, 21_000 * self.fee_per_gas, self.hash_of(found.block))

    async def close(self) -> None:
        pass

    def take(self, raw: bytes) -> Sent:
        """Puts signed bytes into the pool, and into a block if this chain mines at once."""
        tx_hash = Hash32(keccak256(raw))
        if tx_hash in self.sent:
            return self.sent[tx_hash]
        sender, nonce = sender_and_nonce(raw)
        taken = Sent(sender, nonce, raw, succeeded=not self.revert)
        self.sent[tx_hash] = taken
        if self.mine_at_once:
            self.mine()
        return taken

    def mine(self, blocks: int = 1) -> None:
        """Mines everything that waits, then goes on for `blocks` blocks; one transaction a nonce."""
        for number in range(blocks):
            self.head += 1
            self.times_s[self.head] = self.clock_ms() // 1000
            if number:
                continue
            taken = {(s.sender, s.nonce) for s in self.sent.values() if s.block is not None}
            for sent in sorted(self.sent.values(), key=lambda s: s.nonce):
                if sent.block is None and (sent.sender, sent.nonce) not in taken:
                    sent.block = self.head
                    sent.mined_ms = self.clock_ms()
                    taken.add((sent.sender, sent.nonce))

    def drop(self, tx_hash: Hash32) -> None:
        """Forgets a transaction that is not mined."""
        if self.sent[tx_hash].block is None:
            del self.sent[tx_hash]

    def reorganise(self, depth: int) -> None:
        """Takes the newest `depth` blocks back; their transactions wait again."""
        for sent in self.sent.values():
            if sent.block is not None and sent.block > self.head - depth:
                sent.block = None
        self.head -= depth
        self.fork += 1
        self.forked_at = self.head + 1

    def _check(self) -> None:
        if self.away:
            raise ChainError("no answer")


def sender_and_nonce(raw: bytes) -> tuple[Address, int]:
    """Who signed a raw transaction, and its nonce; by eth-account, not by our own code."""
    sender = Address(bytes.fromhex(Account.recover_transaction(raw)[2:]))
    if raw[0] < 0x7F:
        return sender, int(TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"])
    return sender, int.from_bytes(rlp.decode(raw)[0], "big")
