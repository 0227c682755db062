"""The vocabulary: what agents ask, what it would do, and what was decided about it.

Values only: frozen, slotted, without behaviour beyond their own invariants, importing nothing of ours.
Units: `value` is wei sent with a call, `amount` is base units of an asset, `fee` is wei, `gas` is
units; times are Unix seconds unless the name ends in `_ms`. Addresses and hashes are `bytes` inside and
`0x` hex at the edge. `to` is a call's target, `recipient` gets the asset.

Effects (design: *effects, not addresses*) are what a request would do, complete and flat: nested calls
have been unrolled, and each effect's `path` says where in the request it was found
(`"calls[0].multicall[2]"`, `""` for the top). Whatever could not be understood in full is `Opaque`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum, StrEnum
from typing import NewType

Address = NewType("Address", bytes)
"""20 bytes."""

Hash32 = NewType("Hash32", bytes)
"""32 bytes: keccak-256 or SHA-256, the name of the field says which."""

NATIVE = Address(b"\xee" * 20)
"""Stands for a chain's own coin where a token address is expected (ERC-7528)."""

ZERO_ADDRESS = Address(b"\x00" * 20)
UINT256_MAX = 2**256 - 1

AbiValue = int | bool | bytes | str | tuple["AbiValue", ...]
"""A decoded ABI value: addresses are 20 bytes, tuples and arrays are tuples."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A fungible asset's identity: never a symbol, always chain and contract."""

    chain_id: int
    address: Address

    def __hash__(self) -> int:
        """By the address alone, whose hash Python keeps: assets are looked up many times in each request."""
        return hash(self.address)

    @property
    def is_native(self) -> bool:
        """Whether this is the chain's own coin."""
        return self.address == NATIVE


# --- requests: what an agent asks ------------------------------------------------------------------


class TransactionType(IntEnum):
    """EIP-2718 transaction types the gate knows by number."""

    LEGACY = 0
    ACCESS_LIST = 1
    FEE_MARKET = 2
    BLOB = 3
    SET_CODE = 4


@dataclass(frozen=True, slots=True)
class AccessEntry:
    """One row of an EIP-2930 access list."""

    address: Address
    storage_keys: tuple[Hash32, ...]


@dataclass(frozen=True, slots=True)
class CodeAuthorization:
    """An EIP-7702 authorization tuple; chain 0 is valid on every chain. Not signed yet when `signature` is None."""

    chain_id: int
    address: Address
    nonce: int | None
    signature: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class TransactionRequest:
    """A transaction as an agent asks for it; None means the gate fills it in."""

    chain_id: int | None
    sender: Address
    to: Address | None
    value: int
    data: bytes
    type: TransactionType | None = None
    gas: int | None = None
    gas_price: int | None = None
    max_fee_per_gas: int | None = None
    max_priority_fee_per_gas: int | None = None
    nonce: int | None = None
    access_list: tuple[AccessEntry, ...] | None = None
    authorization_list: tuple[CodeAuthorization, ...] = ()
    max_fee_per_blob_gas: int | None = None
    blob_hashes: tuple[Hash32, ...] = ()


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction complete but for its nonce, which the gate assigns when it signs.

    For LEGACY and ACCESS_LIST `max_fee_per_gas` is the gas price and `max_priority_fee_per_gas` equals it.
    """

    type: TransactionType
    chain_id: int
    sender: Address
    to: Address | None
    value: int
    data: bytes
    gas: int
    max_fee_per_gas: int
    max_priority_fee_per_gas: int
    access_list: tuple[AccessEntry, ...] = ()
    authorization_list: tuple[CodeAuthorization, ...] = ()
    max_fee_per_blob_gas: int = 0
    blob_hashes: tuple[Hash32, ...] = ()

    @property
    def max_fee(self) -> int:
        """The most this transaction can cost in fees, in wei (EIP-1559, EIP-4844: 131,072 gas a blob)."""
        return self.gas * self.max_fee_per_gas + self.max_fee_per_blob_gas * 131_072 * len(self.blob_hashes)


@dataclass(frozen=True, slots=True)
class Batch:
    """Several calls asked for as one (EIP-5792 `wallet_sendCalls`)."""

    chain_id: int
    sender: Address
    calls: tuple[TransactionRequest, ...]
    atomic_required: bool = False
    capabilities: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TypedData:
    """EIP-712 data: `document` is the parsed JSON (types, primaryType, domain, message), parsed once, strictly."""

    signer: Address
    document: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TextMessage:
    """EIP-191 version E (`personal_sign`): the exact bytes that would be signed."""

    signer: Address
    data: bytes


@dataclass(frozen=True, slots=True)
class RawHash:
    """A bare 32-byte digest (`eth_sign` and the like): always blind."""

    signer: Address
    digest: bytes


Payload = Transaction | Batch | TypedData | TextMessage | RawHash | CodeAuthorization


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the agent says it means to do; effects that differ are refused whatever the policy says.

    `amount` is a decimal string in human units of the policy's asset `asset`; None leaves a field open.
    """

    asset: str | None = None
    amount: str | None = None
    recipient: Address | None = None


