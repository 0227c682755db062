// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {Test} from "forge-std/Test.sol";
import {TestUSD} from "../src/tokens/TestUSD.sol";

/// @dev A wallet contract (ERC-1271) that takes its owner's signatures for its own.
contract ContractWallet {
    address private immutable OWNER;

    constructor(address owner) {
        OWNER = owner;
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        return ECDSA.recover(digest, signature) == OWNER ? this.isValidSignature.selector : bytes4(0xffffffff);
    }
}

contract TestUSDTest is Test {
    struct Terms {
        address from;
        address to;
        uint256 value;
        uint256 validAfter;
        uint256 validBefore;
        bytes32 nonce;
    }

    uint256 internal constant NOW = 1_763_900_000;
    uint256 internal constant FUNDS = 1_000e6;

    TestUSD internal token;
    address internal payer;
    uint256 internal payerKey;
    address internal payee = makeAddr("payee");

    function setUp() public {
        vm.warp(NOW);
        token = new TestUSD();
        (payer, payerKey) = makeAddrAndKey("payer");
        token.mint(payer, FUNDS);
    }

    // --- what it says of itself ---

    function test_token_describes_itself() public view {
        assertEq(token.name(), "Test USD");
        assertEq(token.symbol(), "TUSD");
        assertEq(token.version(), "1");
        assertEq(token.decimals(), 6);
    }

    function test_domain_separator_is_that_of_the_standard() public view {
        bytes32 domainType =
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
        assertEq(
            token.DOMAIN_SEPARATOR(),
            keccak256(abi.encode(domainType, keccak256("Test USD"), keccak256("1"), block.chainid, address(token)))
        );
    }

    function test_type_hashes_are_those_of_the_standard() public view {
        assertEq(
            token.TRANSFER_WITH_AUTHORIZATION_TYPEHASH(),
            0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267
        );
        assertEq(
            token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(),
            0xd099cc98ef71107a616c4f0f941f04c322d8e254fe26b3c6668db87aae413de8
        );
        assertEq(
            token.CANCEL_AUTHORIZATION_TYPEHASH(), 0x158b0a9edf7a828aad02f63cd515c68ef2f50ba807396f6d12842833a1597429
        );
        assertEq(token.PERMIT_TYPEHASH(), 0x6e71edae12b1b97f4d1f60370fef10105fa2faae0126114a169c64845d6126c9);
    }

    // --- transferWithAuthorization ---

    function test_transfer_pays_once_for_anybody_who_submits_it() public {
        Terms memory terms = _terms();
        (uint8 v, bytes32 r, bytes32 s) = _split(_signTransfer(terms));
        vm.expectEmit();
        emit TestUSD.AuthorizationUsed(payer, terms.nonce);
        _transfer(terms, v, r, s);
        assertEq(token.balanceOf(payee), terms.value);
        assertEq(token.balanceOf(payer), FUNDS - terms.value);
        assertTrue(token.authorizationState(payer, terms.nonce));

        vm.expectRevert(abi.encodeWithSelector(TestUSD.AuthorizationSpent.selector, payer, terms.nonce));
        _transfer(terms, v, r, s);
    }

    function test_transfer_takes_a_signature_in_bytes() public {
        Terms memory terms = _terms();
        _transfer(terms, _signTransfer(terms));
        assertEq(token.balanceOf(payee), terms.value);
    }

    function test_transfer_takes_the_signature_of_a_contract() public {
        Terms memory terms = _terms();
        terms.from = address(new ContractWallet(payer));
        token.mint(terms.from, FUNDS);
        _transfer(terms, _signTransfer(terms));
        assertEq(token.balanceOf(payee), terms.value);
    }

    function test_transfer_is_valid_strictly_between_its_bounds() public {
        Terms memory terms = _terms();
        bytes memory signature = _signTransfer(terms);
        vm.warp(terms.validAfter);
        vm.expectRevert(
            abi.encodeWithSelector(TestUSD.AuthorizationNotYetValid.selector, terms.validAfter, terms.validAfter)
        );
        _transfer(terms, signature);
        vm.warp(terms.validBefore);
        vm.expectRevert(
            abi.encodeWithSelector(TestUSD.AuthorizationExpired.selector, terms.validBefore, terms.validBefore)
        );
        _transfer(terms, signature);
        vm.warp(terms.validBefore - 1);
        _transfer(terms, signature);
        assertEq(token.balanceOf(payee), terms.value);
    }

    function test_transfer_is_valid_one_second_after_its_start() public {
        Terms memory terms = _terms();
        vm.warp(terms.validAfter + 1);
        _transfer(terms, _signTransfer(terms));
        assertEq(token.balanceOf(payee), terms.value);
    }

    function test_transfer_reverts_above_balance() public {
        Terms memory terms = _terms();
        terms.value = FUNDS + 1;
        bytes memory signature = _signTransfer(terms);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, payer, FUNDS, FUNDS + 1));
        _transfer(terms, signature);
        assertFalse(token.authorizationState(payer, terms.nonce));
    }

    function testFuzz_transfer_reverts_when_any_term_was_changed(uint8 field, uint256 change) public {
        Terms memory terms = _terms();
        bytes memory signature = _signTransfer(terms);
        change = bound(change, 1, 100);
        field = uint8(bound(field, 0, 5));
        if (field == 0) terms.from = vm.addr(change);
        if (field == 1) terms.to = vm.addr(change);
        if (field == 2) terms.value += change;
        if (field == 3) terms.validAfter -= change;
        if (field == 4) terms.validBefore += change;
        if (field == 5) terms.nonce = bytes32(uint256(terms.nonce) + change);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.InvalidSignature.selector, terms.from));
        _transfer(terms, signature);
    }

    function test_transfer_reverts_with_a_signature_for_receiving() public {
        Terms memory terms = _terms();
        bytes memory signature = _sign(token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), terms);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.InvalidSignature.selector, payer));
        _transfer(terms, signature);
    }

    function test_transfer_reverts_on_another_chain() public {
        Terms memory terms = _terms();
        bytes memory signature = _signTransfer(terms);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.InvalidSignature.selector, payer));
        _transfer(terms, signature);
    }

    function test_transfer_reverts_with_the_other_half_of_the_curve() public {
        Terms memory terms = _terms();
        (uint8 v, bytes32 r, bytes32 s) = _split(_signTransfer(terms));
        uint256 order = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141;
        vm.expectRevert(abi.encodeWithSelector(TestUSD.InvalidSignature.selector, payer));
        _transfer(terms, v == 27 ? 28 : 27, r, bytes32(order - uint256(s)));
    }

    // --- receiveWithAuthorization ---

    function test_receive_pays_its_recipient_once() public {
        Terms memory terms = _terms();
        (uint8 v, bytes32 r, bytes32 s) = _split(_sign(token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), terms));
        vm.startPrank(payee);
        token.receiveWithAuthorization(
            terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce, v, r, s
        );
        assertEq(token.balanceOf(payee), terms.value);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.AuthorizationSpent.selector, payer, terms.nonce));
        token.receiveWithAuthorization(
            terms.from,
            terms.to,
            terms.value,
            terms.validAfter,
            terms.validBefore,
            terms.nonce,
            abi.encodePacked(r, s, v)
        );
    }

    function test_receive_reverts_for_anybody_else() public {
        Terms memory terms = _terms();
        bytes memory signature = _sign(token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), terms);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.CallerNotRecipient.selector, address(this), payee));
        token.receiveWithAuthorization(
            terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce, signature
        );
    }

    function test_receive_is_valid_strictly_between_its_bounds() public {
        Terms memory terms = _terms();
        bytes memory signature = _sign(token.RECEIVE_WITH_AUTHORIZATION_TYPEHASH(), terms);
        vm.startPrank(payee);
        vm.warp(terms.validAfter);
        vm.expectRevert(
            abi.encodeWithSelector(TestUSD.AuthorizationNotYetValid.selector, terms.validAfter, terms.validAfter)
        );
        token.receiveWithAuthorization(
            terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce, signature
        );
        vm.warp(terms.validBefore);
        vm.expectRevert(
            abi.encodeWithSelector(TestUSD.AuthorizationExpired.selector, terms.validBefore, terms.validBefore)
        );
        token.receiveWithAuthorization(
            terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce, signature
        );
    }

    // --- cancelAuthorization ---

    function test_cancel_makes_the_authorization_worthless() public {
        Terms memory terms = _terms();
        bytes memory signature = _signTransfer(terms);
        (uint8 v, bytes32 r, bytes32 s) = _split(_signCancel(terms.nonce));
        vm.expectEmit();
        emit TestUSD.AuthorizationCanceled(payer, terms.nonce);
        token.cancelAuthorization(payer, terms.nonce, v, r, s);
        assertTrue(token.authorizationState(payer, terms.nonce));
        vm.expectRevert(abi.encodeWithSelector(TestUSD.AuthorizationSpent.selector, payer, terms.nonce));
        _transfer(terms, signature);
    }

    function test_cancel_takes_a_signature_in_bytes() public {
        token.cancelAuthorization(payer, bytes32("n"), _signCancel(bytes32("n")));
        assertTrue(token.authorizationState(payer, bytes32("n")));
    }

    function test_cancel_reverts_for_a_used_authorization_or_another_signer() public {
        Terms memory terms = _terms();
        _transfer(terms, _signTransfer(terms));
        bytes memory signature = _signCancel(terms.nonce);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.AuthorizationSpent.selector, payer, terms.nonce));
        token.cancelAuthorization(payer, terms.nonce, signature);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.InvalidSignature.selector, payee));
        token.cancelAuthorization(payee, terms.nonce, signature);
    }

    // --- permit ---

    function test_permit_lets_its_spender_take_the_amount_and_no_more() public {
        (uint8 v, bytes32 r, bytes32 s) = _split(_signPermit(payee, 5e6, NOW, 0));
        token.permit(payer, payee, 5e6, NOW, v, r, s);
        assertEq(token.nonces(payer), 1);
        vm.startPrank(payee);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, payee, 5e6, 5e6 + 1));
        token.transferFrom(payer, payee, 5e6 + 1);
        token.transferFrom(payer, payee, 5e6);
        assertEq(token.allowance(payer, payee), 0);
    }

    function test_permit_takes_a_signature_in_bytes_once() public {
        bytes memory signature = _signPermit(payee, 5e6, NOW, 0);
        token.permit(payer, payee, 5e6, NOW, signature);
        assertEq(token.allowance(payer, payee), 5e6);
        vm.expectRevert(abi.encodeWithSelector(TestUSD.InvalidSignature.selector, payer));
        token.permit(payer, payee, 5e6, NOW, signature);
    }

    function test_permit_reverts_after_its_deadline() public {
        bytes memory signature = _signPermit(payee, 5e6, NOW - 1, 0);
        vm.expectRevert(abi.encodeWithSelector(ERC20Permit.ERC2612ExpiredSignature.selector, NOW - 1));
        token.permit(payer, payee, 5e6, NOW - 1, signature);
    }

    // --- the happy path, and how to sign it ---

    function _terms() internal view returns (Terms memory) {
        return Terms({
            from: payer,
            to: payee,
            value: 10e6,
            validAfter: NOW - 100,
            validBefore: NOW + 100,
            nonce: keccak256("nonce")
        });
    }

    function _sign(bytes32 typeHash, Terms memory terms) internal view returns (bytes memory) {
        return _signHash(
            keccak256(
                abi.encode(
                    typeHash, terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce
                )
            )
        );
    }

    function _signTransfer(Terms memory terms) internal view returns (bytes memory) {
        return _sign(token.TRANSFER_WITH_AUTHORIZATION_TYPEHASH(), terms);
    }

    function _signCancel(bytes32 nonce) internal view returns (bytes memory) {
        return _signHash(keccak256(abi.encode(token.CANCEL_AUTHORIZATION_TYPEHASH(), payer, nonce)));
    }

    function _signPermit(address spender, uint256 value, uint256 deadline, uint256 nonce)
        internal
        view
        returns (bytes memory)
    {
        return _signHash(keccak256(abi.encode(token.PERMIT_TYPEHASH(), payer, spender, value, nonce, deadline)));
    }

    function _signHash(bytes32 structHash) internal view returns (bytes memory) {
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), structHash));
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(payerKey, digest);
        return abi.encodePacked(r, s, v);
    }

    function _split(bytes memory signature) internal pure returns (uint8 v, bytes32 r, bytes32 s) {
        (r, s) = abi.decode(signature, (bytes32, bytes32));
        v = uint8(signature[64]);
    }

    function _transfer(Terms memory terms, uint8 v, bytes32 r, bytes32 s) internal {
        token.transferWithAuthorization(
            terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce, v, r, s
        );
    }

    function _transfer(Terms memory terms, bytes memory signature) internal {
        token.transferWithAuthorization(
            terms.from, terms.to, terms.value, terms.validAfter, terms.validBefore, terms.nonce, signature
        );
    }
}
