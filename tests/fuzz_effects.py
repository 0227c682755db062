"""Coverage-guided fuzzing of everything that reads what agents send: `make fuzz`, with atheris installed.

    python -m tests.fuzz_effects [FOLDER …] [-max_total_time=600] [-rss_limit_mb=2048] [-timeout=5]

The first byte of an input says how the rest is read. Whatever it is, decoding ends, raises nothing but refusals,
says something, stays within uint256, and comes to no more effects than its bounds allow. `tests/fuzz_corpus` holds
the inputs worth keeping; without atheris a plain test replays them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from walletgate.effects import REGISTRY, DecodeContext, decode
from walletgate.effects.abi import parse_signature
from walletgate.effects.request import parse_batch, parse_transaction, parse_typed_data, strict_json
from walletgate.effects.signature import SignatureError
from walletgate.encoding import parse_address
from walletgate.errors import InvalidRequestError
from walletgate.types import Address, Effect, Fee, TextMessage, Transaction, TransactionType

CORPUS = Path(__file__).with_name("fuzz_corpus")
WALLET = Address(b"\xaa" * 20)
CONTEXT = DecodeContext(1, WALLET, 1_767_225_600)
ANYWHERE = Address(b"\x11" * 20)
PLACES = [ANYWHERE, *sorted({place for rule in REGISTRY.rules() for place in rule.at or ()})]
EFFECTS_MAX = 64 * 1024
_NUMBERS = ("amount", "min_amount", "sold_amount", "price", "value", "bips", "token_id", "deadline", "chain_id")


def read(data: bytes) -> None:
    """One input; raises only where a promise is broken."""
    kind, body = data[0] if data else 0, data[1:]
    _READERS[kind % len(_READERS)](body)


def _check(found: Sequence[Effect]) -> None:
    assert 0 < len(found) <= EFFECTS_MAX
    for effect in found:
        for name in _NUMBERS:
            number = getattr(effect, name, None)
            assert number is None or 0 <= number < 2**256, (name, effect)


def _calldata(body: bytes) -> None:
    """A byte for the contract, a byte for the value, calldata."""
    to = PLACES[body[0] % len(PLACES)] if body else ANYWHERE
    value = body[1] if len(body) > 1 else 0
    found = decode(Transaction(TransactionType.FEE_MARKET, 1, WALLET, to, value, body[2:], 21_000, 1, 1), CONTEXT)
    assert isinstance(found[-1], Fee)
    _check(found)


def _typed(body: bytes) -> None:
    document = strict_json(body)
    _check(decode(parse_typed_data(document, signer=WALLET), CONTEXT))


def _message(body: bytes) -> None:
    _check(decode(TextMessage(WALLET, body), CONTEXT))


def _request(body: bytes) -> None:
    value = strict_json(body)
    if isinstance(value, dict):
        parse_transaction(value, sender=WALLET)


def _batch(body: bytes) -> None:
    value = strict_json(body)
    if isinstance(value, dict):
        _check(decode(parse_batch(value, sender=WALLET), CONTEXT))


def _signature(body: bytes) -> None:
    text = body.decode("utf-8", "surrogateescape")
    parse_address(text, where="text") if text.startswith("0x") else parse_signature(text)


def _refused(reader: Callable[[bytes], None]) -> Callable[[bytes], None]:
    def run(body: bytes) -> None:
        try:
            reader(body)
        except (InvalidRequestError, SignatureError):
            return

    return run


_READERS = [_refused(reader) for reader in (_calldata, _typed, _message, _request, _batch, _signature)]


def main() -> None:
    """Fuzzes until told to stop; new finds go to the first folder."""
    import atheris  # type: ignore[import-not-found]  # noqa: PLC0415 - only where fuzzing is wanted

    atheris.instrument_all()
    folders = [] if any(not arg.startswith("-") for arg in sys.argv[1:]) else [str(CORPUS)]
    atheris.Setup([*sys.argv, *folders], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
