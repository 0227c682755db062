"""One payment with the SDK, done as carefully as money deserves.

    WALLETGATE_URL=http://127.0.0.1:8550 WALLETGATE_TOKEN=… python examples/pay.py invoice-17 0xRECIPIENT 12.50

Three habits, each a line below:

- `expect` says what is meant in human units. If the calldata does anything else, the gate refuses it, whatever the
  policy would allow: a slip in the decimals is caught before it is signed.
- `memo` is for the operator who may be asked, and for the log.
- `id` names the payment. The same id is the same payment: after a lost answer, asking again returns what became of the
  first and never pays twice. So it comes from the invoice, and not from a random number.
"""

from __future__ import annotations

import sys
import time
from decimal import Decimal

import walletgate

USDC = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
USDC_DECIMALS = 6
TRIES = 5
OPERATOR_WAIT_S = 1800.0


def transfer(recipient: str, amount: Decimal) -> dict[str, str]:
    """The call that pays `amount` USDC to `recipient`; more decimals than the token has are an error."""
    units = amount.scaleb(USDC_DECIMALS)
    if units != units.to_integral_value() or units <= 0:
        raise ValueError(f"{amount} is no amount of USDC")
    return {"to": USDC, "data": f"0xa9059cbb{recipient.removeprefix('0x').lower():0>64}{int(units):064x}"}


def pay(account: walletgate.GateAccount, invoice: str, recipient: str, amount: Decimal) -> str:
    """Pays an invoice once, however often it has to be asked for, and returns the transaction's hash."""
    call = transfer(recipient, amount)
    expect = {"asset": "USDC", "amount": str(amount), "recipient": recipient}
    for attempt in range(TRIES):
        try:
            return account.send(call, expect=expect, memo=f"invoice {invoice}", id=invoice).to_0x_hex()
        except walletgate.GateUnavailable:
            time.sleep(2**attempt)  # nothing is known to have happened: the same id makes asking again safe
        except walletgate.ApprovalPending as pending:
            print("waiting for an operator:", pending.request_id)
            pending.wait(OPERATOR_WAIT_S)  # a no is raised; after a yes, asking again returns what was sent
    raise TimeoutError(f"the gate did not answer {TRIES} times; run this again with the same invoice")


def main(invoice: str, recipient: str, amount: str) -> None:
    """Pays, or says why not."""
    account = walletgate.account("shopper")
    try:
        print("sent:", pay(account, invoice, recipient, Decimal(amount)))
    except walletgate.GateDenied as denied:
        for reason in denied.reasons:
            print(f"refused: {reason.text} [{reason.code}]", file=sys.stderr)
        sys.exit(3)
    except walletgate.ApprovalRejected as rejected:
        sys.exit(f"an operator said no: {rejected}")


if __name__ == "__main__":
    main(*sys.argv[1:])
