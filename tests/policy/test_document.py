"""Loading: what is refused, with which code and key; and that the meaning, not the layout, makes the hash."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from walletgate.errors import ConfigError
from walletgate.policy import Need, load, show
from walletgate.policy.compare import Direction, compare
from walletgate.policy.lint import lint

EXAMPLE = """
version = 1
name = "shopper"
chains = ["base"]

[assets.USDC]
address = "0x833589fCD6eDb6E08f4c7C32D4f71b54bdA02913"
decimals = 6

[addresses]
acme-api = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"

[[limits]]
asset = "USDC"
per_request = "10"
per = { "24h" = "50", "30d" = "500" }

[[limits]]
fees = "ETH"
per_request = "0.001"

[[permit]]
name = "buy API calls"
transfer = "USDC"
to = ["acme-api"]

[[approve]]
name = "large purchase"
when = { asset = "USDC", above = "2" }
quorum = 1
of = ["alice", "bob"]
within = "30m"

[[forbid]]
transfer = "*"
to = ["tornado"]
"""


def test_the_example_of_the_handbook_loads():
    policy = load(EXAMPLE, source="shopper.toml")
    assert policy.name == "shopper"
    assert policy.version == 1
    assert policy.chain_ids == {8453}
    assert policy.text == EXAMPLE
    assert policy.needs == frozenset()
    assert sorted(policy.assets) == ["ETH", "USDC"]


def test_layout_and_spelling_do_not_change_the_hash():
    other = EXAMPLE.replace('"24h" = "50", "30d" = "500"', '"720h" = "500.00", "1d" = "50.0"')
    other = other.replace('of = ["alice", "bob"]', 'of = ["bob", "alice"]').replace("quorum = 1\n", "")
    other = other.replace('chains = ["base"]', "chains = 8453 # a comment")
    assert load(other, source="b.toml").hash == load(EXAMPLE, source="a.toml").hash


def test_order_of_rules_does_not_change_the_hash(desk):
    one, two = '[[permit]]\ntransfer="USDC"\nto="acme"\n', '[[permit]]\ntransfer="ETH"\nto="shop"\n'
    assert desk.load(one + two).hash == desk.load(two + one).hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"10"', '"10.000001"'),
        ('"24h" = "50"', '"24h" = "50.1"'),
        ('"24h"', '"25h"'),
        ('to = ["acme-api"]', 'to = ["acme-api", "self"]'),
        ('above = "2"', 'above = "2.1"'),
        ('within = "30m"', 'within = "31m"'),
        ('of = ["alice", "bob"]', 'of = ["alice", "carol"]'),
        ('to = ["tornado"]', 'to = ["permit2"]'),
        ("decimals = 6", "decimals = 7"),
        ('fees = "ETH"', 'asset = "ETH"'),
        ('name = "shopper"', 'name = "shopper2"'),
    ],
)
def test_every_change_of_meaning_changes_the_hash(old, new):
    assert old in EXAMPLE
    assert load(EXAMPLE.replace(old, new), source="a").hash != load(EXAMPLE, source="a").hash


@pytest.mark.parametrize(
    ("body", "key", "code"),
    [
        ('[[permit]]\ntransfre = "USDC"\nto = "acme"', "permit[0]", "missing_key"),
        ('[[permit]]\ntransfer = "USDC"\nto = "acme"\nmax = "5"', "permit[0].max", "unknown_key"),
        ('[[permit]]\ntransfer = "USDC"', "permit[0].to", "missing_key"),
        ('[[permit]]\ntransfer = "USDC"\nlogin = "a.example"\nto = "acme"', "permit[0].login", "ambiguous_rule"),
        ('[[permit]]\ntransfer = "USDX"\nto = "acme"', "permit[0].transfer", "unknown_name"),
        ('[[permit]]\ntransfer = "USDC"\nto = "acmee"', "permit[0].to", "unknown_name"),
        ('[[permit]]\ntransfer = "USDC"\nto = []', "permit[0].to", "wrong_type"),
        ('[[permit]]\ntransfer = "USDC"\nto = 5', "permit[0].to", "wrong_type"),
        ('[[permit]]\ntransfer = "USDC"\nto = ["acme", "acme"]', "permit[0].to", "duplicate_name"),
        ('[[permit]]\nname = "a"\nrevoke = "*"\n[[permit]]\nname = "A"\nrevoke = "*"', "permit[1].name", "duplicate_name"),
        ('[[permit]]\nname = " a"\nrevoke = "*"', "permit[0].name", "bad_name"),
        ('[[permit]]\nname = "a\\u202e"\nrevoke = "*"', "permit[0].name", "bad_name"),
        ('[[permit]]\nrevoke = "all"', "permit[0].revoke", "wrong_type"),
        ('[[permit]]\ntransfer = "USDC"\nto = "acme"\nchain = "ethereum"', "permit[0].chain", "unknown_chain"),
        ('[[permit]]\ncall = "router"\nfunction = "f(uint257)"', "permit[0].function", "bad_function"),
        ('[[permit]]\ncall = "router"\nfunction = ["f(uint)", "f(uint256 a)"]', "permit[0].function", "duplicate_name"),
        ('[[permit]]\ncall = "router"', "permit[0].function", "missing_key"),
        ('[[permit]]\ncall = "*"\nfunction = "f()"', "permit[0].call", "too_wide"),
        ('[[permit]]\nallowance = "USDC"\nspender = "router"', "permit[0].max", "missing_key"),
        ('[[permit]]\nallowance = ["USDC", "WETH"]\nspender = "router"\nmax = "5"', "permit[0].max", "bad_amount"),
        ('[[permit]]\ndelegate = "*"\nto = "router"', "permit[0].delegate", "too_wide"),
        ('[[permit]]\nblind = "*"', "permit[0].blind", "too_wide"),
        ('[[permit]]\nadmin = "router"\naction = "*"', "permit[0].action", "too_wide"),
        ('[[permit]]\ndeploy = "0x00"', "permit[0].deploy", "wrong_type"),
        ('[[permit]]\nfee_share = "shop"', "permit[0].max_bips", "missing_key"),
        ('[[permit]]\nfee_share = "shop"\nmax_bips = 10001', "permit[0].max_bips", "out_of_range"),
        ('[[permit]]\nsign = "Order"\ncontract = "router"\nmax_ttl = "1"', "permit[0].max_ttl", "bad_duration"),
        ('[[permit]]\nrevoke = "*"\nexpires = 2027-01-01', "permit[0].expires", "wrong_type"),
        ('[[permit]]\nrevoke = "*"\nhours = {zone = "Mars/Base"}', "permit[0].hours.zone", "bad_time"),
        ('[[permit]]\nrevoke = "*"\nhours = {zone = "UTC", from = "9:00"}', "permit[0].hours.from", "bad_time"),
        ('[[permit]]\nrevoke = "*"\nhours = {zone = "UTC", days = "mon-fry"}', "permit[0].hours.days", "bad_time"),
        ('[[permit]]\nrevoke = "*"\nhours = {zone = "UTC", from = "09:00", to = "09:00"}', "permit[0].hours.to", "bad_time"),
        ('[[limits]]\nasset = "USDC"\nper_request = 10', "limits[1].per_request", "wrong_type"),
        ('[[limits]]\nasset = "USDC"\nper_request = 10.5', "limits[1].per_request", "float_refused"),
        ('[[limits]]\nasset = "USDC"\nper_request = "1.0000001"', "limits[1].per_request", "bad_amount"),
        ('[[limits]]\nasset = "USDC"\nper = {"1 day" = "1"}', 'limits[1].per."1 day"', "bad_duration"),
        ('[[limits]]\nasset = "USDC"\nper = {"24h" = "1", "1d" = "2"}', "limits[1].per.1d", "duplicate_name"),
        ('[[limits]]\nasset = "USDC"', "limits[1]", "missing_key"),
        ('[[limits]]\nper_request = "1"', "limits[1]", "missing_key"),
        ('[[limits]]\nasset = "USDC"\nfees = "ETH"\nper_request = "1"', "limits[1]", "ambiguous_rule"),
        ('[[limits]]\nfees = "USDC"\nper_request = "1"', "limits[1].fees", "unknown_name"),
        ('[[limits]]\ncount = "calls"\nlifetime = "1"', "limits[1].count", "wrong_type"),
        ('[[limits]]\ncount = "requests"\nper_request = "1"', "limits[1].per_request", "ambiguous_rule"),
        ('[[limits]]\nquote = "USD"\nper_request = "1"', "limits[1].quote", "unknown_name"),
        ('[[limits]]\nasset = "USDC"\nscope = "planet"\nlifetime = "1"', "limits[1].scope", "out_of_range"),
        ('[[limits]]\ncount = "requests"\nscope = "recipient"\nlifetime = "1"', "limits[1].scope", "out_of_range"),
        ('[[limits]]\nasset = "USDC"\nto = "acme"\nscope = "wallet"\nlifetime = "1"', "limits[1].scope", "ambiguous_rule"),
        ('[[limits]]\nasset = "USDC"\nto = "acme"\ncontract = "router"\nlifetime = "1"', "limits[1].contract", "ambiguous_rule"),
        ('[[limits]]\nasset = "USDC"\nmax_share = "101%"', "limits[1].max_share", "bad_share"),
        ('[[limits]]\nfees = "ETH"\nmax_share = "10%"', "limits[1].max_share", "ambiguous_rule"),
        ("[[approve]]\nquorum = 1", "approve[0].when", "missing_key"),
        ('[[approve]]\nwhen = {asset = "USDC", above = "2"}\nquorum = 3\nof = ["a", "b"]', "approve[0].quorum", "out_of_range"),
        ('[[approve]]\nwhen = {asset = "USDC", above = "2"}\nquorum = 0', "approve[0].quorum", "out_of_range"),
        ('[[approve]]\nwhen = {asset = "USDC", above = "2"}\nof = ["a\\n"]', "approve[0].of", "bad_name"),
        ('[[approve]]\nwhen = {asset = "USDC"}', "approve[0].when.above", "missing_key"),
        ('[[approve]]\nwhen = {asset = "USDC", above = "2", to = "acme"}', "approve[0].when.to", "unknown_key"),
        ('[[approve]]\nwhen = {asset = "USDC", above = "2", transfer = "*"}', "approve[0].when.asset", "ambiguous_rule"),
        ("[[approve]]\nwhen = {always = false}", "approve[0].when.always", "wrong_type"),
        ('[[forbid]]\ntransfer = "*"\nto = "tornadoo"', "forbid[0].to", "unknown_name"),
        ('[swap]\nmin_out = "some"', "swap.min_out", "out_of_range"),
        ('[[swap.floor]]\nsell = "USDC"\nbuy = "WETH"\nat_least = "0"', "swap.floor[0].at_least", "bad_amount"),
        ('[prices.USD]\nlive = {ETH = {feed = "router", decimals = 8}}', "prices.USD.max_age", "missing_key"),
        ('[prices.USD]\nlive = "ETH"\nmax_age = "1m"', "prices.USD.live", "wrong_type"),
        ('[prices.USD]\nlive = ["ETH"]\nmax_age = "1m"', "prices.USD.live", "wrong_type"),
        ('[prices.USD]\nlive = {ETH = "router"}\nmax_age = "1m"', "prices.USD.live.ETH", "wrong_type"),
        ('[prices.USD]\nlive = {EHT = {feed = "router", decimals = 8}}\nmax_age = "1m"', "prices.USD.live.EHT", "unknown_name"),
        ('[prices.USD]\nfixed = {USDC = "0"}', "prices.USD.fixed.USDC", "bad_amount"),
        ('[prices.usd]\nfixed = {USDC = "1"}', "prices.usd", "bad_name"),
        ("[prices.USD]\n", "prices.USD", "missing_key"),
        ('[[permit]]\ncall = "router"\nfunction = "burn(uint256)"\n[[permit]]\ncall = "router"\nfunction = "collate_propagate_storage(bytes16)"', "permit[1].function", "duplicate_name"),
        ('[[permit]]\ncall = "ETH"\nfunction = "f()"', "permit[0].call", "unknown_name"),
        ('[[permit]]\ncall = "router"\nfunction = "f()"\nunderlying = "USDC"\n[[permit]]\ncall = "router"\nfunction = "g()"\nunderlying = "WETH"', "permit[1].underlying", "duplicate_name"),
        ('[[swap.floor]]\nsell = "USDC"\nbuy = "WETH"\nat_least = "1"\n[[swap.floor]]\nsell = "USDC"\nbuy = "WETH"\nat_least = "2"', "swap.floor[1].sell", "duplicate_name"),
        ('[prices.USD]\nfixed = {ETH = "1"}\nlive = {ETH = {feed = "router", decimals = 8}}\nmax_age = "1m"', "prices.USD.live", "duplicate_name"),
        ("[swap]\n[[swap.to]]\n", "swap.to", "wrong_type"),

        ("[limits2]\n", "limits2", "unknown_key"),
        ("[permit]\n", "permit", "wrong_type"),
    ],
)  # fmt: skip
def test_refuses(desk, body, key, code):
    assert desk.refuse(body, key) == code


@pytest.mark.parametrize(
    ("text", "key", "code"),
    [
        ("", "version", "missing_key"),
        ("version = 2", "version", "bad_version"),
        ("version = true", "version", "bad_version"),
        ("version = 1", "name", "missing_key"),
        ('version = 1\nname = ""', "name", "bad_name"),
        ('version = 1\nname = "x"', "chains", "missing_key"),
        ('version = 1\nname = "x"\nchains = []', "chains", "wrong_type"),
        ('version = 1\nname = "x"\nchains = ["bsae"]', "chains", "unknown_chain"),
        ('version = 1\nname = "x"\nchains = [true]', "chains", "wrong_type"),
        ('version = 1\nname = "x"\nchains = ["base", 8453]', "chains", "duplicate_name"),
        ('version = 1\nname = "x"\nchains = "base"\nmethods = ["eth sign"]', "methods", "bad_name"),
        ('version = 1\nname = "x"\nchains = "base"\naccounts = "*"', "accounts", "too_wide"),
        ('version = 1\nname = "x"\nchains = "base"\nmax_gas = 1', "max_gas", "out_of_range"),
        ('version = 1\nname = "x"\nchains = "base"\nrequire_expect = "yes"', "require_expect", "wrong_type"),
        ('version = 1\nname = "x"\nchains = "base"\nexpires = "2027"', "expires", "wrong_type"),
        ('version = 1\nname = "x"\nchains = "base"\npolicy = 1', "policy", "unknown_key"),
    ],
)
def test_refuses_the_whole(desk, text, key, code):
    assert desk.refuse(text, key, whole=True) == code


GOOD = "0xd62E97C1C4219a3850376f168e3B18aD242765Db"


@pytest.mark.parametrize(
    ("body", "key", "code"),
    [
        (f'[assets.X]\naddress = "{GOOD}"', "assets.X.decimals", "missing_key"),
        (f'[assets.X]\naddress = "{GOOD}"\ndecimals = "6"', "assets.X.decimals", "wrong_type"),
        (f'[assets.X]\naddress = "{GOOD}"\ndecimals = 78', "assets.X.decimals", "out_of_range"),
        ("[assets.X]\ndecimals = 6", "assets.X.address", "missing_key"),
        (f'[assets.X]\naddress = "{GOOD.lower()}"\ndecimals = 6', "assets.X.address", "bad_checksum"),
        (f'[assets.X]\naddress = "{GOOD.replace("D", "d")}"\ndecimals = 6', "assets.X.address", "bad_checksum"),
        ('[assets.X]\naddress = "0x12"\ndecimals = 6', "assets.X.address", "bad_address"),
        (f'[assets.ETH]\naddress = "{GOOD}"\ndecimals = 18', "assets.ETH", "duplicate_name"),
        (f'[assets.eth]\naddress = "{GOOD}"\ndecimals = 18', "assets.eth", "duplicate_name"),
        (f'[assets.self]\naddress = "{GOOD}"\ndecimals = 18', "assets.self", "bad_name"),
        (f'[assets."a b"]\naddress = "{GOOD}"\ndecimals = 18', 'assets."a b"', "bad_name"),
        (f'[assets.X]\naddress = "{GOOD}"\ndecimals = 6\nchain = "ethereum"', "assets.X.chain", "unknown_chain"),
        (f'[assets.X]\naddress = "{GOOD}"\ndecimals = 6\n[assets.Y]\naddress = "{GOOD}"\ndecimals = 7', "assets.Y.address", "duplicate_name"),
        ("[assets.X]\nnative = true\ndecimals = 6", "assets.X.decimals", "out_of_range"),
        (f'[addresses]\nx = "{GOOD}"\nX = "{GOOD}"', "addresses.X", "duplicate_name"),
        (f'[addresses]\nETH = "{GOOD}"', "addresses.ETH", "duplicate_name"),
        (f'[addresses]\n"*" = "{GOOD}"', 'addresses."*"', "bad_name"),
        ('[addresses]\nx = "0xD62E97C1C4219a3850376f168e3B18aD242765Db"', "addresses.x", "bad_checksum"),
        ('[addresses]\nx = ["y"]', "addresses.x", "unknown_name"),
        ('[addresses]\nx = ["*"]', "addresses.x", "bad_name"),
        (f'[addresses]\nx = {{address = "{GOOD}", chian = "base"}}', "addresses.x.chian", "unknown_key"),
        (f'[addresses]\nx = {{address = "{GOOD}", chain = "ethereum"}}', "addresses.x.chain", "unknown_chain"),
    ],
)  # fmt: skip
def test_refuses_names(desk, body, key, code):
    assert desk.refuse('version = 1\nname = "x"\nchains = "base"\n' + body, key, whole=True) == code


def test_a_syntax_error_names_its_line():
    with pytest.raises(ConfigError) as caught:
        load('version = 1\nname = "x\nchains = 1', source="p.toml")
    assert caught.value.code == "toml_syntax"
    assert caught.value.data["line"] == 2


def test_a_key_written_twice_is_a_syntax_error():
    with pytest.raises(ConfigError) as caught:
        load('version = 1\nname = "x"\nname = "y"', source="p.toml")
    assert caught.value.code == "toml_syntax"


def test_a_huge_file_is_refused():
    with pytest.raises(ConfigError) as caught:
        load("#" * (1024 * 1024 + 1), source="p.toml")
    assert caught.value.code == "policy_too_large"


@pytest.mark.parametrize(
    "text",
    ["x = " + "[" * 5000, "x = 1" + "0" * 5000, "x = 2027-13-01", "\ud800", "\x00", "x = 1\r", "\ufeffversion = 1"],
)
def test_what_is_not_toml_is_a_syntax_error(text):
    with pytest.raises(ConfigError) as caught:
        load(text, source="p.toml")
    assert caught.value.code == "toml_syntax"


TOKENS = [
    "version = 1\n", 'name = "x"\n', 'chains = ["base"]\n', "[assets.USDC]\n", "[[permit]]\n", "[[limits]]\n", "[[approve]]\n",
    "[[forbid]]\n", "[swap]\n", "[prices.USD]\n", "[addresses]\n", "[fragments.f]\n", 'transfer = "ETH"\n', 'to = "self"\n', 'to = "*"\n',
    'call = "permit2"\n', 'function = "f(uint256 a)"\n', 'where = {a = "1"}\n', 'asset = "ETH"\n', 'per_request = "1"\n',
    'per = {"24h" = "1"}\n', "when = {always = true}\n", "quorum = 2\n", 'fees = "ETH"\n', 'revoke = "*"\n', "x = 0.5\n",
    'use = "f"\n', 'le = "5"\n', "native = true\n", "decimals = 18\n", "expires = 0001-01-01T00:00:00+14:00\n", 'new_recipient = "1d"\n',
]  # fmt: skip


@given(st.lists(st.sampled_from(TOKENS), max_size=25).map("".join))
@settings(max_examples=300, deadline=None)
def test_a_text_loads_or_is_refused_with_its_key(text):
    head = 'version = 1\nname = "x"\nchains = "base"\n'
    policy, error = None, None
    try:
        policy = load(text if "version" in text else head + text, source="p.toml")
    except ConfigError as caught:
        error = caught
    if policy is None:
        assert error.code != "config_invalid"
        assert error.data["file"] == "p.toml"
        assert isinstance(error.data["key"], str)
    else:
        assert show(policy)
        assert lint(policy) is not None
        assert compare(policy, policy).direction is Direction.SAME


def test_an_unknown_key_names_the_nearest_right_one(desk):
    with pytest.raises(ConfigError, match="did you mean 'within'"):
        desk.load('[[approve]]\nwhen = {always = true}\nwihtin = "30m"')


def test_a_token_on_several_chains_needs_its_chain():
    head = 'version = 1\nname = "x"\nchains = ["base", "ethereum"]\n'
    with pytest.raises(ConfigError) as caught:
        load(head + f'[assets.X]\naddress = "{GOOD}"\ndecimals = 6', source="p.toml")
    assert caught.value.code == "missing_key"
    assert load(head + f'[assets.X]\naddress = "{GOOD}"\ndecimals = 6\nchain = "base"', source="p.toml")


def test_a_contract_on_several_chains_needs_its_chain():
    text = f'version = 1\nname = "x"\nchains = ["base", "ethereum"]\n[addresses]\nr = "{GOOD}"\n'
    rule = '[[permit]]\ncall = "r"\nfunction = "f()"\n'
    with pytest.raises(ConfigError) as caught:
        load(text + rule, source="p.toml")
    assert (caught.value.code, caught.value.data["key"]) == ("missing_key", "permit[0].call")
    assert load(text + rule + 'chain = "base"', source="p.toml")


FLOOR_ACROSS = """
[[swap.floor]]
sell = "X"
buy = "Y"
at_least = "1"
[assets.Y]
address = "0x6F8ea7F2dBC4c8e82b916Ca7Ee8820C5726c1766"
decimals = 6
chain = "ethereum"
"""
TWO_CHAINS = f"""
version = 1
name = "x"
chains = ["base", "ethereum"]
[assets.X]
address = "{GOOD}"
decimals = 6
chain = "base"
[addresses]
there = {{address = "{GOOD}", chain = "ethereum"}}
everywhere = {{address = "0x6F8ea7F2dBC4c8e82b916Ca7Ee8820C5726c1766"}}
"""


@pytest.mark.parametrize(
    ("body", "key", "code"),
    [
        ('[[permit]]\ntransfer = "X"\nto = "self"\nchain = "ethereum"', "permit[0].transfer", "unknown_name"),
        ('[[permit]]\ncall = "there"\nfunction = "f()"\nchain = "base"', "permit[0].call", "unknown_name"),
        ('[[permit]]\ncall = "there"\nfunction = "f()"\nunderlying = "X"', "permit[0].underlying", "unknown_name"),
        ('[[limits]]\nasset = "X"\nchain = "ethereum"\nlifetime = "1"', "limits[0].chain", "unknown_name"),
        (FLOOR_ACROSS, "swap.floor[0].buy", "unknown_name"),
        (f'[assets.Z]\naddress = "{GOOD}"\ndecimals = 6\nchain = ["base", "ethereum"]', "assets.Z.chain", "wrong_type"),
    ],
)  # fmt: skip
def test_refuses_what_is_on_another_chain(desk, body, key, code):
    assert desk.refuse(TWO_CHAINS + body, key, whole=True) == code


def test_names_stand_for_contracts_where_they_are():
    rules = (
        '[[permit]]\nsign = "Permit"\ncontract = ["X", "there", "everywhere"]\n'
        '[assets.ETH]\nnative = true\nchain = "base"\n'
    )
    policy = load(TWO_CHAINS + rules, source="p")
    (rule,) = policy.terms.permits
    assert sorted(chain for chain, _ in rule.match.contracts) == [1, 1, 8453, 8453]
    assert [asset.chain_id for asset in policy.assets["ETH"]] == [8453]


def test_an_address_may_have_a_group(desk):
    head = desk.head.replace("[[limits]]", 'friends = ["acme", "shop"]\n[[limits]]', 1)
    policy = desk.load('[[permit]]\ntransfer = "USDC"\nto = "friends"\n', head=head)
    assert policy.addresses["friends"].members == {desk.acme, desk.shop}
    assert "friends" in show(policy)[-1]


def test_a_coin_may_be_declared_for_several_chains():
    text = 'version = 1\nname = "x"\nchains = ["base", "ethereum"]\n[assets.gas]\nnative = true\n'
    assert len(load(text, source="p").assets["gas"]) == 2


def test_known_contracts_functions_and_vaults_reach_the_decoder(desk):
    policy = desk.load(
        '[[permit]]\ncall = "router"\nfunction = ["f(uint256)", "receive()"]\nunderlying = "USDC"\n'
        '[[permit]]\nnft = "apes"\nto = "acme"'
    )
    assert {key[1:] for key in policy.functions} == {(desk.router, b""), (desk.router, bytes.fromhex("b3de648b"))}
    assert policy.underlying == {(desk.base, desk.router): desk.usdc.address}
    assert policy.collections == {(desk.base, desk.apes)}


def test_only_permits_say_how_calls_are_decoded(desk):
    permit = '[[permit]]\ncall = "router"\nfunction = "f(address)"\n'
    others = '[[forbid]]\ncall = "router"\nfunction = "f(address referral)"\n[[forbid]]\nnft = "apes"\n'
    asks = '[[approve]]\nwhen = {call = "router", function = "f(address other)"}\n'
    policy = desk.load(permit + others + asks)
    assert policy.functions == desk.load(permit).functions
    assert policy.collections == frozenset()
    assert desk.load(others + asks).functions == {}


def test_a_nameless_address_is_taken_for_a_recipient(desk):
    policy = desk.load('[[permit]]\ncall = "router"\nfunction = "f(address,address referral,uint256)"')
    (function,) = policy.functions.values()
    assert [param.name for param in function.params] == ["recipient", "referral", ""]


def test_needs_name_the_facts(desk):
    policy = desk.load(
        '[[limits]]\nasset = "USDC"\nmax_share = "10%"\n[[limits]]\nquote = "USD"\nper_request = "5"\n'
        '[prices.USD]\nmax_age = "5m"\nlive = {ETH = {feed = "router", decimals = 8}}\n[[approve]]\nwhen = {new_recipient = "7d"}\n'
        '[[permit]]\nallowance = "USDC"\nspender = "router"\nmax = "5"',
        top='max_gas = 100000\nsimulate = "required"\n',
    )
    assert policy.needs == frozenset(Need)
