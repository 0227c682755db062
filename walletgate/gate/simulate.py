"""Running a transaction on a node before it is judged, where a policy requires that.

`eth_simulateV1` (execution-apis) with ether as pseudo-logs; where a node has no such method, `debug_traceCall` with the
call tracer and its logs. What comes back is read as strictly as anything from outside and bounded in every
direction. Whatever is missing, malformed or too large is no simulation, and the judge then refuses: a node can
stop requests by this, which it can anyway, but never let one through.

The transaction is run as it would be signed, but for what it pays for gas. One that carries EIP-7702 tuples or blobs
cannot be run before it is signed, and so is not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

from walletgate.chain import Chain, NodeRefusedError, call_object
from walletgate.effects.simulated import TOPICS_MAX, Log, LogError, log_effects
from walletgate.encoding import parse_address, parse_hex
from walletgate.errors import ChainError, InvalidRequestError
from walletgate.policy import Simulation
from walletgate.types import NATIVE, Address, Allowance, Asset, Effect, Transaction, Transfer

LOGS_MAX: Final = 4096
FRAMES_MAX: Final = 20_000
DATA_SIZE_BYTES_MAX: Final = 1024 * 1024
ALLOWANCES_MAX: Final = 16
"""How many allowances of one run are looked up; a run with more is no simulation."""

NO_SUCH_METHOD: Final = -32601
_MOVES_ETHER: Final = frozenset({"CALL", "CREATE", "CREATE2", "SELFDESTRUCT"})
_MOVES_NONE: Final = frozenset({"CALLCODE", "DELEGATECALL", "STATICCALL"})

AllowanceReader = Callable[[Chain, Allowance], Awaitable[int | None]]


class _MalformedError(Exception):
    """An answer that is not what was asked for."""


async def simulate(
    chain: Chain, transaction: Transaction, *, own: frozenset[Address], allowance: AllowanceReader
) -> Simulation | None:
    """What running `transaction` does by the node's word, with the allowances that `own` had given before."""
    if transaction.authorization_list or transaction.blob_hashes:
        return None
    try:
        effects, reverted = await _run(chain, transaction)
        given = {
            (effect.asset, effect.owner, effect.spender): effect
            for effect in effects
            if isinstance(effect, Allowance) and effect.owner in own and effect.amount
        }
        if len(given) > ALLOWANCES_MAX:
            return None
        before = {key: await allowance(chain, effect) for key, effect in given.items()}
    except (ChainError, NodeRefusedError, InvalidRequestError, LogError, _MalformedError):
        return None
    known = {key: amount for key, amount in before.items() if amount is not None}
    return Simulation(effects, known, reverted)


async def _run(chain: Chain, transaction: Transaction) -> tuple[tuple[Effect, ...], str | None]:
    call = call_object(transaction)
    if transaction.gas:
        call["gas"] = hex(transaction.gas)
    block = {"blockStateCalls": [{"calls": [call]}], "traceTransfers": True, "validation": False}
    try:
        answer = await chain.forward("eth_simulateV1", (block, "latest"))
    except NodeRefusedError as refusal:
        if refusal.code != NO_SUCH_METHOD:
            raise
    else:
        return read_simulation(answer, chain.chain_id)
    tracer = {"tracer": "callTracer", "tracerConfig": {"withLog": True}}
    return read_trace(await chain.forward("debug_traceCall", (call, "latest", tracer)), chain.chain_id)


def read_simulation(answer: object, chain_id: int) -> tuple[tuple[Effect, ...], str | None]:
    """Effects and, when it failed, why, of an `eth_simulateV1` answer for one call in one block."""
    (block,) = _list(answer, most=1, least=1)
    (result,) = _list(_table(block).get("calls"), most=1, least=1)
    table = _table(result)
    if table.get("status") == "0x0":
        error = table.get("error")
        message = error.get("message") if isinstance(error, Mapping) else None
        return (), message if isinstance(message, str) and message else "it reverts"
    if table.get("status") != "0x1" or table.get("error") is not None:
        raise _MalformedError
    budget = _Budget()
    return log_effects([budget.log(log) for log in _list(table.get("logs"), most=LOGS_MAX)], chain_id), None


def read_trace(answer: object, chain_id: int) -> tuple[tuple[Effect, ...], str | None]:
    """The same of a `debug_traceCall` answer by the call tracer. What a failed inner call did is undone."""
    top = _table(answer)
    if top.get("error") is not None:
        for key in ("revertReason", "error"):
            reason = top.get(key)
            if isinstance(reason, str) and reason:
                return (), reason
        raise _MalformedError
    budget, coin = _Budget(), Asset(chain_id, NATIVE)
    effects: list[Effect] = []
    for frame in _frames(top):
        kind = frame.get("type")
        if kind not in _MOVES_ETHER | _MOVES_NONE:
            raise _MalformedError
        value = _quantity(frame.get("value", "0x0")) if kind in _MOVES_ETHER else 0
        if value:
            sender = parse_address(frame.get("from"), where="from")
            effects.append(Transfer(coin, sender, parse_address(frame.get("to"), where="to"), value))
        logs = [budget.log(log) for log in _list(frame.get("logs", []), most=LOGS_MAX)]
        effects += log_effects(logs, chain_id)
    return tuple(effects), None


def _frames(top: Mapping[object, object]) -> Iterator[Mapping[object, object]]:
    """The calls that were carried out, outer ones first; without recursion, because the node decides how deep."""
    waiting, seen = [top], 0
    while waiting:
        frame = waiting.pop()
        seen += 1
        if seen > FRAMES_MAX:
            raise _MalformedError
        if frame.get("error") is not None:
            continue
        yield frame
        waiting += [_table(inner) for inner in reversed(_list(frame.get("calls", []), most=FRAMES_MAX))]


class _Budget:
    """How much of one answer has been read; a log at a time."""

    def __init__(self) -> None:
        self._logs = 0
        self._size_bytes = 0

    def log(self, value: object) -> Log:
        """One log, strictly."""
        table = _table(value)
        topics = tuple(
            parse_hex(topic, where="a topic", size_bytes=32) for topic in _list(table.get("topics"), most=TOPICS_MAX)
        )
        data = parse_hex(table.get("data"), where="a log's data")
        self._logs += 1
        self._size_bytes += len(data)
        if self._logs > LOGS_MAX or self._size_bytes > DATA_SIZE_BYTES_MAX:
            raise _MalformedError
        return Log(parse_address(table.get("address"), where="a log"), topics, data)


def _list(value: object, *, most: int, least: int = 0) -> list[object]:
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise _MalformedError
    return value


def _table(value: object) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise _MalformedError
    return value


def _quantity(value: object) -> int:
    if not isinstance(value, str) or not value.startswith("0x") or not 3 <= len(value) <= 66:
        raise _MalformedError
    digits = value[2:]
    if not digits.isascii() or not digits.isalnum():
        raise _MalformedError
    try:
        return int(digits, 16)
    except ValueError:
        raise _MalformedError from None
