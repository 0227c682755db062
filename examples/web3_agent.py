"""A web3.py program that held a key, changed by one line.

    WALLETGATE_TOKEN=… python examples/web3_agent.py 0xRECIPIENT 0.001 http://127.0.0.1:8545

The line is `walletgate.attach`. Before it stood `SignAndSendRawMiddlewareBuilder.build(os.environ["PRIVATE_KEY"])`;
everything below is as it was, and still sends, signs and waits. What has changed is who decides.
"""

from __future__ import annotations

import sys
from decimal import Decimal

from web3 import HTTPProvider, Web3
from web3.types import TxParams

import walletgate


def main(recipient: str, amount: str, node: str) -> None:
    """Sends `amount` of the chain's coin to `recipient` and waits for the receipt."""
    w3 = Web3(HTTPProvider(node))
    walletgate.attach(w3, "shopper")  # the one line: this w3 signs through the gate, and the program has no key

    call: TxParams = {"to": Web3.to_checksum_address(recipient), "value": Web3.to_wei(Decimal(amount), "ether")}
    try:
        tx_hash = w3.eth.send_transaction(call)
    except walletgate.GateDenied as denied:
        sys.exit("refused: " + "; ".join(reason.text for reason in denied.reasons))
    receipt = w3.eth.wait_for_transaction_receipt(tx_hash)
    print("mined in block", receipt["blockNumber"])


if __name__ == "__main__":
    main(*sys.argv[1:])
