"""A neutral policy object of the adversarial corpus, as the text of a WalletGate policy.

Field by field, by the semantics that the corpus documents, and by nothing else: ids, titles and labels are
never looked at. Where an `on` entry asks for a human in a way the policy language has no words for, the
translation is stricter and denies.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from walletgate.encoding import checksum_address
from walletgate.policy.amounts import format_amount
from walletgate.types import UINT256_MAX

Row = Mapping[str, Any]
DAY = "24h"
NATIVE = "native"


def translate(policy: Row) -> str:
    """TOML text that means what `policy` means."""
    return _Translation(policy).text()


def _quote(value: str | int | Sequence[str | int]) -> str:
    """A TOML value: JSON's strings, integers, booleans and lists of them are TOML, too."""
    return json.dumps(value)


def _address(text: str) -> str:
    return checksum_address(bytes.fromhex(text[2:]))


class _Translation:
    def __init__(self, policy: Row) -> None:
        self.policy = policy
        self.lines: list[str] = []
        self.names: dict[tuple[int, str], str] = {}
        self.decimals: dict[str, int] = {}
        self.listed: dict[int, list[str]] = {}
        self.on: Row = policy.get("on", {})

    def text(self) -> str:
        self._head()
        self._assets()
        self._tokens()
        self._fees()
        self._recipients()
        self._contracts()
        self._spenders()
        self._typed_data()
        self._signatures()
        self._nfts()
        self._others()
        self._swap()
        return "\n".join(self.lines) + "\n"

    # --- writing

    def _put(self, header: str | None, **keys: Any) -> None:
        if header is not None:
            self.lines += ["", header]
        self.lines += [f"{key} = {value}" for key, value in keys.items() if value is not None]

    def _rule(self, section: str, **keys: Any) -> None:
        self._put(f"[[{section}]]", **{key: None if value is None else _quote(value) for key, value in keys.items()})

    def _ask(self, **when: Any) -> None:
        inner = ", ".join(f"{key} = {_quote(value)}" for key, value in when.items() if value is not None)
        self._put("[[approve]]", when=f"{{ {inner} }}")

    # --- parts

    def _head(self) -> None:
        policy = self.policy
        self._put(
            None,
            version=1,
            name=_quote("translated"),
            chains=_quote(policy["chains"]),
            methods=_quote(policy["methods"]),
            read_methods=_quote(policy["read_methods"]),
        )
        if policy.get("accounts"):
            self._put(None, accounts=_quote([_address(each) for each in policy["accounts"]]))

    def _assets(self) -> None:
        for chain in self.policy["chains"]:
            name = f"coin-{chain}"
            self.names[chain, NATIVE] = name
            self.decimals[name] = 18
            self._put(f"[assets.{name}]", native="true", chain=chain)
        for row in self.policy["tokens"]:
            name = self._asset(row["chain"], row["token"], row.get("symbol", "token"), row["decimals"])
            self.listed.setdefault(row["chain"], []).append(name)
        for row in self.policy.get("spenders", ()):
            self._asset(row["chain"], row["token"])
        for row in self.policy.get("contracts", ()):
            if row.get("asset"):
                self._asset(row["chain"], row["asset"])

    def _asset(self, chain: int, token: str, symbol: str = "token", decimals: int = 0) -> str:
        key = (chain, token.lower())
        if key not in self.names:
            name = re.sub(r"[^A-Za-z0-9-]", "-", f"t{len(self.names)}-{symbol}-{chain}")
            self.names[key] = name
            self.decimals[name] = decimals
            self._put(f"[assets.{name}]", address=_quote(_address(token)), decimals=decimals, chain=chain)
        return self.names[key]

    def _tokens(self) -> None:
        for row in self.policy["tokens"]:
            name = self.names[row["chain"], row["token"].lower()]
            decimals = row["decimals"] if row["token"] != NATIVE else 18

            def human(key: str, row: Row = row, decimals: int = decimals) -> str | None:
                return None if row.get(key) is None else format_amount(int(row[key]), decimals)

            request, day, ask = human("max_per_tx"), human("max_per_day"), human("approve_above")
            over = self.on.get("over_limit", "deny")
            if over == "deny" and (request or day):
                per = None if day is None else f'{{ "{DAY}" = "{day}" }}'
                request_text = None if request is None else _quote(request)
                self._put("[[limits]]", asset=_quote(name), per_request=request_text, per=per)
            elif over == "approve":
                if request is not None:
                    self._ask(asset=name, above=request)
                if day is not None:
                    self._ask(asset=name, above=day, per=DAY)
            if ask is not None:
                self._ask(asset=name, above=ask)

    def _fees(self) -> None:
        most = self.policy.get("fees", {}).get("max_total_fee_wei")
        for chain in self.policy["chains"] if most is not None else ():
            self._rule("limits", fees=f"coin-{chain}", per_request=format_amount(int(most), 18))

    def _ends(self) -> list[str]:
        """Whoever may get something of value: the wallet, its accounts and the listed recipients."""
        if self.policy["recipients"]["mode"] == "any":
            return ["*"]
        return ["self", *self._listed_recipients()]

    def _listed_recipients(self) -> list[str]:
        return sorted({_address(each) for each in self.policy["recipients"].get("addresses", ())})

    def _every_asset(self) -> list[str]:
        return [name for names in self.listed.values() for name in names]

    def _recipients(self) -> None:
        assets, via = self._every_asset(), self._witnesses(None)
        if not assets:
            return
        self._rule("permit", transfer=assets, to=self._ends(), via=via or None, **{"from": "*"})
        unlisted = self.on.get("unlisted_recipient", "deny")
        if unlisted != "deny":
            self._rule("permit", transfer=assets, to="*", via=via or None, **{"from": "*"})
        if unlisted == "approve":
            self._ask(transfer="*", not_to=self._ends())

    def _witnesses(self, chain: int | None) -> list[str]:
        rows = self.policy.get("witness_spenders", ())
        return sorted({_address(row["spender"]) for row in rows if chain in (None, row["chain"])})

    def _contracts(self) -> None:
        for row in self.policy.get("contracts", ()):
            chain = row["chain"]
            asset = row.get("asset")
            self._rule(
                "permit",
                call=_address(row["address"]),
                chain=chain,
                function=sorted(set(row["functions"])),
                spend=self.listed.get(chain),
                to=self._ends(),
                delegatecall=True,
                underlying=self.names[chain, asset.lower()] if asset else None,
            )

    def _spenders(self) -> None:
        rows = self.policy.get("spenders", ())
        for row in rows:
            name = self.names[row["chain"], row["token"].lower()]
            most = int(row["max_allowance"])
            ttl = row.get("max_ttl_s")
            self._rule(
                "permit",
                allowance=name,
                spender=_address(row["address"]),
                max="unlimited" if most == UINT256_MAX else format_amount(most, self.decimals[name]),
                max_ttl=None if ttl is None else f"{ttl}s",
                counted=False,
            )
        unlisted = self.on.get("unlisted_spender", "deny")
        if unlisted != "deny" and self._every_asset():
            self._rule("permit", allowance=self._every_asset(), spender="*", max="unlimited", counted=False)
        if unlisted == "approve":
            self._ask(allowance="*", not_spender=sorted({_address(row["address"]) for row in rows}) or None)

    def _typed_data(self) -> None:
        for row in self.policy.get("typed_data", ()):
            chain = row["chain"]
            self._rule(
                "permit",
                sign=sorted(set(row["primary_types"])),
                contract=_address(row["verifying_contract"]),
                chain=chain,
                spend=self.listed.get(chain),
                to=self._ends(),
                via=self._witnesses(chain) or None,
            )

    def _signatures(self) -> None:
        signature = self.policy.get("signature", {})
        ttl = signature.get("max_ttl_s")
        if ttl is not None:
            self._put("[signatures]", max_ttl=_quote(f"{ttl}s"))
        if signature.get("siwe_domains"):
            self._rule("permit", login=signature["siwe_domains"])
        self._by_word(signature.get("messages", "deny"), message="*")

    def _nfts(self) -> None:
        for row in self.policy.get("nfts", ()):
            floor = row.get("sell_floor_wei")
            to = row.get("transfer_to")
            ends = self._listed_recipients() if to == "recipients" else to if isinstance(to, list) else None
            self._rule(
                "permit",
                nft=_address(row["contract"]),
                chain=row["chain"],
                to=[_address(each) for each in ends] if ends else None,
                operators=[_address(each) for each in row.get("operators", ())] or None,
                sell_above=None if floor is None else format_amount(int(floor), 18),
            )

    def _others(self) -> None:
        self._by_word(self.on.get("revoke", "deny"), revoke="*")
        self._by_word(self.on.get("trailing_bytes", "deny"), trailing_bytes=4096)
        self._by_word(self.on.get("contract_creation", "deny"), deploy="*")
        self._by_word(self.on.get("blind_signature", "deny"), blind=["blind_hash", "blind_message"])
        for row in self.policy.get("fee_recipients", ()):
            self._rule("permit", fee_share=_address(row["address"]), max_bips=row["max_bips"])

    def _by_word(self, word: str, **match: Any) -> None:
        """`allow` is a permit, `approve` a permit and a question, and `deny` is what happens anyway."""
        if word in ("allow", "approve"):
            self._rule("permit", **match)
        if word == "approve":
            self._ask(**match)

    def _swap(self) -> None:
        swap = self.policy.get("swap", {})
        deadline = swap.get("max_deadline_s")
        self._put(
            "[swap]",
            to=_quote(["self"] if swap.get("recipient", "self") == "self" else self._ends()),
            min_out=_quote("any" if swap.get("min_out") == "any" else "nonzero"),
            max_deadline=None if deadline is None else _quote(f"{deadline}s"),
        )
        for row in _rows(swap.get("floor")):
            chain = row.get("chain", self.policy["chains"][0])
            sell, buy = (self._asset(chain, row[key]) for key in ("sell", "buy"))
            rate = f"{int(row['num']) * 10 ** self.decimals[sell]}/{int(row['den']) * 10 ** self.decimals[buy]}"
            self._rule("swap.floor", sell=sell, buy=buy, at_least=rate)


def _rows(value: Any) -> Iterable[Row]:
    if value is None:
        return ()
    return [value] if isinstance(value, Mapping) else value
