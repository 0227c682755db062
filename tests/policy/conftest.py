"""A desk to judge at: one policy head, addresses that are easy to read in a failure, and a case factory."""

from types import SimpleNamespace

import pytest

from walletgate.encoding import checksum_address
from walletgate.errors import ConfigError
from walletgate.policy import Case, judge, load
from walletgate.types import NATIVE, Address, Asset, Fee, Transfer

BASE = 8453
NOW = 1_767_225_600
WALLET = Address(b"\xaa" * 20)
ACME = Address(b"\x01" * 20)
SHOP = Address(b"\x02" * 20)
ROUTER = Address(b"\x03" * 20)
SAFE = Address(b"\x04" * 20)
APES = Address(b"\x05" * 20)
THIEF = Address(b"\x66" * 20)
USDC = Asset(BASE, Address(bytes.fromhex("833589fCD6eDb6E08f4c7C32D4f71b54bdA02913")))
WETH = Asset(BASE, Address(bytes.fromhex("4200000000000000000000000000000000000006")))
ETH = Asset(BASE, NATIVE)

HEAD = f"""
version = 1
name = "test"
chains = ["base"]
[assets.USDC]
address = "{checksum_address(USDC.address)}"
decimals = 6
[assets.WETH]
address = "{checksum_address(WETH.address)}"
decimals = 18
[addresses]
acme = "{checksum_address(ACME)}"
shop = "{checksum_address(SHOP)}"
router = "{checksum_address(ROUTER)}"
safe = "{checksum_address(SAFE)}"
apes = "{checksum_address(APES)}"
thief = "{checksum_address(THIEF)}"
[[limits]]
fees = "ETH"
per_request = "0.001"
"""


class Desk(SimpleNamespace):
    """Everything a test of the judge needs, by short names."""

    def load(self, body="", *, head=HEAD, top=""):
        return load(top + head + body, source="policy.toml")

    def case(self, *effects, **changes):
        base = {"grant": "g1", "agent": "a1", "wallet": WALLET, "chain_id": BASE, "now_ms": NOW * 1000,
                "method": "eth_sendTransaction", "effects": effects}  # fmt: skip
        return Case(**(base | changes))

    def decide(self, policy, *effects, used=None, **changes):
        """The decision under a policy or the body of one; `used` is a number or a function of bucket and window."""
        policy = self.load(policy) if isinstance(policy, str) else policy
        count = used if callable(used) else lambda _bucket, _window: used or 0
        return judge(policy, self.case(*effects, **changes), count)

    def outcome(self, policy, *effects, **changes):
        """The outcome's name, and the codes of the reasons when it is not allow."""
        decision = self.decide(policy, *effects, **changes)
        name = decision.outcome.name.lower()
        codes = {reason.code for reason in decision.reasons} - {"permitted"}
        return " ".join([name, *sorted(codes)])

    def refuse(self, text, key=None, *, whole=False):
        """The code with which a policy is refused; checks that the key is the one named."""
        with pytest.raises(ConfigError) as caught:
            load(text if whole else HEAD + text, source="policy.toml")
        assert caught.value.data["file"] == "policy.toml"
        if key is not None:
            assert caught.value.data["key"] == key
        return caught.value.code

    def pay(self, amount, asset=USDC, to=ACME, **changes):
        return Transfer(asset, changes.pop("sender", WALLET), to, amount, **changes)


@pytest.fixture
def desk():
    return Desk(base=BASE, now=NOW, wallet=WALLET, acme=ACME, shop=SHOP, router=ROUTER, safe=SAFE, apes=APES,
                thief=THIEF, usdc=USDC, weth=WETH, eth=ETH, fee=Fee(BASE, 10**14), head=HEAD)  # fmt: skip