# --- effects: what it would do ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Transfer:
    """`amount` of `asset` leaves `sender` for `recipient`.

    `via` is the protocol contract that takes the funds (router, vault, the callee of a call with value);
    None for a plain payment. A burn has ZERO_ADDRESS as recipient. Signed authorizations count here, too.
    """

    asset: Asset
    sender: Address
    recipient: Address
    amount: int
    via: Address | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Allowance:
    """`spender` may take up to `amount` of `owner`'s `asset` until `expires_at` (None: no end). 0 revokes.

    `added` says that the amount comes on top of what is there (increaseAllowance).
    """

    asset: Asset
    owner: Address
    spender: Address
    amount: int
    expires_at: int | None = None
    added: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class NftTransfer:
    """`amount` (1 for ERC-721) of token `token_id` leaves `sender`.

    `price` is the least it brings, in wei of the coin or its wrapped form; None if it is not a sale.
    """

    collection: Asset
    token_id: int
    amount: int
    sender: Address
    recipient: Address
    price: int | None = None
    via: Address | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class NftApproval:
    """`spender` may move one token of a collection; ZERO_ADDRESS revokes."""

    collection: Asset
    token_id: int
    owner: Address
    spender: Address
    path: str = ""


@dataclass(frozen=True, slots=True)
class OperatorApproval:
    """`operator` may move everything of `owner` in `contract` (setApprovalForAll and its kin), or no longer."""

    contract: Asset
    owner: Address
    operator: Address
    approved: bool
    path: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of `signature` (canonical, e.g. `supply(address,uint256,address,uint16)`) on `to`, with `value` wei.

    `delegate` marks a delegatecall: foreign code with the wallet's own powers.
    """

    chain_id: int
    to: Address
    selector: bytes
    signature: str
    args: tuple[AbiValue, ...]
    value: int = 0
    delegate: bool = False
    path: str = ""


@dataclass(frozen=True, slots=True)
class Receive:
    """A swap's or order's proceeds: at least `min_amount` of `asset` to `recipient`, for `sold_amount` of `sold`.

    `asset` None: calldata does not name it. `deadline` None: the call has none.
    """

    asset: Asset | None
    recipient: Address
    min_amount: int
    sold: Asset | None = None
    sold_amount: int = 0
    deadline: int | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """Something of value is routed to `recipient`: shares, debt, refunds, proceeds, bridged funds, a name."""

    recipient: Address
    what: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class FeeShare:
    """`recipient` takes `bips` (1/10,000) of a swap's or sale's proceeds."""

    recipient: Address
    bips: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Delegation:
    """Power handed over.

    `kind` is `set_code` (EIP-7702), `votes`, `erc7710`, `session_key`, `spend_permission`, `module`, …
    """

    kind: str
    delegate: Address
    chain_id: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class AdminChange:
    """Ownership, roles, owners of a Safe, upgrades, names: `action` on `contract` in favour of `subject`."""

    contract: Asset
    action: str
    subject: Address | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """New code is created with `value` wei; `init_code_hash` is its keccak-256."""

    chain_id: int
    value: int
    init_code_hash: Hash32
    path: str = ""


@dataclass(frozen=True, slots=True)
class TypedSignature:
    """An EIP-712 signature under a known type: judged beside the effects it authorises.

    `valid_after`/`valid_until` bound its life (Unix seconds; None: the type has no such field).
    """

    chain_id: int
    contract: Address
    primary_type: str
    type_hash: Hash32
    valid_after: int | None = None
    valid_until: int | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class Login:
    """A Sign-In with Ethereum message (EIP-4361), parsed by its grammar."""

    domain: str
    uri: str
    chain_id: int
    statement: str | None = None
    expires_at: int | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A readable text that moves nothing by itself."""

    text: str
    path: str = ""


