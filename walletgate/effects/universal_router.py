"""Uniswap's Universal Router: a plan of commands, followed from the caller's pocket to the last delivery.

A plan is a byte string of commands and an input for each. Tokens come from the caller through Permit2 or are
already in the router; they may be swapped, unwrapped and swept in steps, so that only the step which pays out
says who gets how much. The router's own words: recipient 1 is the caller, 2 the router, amount 2^255 all that
the router holds. A command outside this table, or one that is allowed to fail although it delivers something,
makes the plan opaque.

Routers from 2.1.1 on add minimum prices per hop to the swaps; both layouts are canonical and cannot be confused.
They also read seven bits of a command, where older ones read six and take 0x40 for 0x00: so the deposit with
Across, 0x40, is read only at the addresses of routers that know it. 0x11 to 0x14 move NFTs on the oldest routers
and liquidity positions on newer ones, in calls of other contracts by the router: they stay opaque
(`command_by_version`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from walletgate.effects.abi import AbiError, decode_prefix, parse_types
from walletgate.effects.bridges import SPOKE_POOLS, Deposit, across_effects
from walletgate.effects.ledger import Holding, Ledger
from walletgate.effects.permits import permit2_expiry, unlimited
from walletgate.effects.registry import DEPTH_MAX, Frame, address, join, rule
from walletgate.effects.swaps import CALLER, ROUTER, path_ends
from walletgate.effects.v4 import v4_plan
from walletgate.effects.wrapped import WRAPPED
from walletgate.types import (
    NATIVE,
    UINT256_MAX,
    ZERO_ADDRESS,
    Address,
    Allowance,
    Asset,
    Effect,
    FeeShare,
    Opaque,
    Receive,
    Redirect,
    TrailingBytes,
    Transfer,
)

SEVEN_BITS: Final = frozenset(
    (chain, address(text))
    for chain, text in (
        (1, "0x4C82D1fBFe28C977cBB58D8C7FF8FCF9F70a2cCA"),
        (1, "0x23617e59A5925b2A4Bf75d73ff6711cD0b29De85"),
        (56, "0xDc264714F68d84CF29BC605589405E78bDBE7C9f"),
        (137, "0xDc264714F68d84CF29BC605589405E78bDBE7C9f"),
        (8453, "0xFdf682F51FE81Aa4898F0AE2163d8A55c127fbC7"),
        (8453, "0xd6145b2D3F379919E8CdEda7B97e37c4b2Ca9c40"),
    )
)
"""Routers 2.1.1 and 2.1.2 (the project's list of deployments), which know the commands from 0x40 on."""

ALL_HELD: Final = 1 << 255
_BY_VERSION: Final = range(0x11, 0x15)
_MAY_REVERT: Final = 0x80
_PERMITS: Final = frozenset((0x03, 0x0A))

_DETAILS: Final = "(address token,uint160 amount,uint48 expiration,uint48 nonce)"


class Step(NamedTuple):
    """One command of a plan, its input decoded."""

    frame: Frame
    ledger: Ledger
    args: tuple[Any, ...]
    path: str
    depth: int

    def who(self, recipient: Address) -> Address:
        """The router's two constants in full."""
        if recipient == CALLER:
            return self.frame.sender
        return self.frame.to if recipient == ROUTER else recipient

    def asset(self, contract: Address) -> Asset:
        """A token of the plan; zero is the native coin."""
        return self.frame.asset(NATIVE if contract == ZERO_ADDRESS else contract)

    def ether(self) -> Asset:
        """Wrapped ether on this chain."""
        return self.frame.asset(WRAPPED.get(self.frame.chain_id, ZERO_ADDRESS))


def _plan(frame: Frame) -> Iterator[Effect]:
    commands, inputs, *deadline = frame.args
    ledger = Ledger(frame.to, frame.sender, *deadline, used=True)
    ledger.put(frame.native, frame.value)
    yield from _steps(frame, ledger, commands, inputs, (frame.path, frame.depth))
    yield from ledger.close(frame.path)


def _steps(
    frame: Frame, ledger: Ledger, commands: bytes, inputs: tuple[bytes, ...], place: tuple[str, int]
) -> Iterator[Effect]:
    path, depth = place
    if len(commands) != len(inputs):
        yield Opaque("malformed_batch", "as many inputs as commands are needed", frame.to, path)
        return
    if depth > DEPTH_MAX:
        yield Opaque("too_deep", "plans nested too deeply", frame.to, path)
        return
    for index, (byte, data) in enumerate(zip(commands, inputs, strict=True)):
        here = join(path, f"commands[{index}]")
        command = byte & 0x7F
        if byte & _MAY_REVERT and command not in _PERMITS:
            yield Opaque("may_revert", f"command 0x{command:02x} may fail unnoticed", frame.to, here)
        yield from _command(Step(frame, ledger, (), here, depth), command, data)


def _command(step: Step, command: int, data: bytes) -> Iterator[Effect]:
    known = _COMMANDS.get(command)
    if command in _BY_VERSION:
        detail = f"command 0x{command:02x} depends on the router's version"
        yield Opaque("command_by_version", detail, step.frame.to, step.path)
        return
    if known is None or (command > 0x3F and (step.frame.chain_id, step.frame.to) not in SEVEN_BITS):
        yield Opaque("unknown_command", f"command 0x{command:02x}", step.frame.to, step.path)
        return
    layouts, handler = known
    for layout in layouts:
        try:
            args, end = decode_prefix(parse_types(layout), data)
        except AbiError:
            continue
        yield from handler(step._replace(args=args))
        if end != len(data):
            yield TrailingBytes(len(data) - end, step.path)
        return
    yield Opaque("noncanonical_abi", f"input of command 0x{command:02x}", step.frame.to, step.path)


def _swap(step: Step, ends: tuple[Address, Address] | None, *, exact_out: bool) -> Iterator[Effect]:
    recipient, first, second, _, by_user, *_ = step.args
    if ends is None:
        yield Opaque("malformed_path", "the path is not a list of tokens", step.frame.to, step.path)
        return
    amount_in, amount_out = (second, first) if exact_out else (first, second)
    sold_asset, bought = step.asset(ends[0]), step.asset(ends[1])
    if by_user:
        taker = step.frame.to
        yield Transfer(sold_asset, step.frame.sender, taker, amount_in, via=taker, path=step.path)
        sold = Holding(0, sold_asset, amount_in)
    else:
        sold = _from_held(step.ledger, sold_asset, amount_in, exact=not exact_out)
    target = step.who(recipient)
    if target == step.frame.to:
        step.ledger.gain(bought, Holding(amount_out, sold.sold, sold.sold_amount))
    else:
        deadline = step.ledger.deadline
        yield Receive(bought, target, amount_out, sold.sold, sold.sold_amount, deadline, step.path)


def _from_held(ledger: Ledger, asset: Asset, amount: int, *, exact: bool) -> Holding:
    """What was sold for what the router sells now: the caller's own asset, at the beginning of the chain."""
    held = ledger.held(asset)
    everything = amount in (0, ALL_HELD)
    ledger.use(asset, UINT256_MAX if everything else amount, exact=exact)
    if held is None:
        return Holding(0, asset, 0 if everything else amount)
    if held.is_proceeds:
        return held
    return Holding(0, asset, held.amount if everything else amount)


def _v3_in(step: Step) -> Iterator[Effect]:
    yield from _swap(step, path_ends(step.args[3]), exact_out=False)


def _v3_out(step: Step) -> Iterator[Effect]:
    ends = path_ends(step.args[3])
    yield from _swap(step, ends and (ends[1], ends[0]), exact_out=True)


def _v2_in(step: Step) -> Iterator[Effect]:
    path = step.args[3]
    yield from _swap(step, (path[0], path[-1]) if len(path) > 1 else None, exact_out=False)


def _v2_out(step: Step) -> Iterator[Effect]:
    path = step.args[3]
    yield from _swap(step, (path[0], path[-1]) if len(path) > 1 else None, exact_out=True)


def _transfer_from(step: Step) -> Iterator[Effect]:
    asset, recipient, amount = step.args
    yield from _pulled(step, asset, amount, sender=step.frame.sender, recipient=step.who(recipient))


def _transfer_from_batch(step: Step) -> Iterator[Effect]:
    for sender, recipient, amount, asset in step.args[0]:
        yield from _pulled(step, asset, amount, sender=sender, recipient=recipient)


def _pulled(step: Step, asset: Address, amount: int, *, sender: Address, recipient: Address) -> Iterator[Effect]:
    inside = recipient == step.frame.to
    via = step.frame.to if inside else None
    yield Transfer(step.asset(asset), sender, recipient, amount, via, step.path)
    if inside:
        step.ledger.put(step.asset(asset), amount)


def _permit(step: Step) -> Iterator[Effect]:
    (details, spender, _), _ = step.args
    yield _allowance(step, details, spender)


def _permit_batch(step: Step) -> Iterator[Effect]:
    (rows, spender, _), _ = step.args
    for details in rows:
        yield _allowance(step, details, spender)


def _allowance(step: Step, details: tuple[Any, ...], spender: Address) -> Allowance:
    asset, amount, expiration, _ = details
    expires_at = permit2_expiry(expiration, step.frame.walk.context.now)
    return Allowance(step.asset(asset), step.frame.sender, spender, unlimited(amount), expires_at, path=step.path)


def _sweep(step: Step) -> Iterator[Effect]:
    asset, recipient, minimum = step.args
    target = step.who(recipient)
    if target != step.frame.to:
        yield from step.ledger.pay(step.asset(asset), target, minimum, step.path)


def _transfer(step: Step) -> Iterator[Effect]:
    contract, recipient, amount = step.args
    asset, target = step.asset(contract), step.who(recipient)
    held = step.ledger.held(asset)
    if target == step.frame.to:
        return
    if amount == ALL_HELD:
        yield from step.ledger.pay(asset, target, 0, step.path)
        return
    step.ledger.use(asset, amount)
    if target != step.frame.sender:
        yield Redirect(target, "payment out of the router", step.path)
    elif held is not None and held.is_proceeds:
        share = min(amount, held.amount)
        yield Receive(asset, target, share, held.sold, held.sold_amount, step.ledger.deadline, step.path)


def _portion(step: Step) -> Iterator[Effect]:
    asset, recipient, bips = step.args
    yield from _share(step, asset, recipient, bips)


def _portion_precise(step: Step) -> Iterator[Effect]:
    """In 10^-18 parts; rounded up to whole basis points."""
    asset, recipient, portion = step.args
    yield from _share(step, asset, recipient, -(-portion // 10**14))


def _share(step: Step, contract: Address, recipient: Address, bips: int) -> Iterator[Effect]:
    asset, target = step.asset(contract), step.who(recipient)
    held = step.ledger.held(asset)
    if held is not None:
        step.ledger.use(asset, -(-held.amount * min(bips, 10_000) // 10_000))
        if step.ledger.held(asset) is None and held.is_proceeds:
            step.ledger.gain(asset, Holding(0, held.sold, held.sold_amount))
    if target != step.frame.to:
        yield FeeShare(target, bips, step.path)


def _wrap(step: Step) -> Iterator[Effect]:
    recipient, amount = step.args
    held = step.ledger.held(step.frame.native)
    wrapped = held.amount if amount == ALL_HELD and held is not None else amount
    step.ledger.use(step.frame.native, wrapped)
    target = step.who(recipient)
    if target == step.frame.to:
        step.ledger.put(step.ether(), wrapped)
    elif target == step.frame.sender:
        yield Receive(step.ether(), target, wrapped, step.frame.native, wrapped, step.ledger.deadline, step.path)
    else:
        yield Redirect(target, "wrapped ether", step.path)


def _unwrap(step: Step) -> Iterator[Effect]:
    recipient, minimum = step.args
    step.ledger.move(step.ether(), step.frame.native, minimum)
    target = step.who(recipient)
    if target != step.frame.to:
        yield from step.ledger.pay(step.frame.native, target, minimum, step.path)


def _check(_step: Step) -> Iterator[Effect]:
    """A balance is compared: nothing moves."""
    yield from ()


def _v4(step: Step) -> Iterator[Effect]:
    actions, params = step.args
    yield from v4_plan(step.frame, step.ledger, actions, params, step.path)


def _sub_plan(step: Step) -> Iterator[Effect]:
    commands, inputs = step.args
    yield from _steps(step.frame, step.ledger, commands, inputs, (step.path, step.depth + 1))


def _deposit(step: Step) -> Iterator[Effect]:
    """What is deposited is in the router already. The pool is the router's own, whatever the input says."""
    ((pool, depositor, recipient, sold, bought, amount, output, chain, _, _, _, _, message, native),) = step.args
    frame = step.frame._replace(path=step.path)
    source = frame.native if native else frame.asset(sold)
    if native and sold != WRAPPED.get(frame.chain_id):
        yield frame.opaque("malformed_order", "ether is deposited as another token")
    held = step.ledger.held(source)
    paid = (held.sold, held.sold_amount) if held is not None and held.sold is not None else None
    step.ledger.use(source, UINT256_MAX if amount == ALL_HELD else amount)
    if amount == ALL_HELD:
        amount = held.amount if held is not None else 0
    if pool != SPOKE_POOLS.get(frame.chain_id):
        yield frame.redirect(pool, "is named to take the deposit")
    yield from across_effects(frame, Deposit(depositor, recipient, sold, bought, amount, output, chain, message), paid)


_V3: Final = "address recipient,uint256 first,uint256 second,bytes path,bool payerIsUser"
_V2: Final = "address recipient,uint256 first,uint256 second,address[] path,bool payerIsUser"
_PRICES: Final = ",uint256[] minHopPrices"
_DEPOSIT: Final = (
    "(address spokePool,address depositor,address recipient,address inputToken,address outputToken,"
    "uint256 inputAmount,uint256 outputAmount,uint256 destinationChainId,address exclusiveRelayer,"
    "uint32 quoteTimestamp,uint32 fillDeadline,uint32 exclusivityDeadline,bytes message,bool useNative) deposit"
)

_COMMANDS: Final[Mapping[int, tuple[tuple[str, ...], Callable[[Step], Iterator[Effect]]]]] = {
    0x00: ((_V3, _V3 + _PRICES), _v3_in),
    0x01: ((_V3, _V3 + _PRICES), _v3_out),
    0x02: (("address token,address recipient,uint160 amount",), _transfer_from),
    0x03: ((f"({_DETAILS}[] details,address spender,uint256 sigDeadline),bytes signature",), _permit_batch),
    0x04: (("address token,address recipient,uint256 amountMin",), _sweep),
    0x05: (("address token,address recipient,uint256 value",), _transfer),
    0x06: (("address token,address recipient,uint256 bips",), _portion),
    0x07: (("address token,address recipient,uint256 portion",), _portion_precise),
    0x08: ((_V2, _V2 + _PRICES), _v2_in),
    0x09: ((_V2, _V2 + _PRICES), _v2_out),
    0x0A: ((f"({_DETAILS} details,address spender,uint256 sigDeadline),bytes signature",), _permit),
    0x0B: (("address recipient,uint256 amount",), _wrap),
    0x0C: (("address recipient,uint256 amountMin",), _unwrap),
    0x0D: (("(address from,address to,uint160 amount,address token)[] details",), _transfer_from_batch),
    0x0E: (("address owner,address token,uint256 minBalance",), _check),
    0x10: (("bytes actions,bytes[] params",), _v4),
    0x21: (("bytes commands,bytes[] inputs",), _sub_plan),
    0x40: ((_DEPOSIT,), _deposit),
}

CALLS: Final = (
    rule("execute(bytes commands,bytes[] inputs,uint256 deadline)", _plan),
    rule("execute(bytes commands,bytes[] inputs)", _plan),
)
