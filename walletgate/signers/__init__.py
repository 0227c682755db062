"""The only place with keys, and the door in front of it.

`Signer.sign` takes `Authorization`s, which only the gate can make (it alone holds the seal that the signer was
started with), and signs nothing but preimages it has hashed itself: transactions, EIP-191 texts, EIP-712
documents and EIP-7702 tuples, each recognised by its own first bytes. There is no call that signs a bare hash
and none that returns a key.
"""

from walletgate.signers.authorization import Authorization, PreimageKind, Seal, Signature, Signer
from walletgate.signers.keystore import KeyRing, create_keystore
from walletgate.signers.process import SignerProcess

__all__ = [
    "Authorization",
    "KeyRing",
    "PreimageKind",
    "Seal",
    "Signature",
    "Signer",
    "SignerProcess",
    "create_keystore",
]