@dataclass(frozen=True, slots=True)
class TrailingBytes:
    """Canonical calldata followed by `size_bytes` more bytes, such as an ERC-8021 attribution suffix."""

    size_bytes: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Fee:
    """The most the request can cost in network fees, in wei of the chain's coin."""

    chain_id: int
    amount: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class Opaque:
    """Bytes whose meaning is not fully known. Refused unless a policy names exactly this kind of blindness.

    `code` is stable (`noncanonical_abi`, `unknown_function`, `unknown_type_hash`, `too_deep`, `blind_hash`, …).
    """

    code: str
    detail: str
    target: Address | None = None
    path: str = ""


Effect = (
    Transfer
    | Allowance
    | NftTransfer
    | NftApproval
    | OperatorApproval
    | Call
    | Receive
    | Redirect
    | FeeShare
    | Delegation
    | AdminChange
    | Deployment
    | TypedSignature
    | Login
    | MessageSignature
    | TrailingBytes
    | Fee
    | Opaque
)


# --- decisions -------------------------------------------------------------------------------------


class Outcome(IntEnum):
    """Deny is zero, so that nothing unset ever reads as allowed; the least one wins."""

    DENY = 0
    REQUIRE_APPROVAL = 1
    ALLOW = 2


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: a stable `code`, the rule's name, a sentence, and the two numbers that disagreed.

    `actual` and `bound` are base units, wei, counts, or seconds as `unit` says; both None when no number was involved.
    """

    code: str
    text: str
    rule: str | None = None
    actual: int | None = None
    bound: int | None = None
    unit: str | None = None
    path: str = ""


@dataclass(frozen=True, slots=True)
class ApprovalGroup:
    """`quorum` of the operators `of`."""

    quorum: int
    of: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """What it takes to lift one REQUIRE_APPROVAL: `quorum` of the operators `of`, within `within_s` seconds.

    With `groups` it takes every one of them, by different people, or only one if `every` is False; `quorum` and `of`
    are then the least number of people and all who may be among them. `apart` bars those who drafted the policy in
    force or gave the grant.
    """

    rule: str
    quorum: int
    of: tuple[str, ...]
    within_s: int
    groups: tuple[ApprovalGroup, ...] = ()
    every: bool = True
    apart: bool = False


class Measure(Enum):
    """What a limit adds up."""

    AMOUNT = "amount"
    COUNT = "count"
    FEE = "fee"
    QUOTE = "quote"


@dataclass(frozen=True, slots=True)
class Bucket:
    """The name of one running total: every field that is set narrows what is added up.

    `asset` is None for COUNT over all assets; `unit` names the quote currency for QUOTE.
    """

    measure: Measure
    asset: Asset | None = None
    grant: str | None = None
    group: str | None = None
    wallet: Address | None = None
    recipient: Address | None = None
    contract: Address | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Booking:
    """One amount a request takes from the budgets when it is authorised; the ledger adds grant and wallet.

    For FEE `asset` is the chain's coin; for QUOTE `unit` is the currency and `amount` is in its 10^-18 parts.
    """

    measure: Measure
    amount: int
    asset: Asset | None = None
    recipient: Address | None = None
    contract: Address | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """The judge's word on one request: outcome, every reason, what approvals would lift it, what to book."""

    outcome: Outcome
    reasons: tuple[Reason, ...]
    policy_hash: Hash32
    approvals: tuple[ApprovalTerms, ...] = ()
    bookings: tuple[Booking, ...] = ()


class Status(StrEnum):
    """Where a request is. `received` is never stored: the first stored state is a decision's."""

    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SIGNED = "signed"
    BROADCAST = "broadcast"
    CONFIRMED = "confirmed"
    REVERTED = "reverted"
    REPLACED = "replaced"
    DROPPED = "dropped"


CHAINS: Mapping[str, tuple[int, str]] = {
    "ethereum": (1, "ETH"),
    "optimism": (10, "ETH"),
    "bsc": (56, "BNB"),
    "polygon": (137, "POL"),
    "base": (8453, "ETH"),
    "arbitrum": (42161, "ETH"),
    "sepolia": (11155111, "ETH"),
    "base-sepolia": (84532, "ETH"),
    "anvil": (31337, "ETH"),
    "eth-tester": (131277322940537, "ETH"),
}
"""Names a policy may use for a chain, with the chain id (EIP-155) and the symbol of its coin."""
