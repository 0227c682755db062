"""Keys on disk (Web3 Secret Storage, V3) and in memory (`KeyRing`).

Files are made 0600 before their first byte. In memory a key is a held `coincurve.PrivateKey`, because deriving
it again for each signature costs more than signing; the ring refuses `repr`, pickling and copying.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import coincurve

from walletgate.encoding import checksum_address, keccak256
from walletgate.errors import InvariantViolation, SignerError
from walletgate.signers.authorization import (
    Authorization,
    PreimageKind,
    Seal,
    Signature,
    check_authorization,
    check_preimage,
)
from walletgate.types import Address

SCRYPT_COST = 2**18
"""scrypt's N for new keystores, r = 8, p = 1: about 256 MiB and a second. Tests pass 2**12."""

KEYSTORE_SIZE_BYTES_MAX = 64 * 1024


class KeyRing:
    """Private keys by address. Signs with them; never shows one."""

    __slots__ = ("_keys", "_seal")

    def __init__(self, seal: Seal) -> None:
        self._keys: dict[Address, coincurve.PrivateKey] = {}
        self._seal = seal

    def __repr__(self) -> str:
        return f"<KeyRing of {len(self._keys)}>"

    def __reduce__(self) -> NoReturn:
        raise InvariantViolation("a key ring cannot be pickled or copied")

    def add_secret(self, secret: bytes) -> Address:
        """Takes a 32-byte secret and returns its address."""
        key = coincurve.PrivateKey(secret)
        address = address_of(key.public_key)
        self._keys[address] = key
        return address

    def open_keystore(self, path: Path, passphrase: str) -> Address:
        """Decrypts a V3 keystore file.

        Raises:
            SignerError: `wrong_passphrase`, `keystore_invalid`, `keystore_missing`.
        """
        return self.add_secret(read_keystore(path, passphrase))

    def sign_preimage(self, wallet: Address, kind: PreimageKind, preimage: bytes, digest: bytes) -> Signature:
        """Signs keccak256(preimage) after checking that it is `digest` and of its kind (deterministic, RFC 6979).

        Raises:
            SignerError: `wallet_unknown`, `preimage_mismatch`.
        """
        key = self._keys.get(wallet)
        if key is None:
            raise SignerError(f"no key for wallet {checksum_address(wallet)}", code="wallet_unknown")
        check_preimage(kind, preimage, digest)
        raw = key.sign_recoverable(digest, hasher=None)
        return Signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64])

    async def sign(self, authorizations: Sequence[Authorization]) -> list[Signature]:
        """See `Signer.sign`."""
        for authorization in authorizations:
            check_authorization(authorization, self._seal)
        return [self.sign_preimage(a.wallet, a.kind, a.preimage, a.digest) for a in authorizations]

    async def wallets(self) -> frozenset[Address]:
        """See `Signer.wallets`."""
        return frozenset(self._keys)

    async def close(self) -> None:
        """See `Signer.close`."""
        self._keys.clear()


def address_of(key: coincurve.PublicKey) -> Address:
    """The last 20 bytes of the keccak-256 of the uncompressed point."""
    return Address(keccak256(key.format(compressed=False)[1:])[12:])


def create_keystore(
    path: Path, passphrase: str, *, secret: bytes | None = None, scrypt_cost: int = SCRYPT_COST
) -> Address:
    """Writes a new V3 keystore (0600, never overwriting) with a fresh or given secret; returns its address.

    Raises:
        SignerError: `keystore_exists`, `keystore_invalid` (not a secp256k1 secret).
    """
    from eth_keyfile.keyfile import create_keyfile_json  # noqa: PLC0415 - brings half a second of BLS arithmetic

    try:
        key = coincurve.PrivateKey(secret or secrets.token_bytes(32))
    except ValueError:
        raise SignerError("not a secp256k1 private key", code="keystore_invalid") from None
    document = create_keyfile_json(key.secret, passphrase.encode(), kdf="scrypt", iterations=scrypt_cost)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SignerError(f"{path} exists; keystores are never overwritten", code="keystore_exists") from None
    with os.fdopen(handle, "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    return address_of(key.public_key)


def read_keystore(path: Path, passphrase: str) -> bytes:
    """The secret of a V3 keystore.

    Raises:
        SignerError: `wrong_passphrase`, `keystore_invalid`, `keystore_missing`.
    """
    from eth_keyfile.exceptions import EthKeyfileValueError  # noqa: PLC0415 - as in create_keystore
    from eth_keyfile.keyfile import decode_keyfile_json  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            text = file.read(KEYSTORE_SIZE_BYTES_MAX + 1)
    except OSError as error:
        raise SignerError(f"cannot read keystore {path}: {error.strerror}", code="keystore_missing") from None
    try:
        if len(text) > KEYSTORE_SIZE_BYTES_MAX:
            raise ValueError
        secret: bytes = decode_keyfile_json(json.loads(text), passphrase.encode())
    except (ValueError, KeyError, TypeError, AttributeError, NotImplementedError) as error:
        if isinstance(error, EthKeyfileValueError) and "MAC" in str(error):
            raise SignerError(f"wrong passphrase for {path.name}", code="wrong_passphrase") from None
        raise SignerError(f"{path.name} is not a V3 keystore", code="keystore_invalid") from None
    return secret
