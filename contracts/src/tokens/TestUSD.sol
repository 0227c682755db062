// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

/// @title TestUSD: a dollar without worth that behaves as USDC does, for demonstrations and tests.
/// @notice 6 decimals, EIP-2612 permits and EIP-3009 authorizations, each with (v, r, s) or with a signature in bytes
///   which may be a contract's (ERC-1271). Anybody may mint. No blocklist, no pause, no upgrade.
contract TestUSD is ERC20Permit {
    /// @notice EIP-712 type hash of a transfer that anybody may submit.
    bytes32 public constant TRANSFER_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    /// @notice EIP-712 type hash of a transfer that only its recipient may submit.
    bytes32 public constant RECEIVE_WITH_AUTHORIZATION_TYPEHASH = keccak256(
        "ReceiveWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    );

    /// @notice EIP-712 type hash of taking an unused authorization back.
    bytes32 public constant CANCEL_AUTHORIZATION_TYPEHASH =
        keccak256("CancelAuthorization(address authorizer,bytes32 nonce)");

    /// @notice EIP-712 type hash of an EIP-2612 permit.
    bytes32 public constant PERMIT_TYPEHASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    /// @notice Whether an authorization's nonce was used or cancelled.
    mapping(address authorizer => mapping(bytes32 nonce => bool isUsed)) public authorizationState;

    /// @notice The transfer that `nonce` stood for was made.
    event AuthorizationUsed(address indexed authorizer, bytes32 indexed nonce);

    /// @notice The transfer that `nonce` stood for can never be made.
    event AuthorizationCanceled(address indexed authorizer, bytes32 indexed nonce);

    /// @notice Too early: valid only after `validAfter` (Unix seconds, exclusive).
    error AuthorizationNotYetValid(uint256 validAfter, uint256 timestamp);

    /// @notice Too late: valid only before `validBefore` (Unix seconds, exclusive).
    error AuthorizationExpired(uint256 validBefore, uint256 timestamp);

    /// @notice The nonce was used or cancelled before.
    error AuthorizationSpent(address authorizer, bytes32 nonce);

    /// @notice `signer` did not sign this.
    error InvalidSignature(address signer);

    /// @notice Only the recipient may submit a ReceiveWithAuthorization.
    error CallerNotRecipient(address caller, address recipient);

    constructor() ERC20("Test USD", "TUSD") ERC20Permit("Test USD") {}

    /// @notice Makes `amount` base units for `recipient`, for anybody who asks.
    function mint(address recipient, uint256 amount) external {
        _mint(recipient, amount);
    }

    /// @notice EIP-3009, with a signature of 65 bytes or a contract's own form.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) public {
        bytes32 terms = keccak256(
            abi.encode(TRANSFER_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce)
        );
        _checkTime(validAfter, validBefore);
        _spend(from, nonce, terms, signature);
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    /// @notice EIP-3009.
    function transferWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        transferWithAuthorization(from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
    }

    /// @notice EIP-3009, submitted by the recipient, with a signature of 65 bytes or a contract's own form.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        bytes memory signature
    ) public {
        require(msg.sender == to, CallerNotRecipient(msg.sender, to));
        bytes32 terms =
            keccak256(abi.encode(RECEIVE_WITH_AUTHORIZATION_TYPEHASH, from, to, value, validAfter, validBefore, nonce));
        _checkTime(validAfter, validBefore);
        _spend(from, nonce, terms, signature);
        emit AuthorizationUsed(from, nonce);
        _transfer(from, to, value);
    }

    /// @notice EIP-3009, submitted by the recipient.
    function receiveWithAuthorization(
        address from,
        address to,
        uint256 value,
        uint256 validAfter,
        uint256 validBefore,
        bytes32 nonce,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external {
        receiveWithAuthorization(from, to, value, validAfter, validBefore, nonce, abi.encodePacked(r, s, v));
    }

    /// @notice EIP-3009, with a signature of 65 bytes or a contract's own form.
    function cancelAuthorization(address authorizer, bytes32 nonce, bytes memory signature) public {
        _spend(authorizer, nonce, keccak256(abi.encode(CANCEL_AUTHORIZATION_TYPEHASH, authorizer, nonce)), signature);
        emit AuthorizationCanceled(authorizer, nonce);
    }

    /// @notice EIP-3009.
    function cancelAuthorization(address authorizer, bytes32 nonce, uint8 v, bytes32 r, bytes32 s) external {
        cancelAuthorization(authorizer, nonce, abi.encodePacked(r, s, v));
    }

    /// @notice EIP-2612, with a signature of 65 bytes or a contract's own form.
    function permit(address owner, address spender, uint256 value, uint256 deadline, bytes memory signature) external {
        require(block.timestamp <= deadline, ERC2612ExpiredSignature(deadline));
        bytes32 terms = keccak256(abi.encode(PERMIT_TYPEHASH, owner, spender, value, _useNonce(owner), deadline));
        _checkSignature(owner, terms, signature);
        _approve(owner, spender, value);
    }

    /// @notice The version in the EIP-712 domain.
    function version() external view returns (string memory) {
        return _EIP712Version();
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }

    function _spend(address authorizer, bytes32 nonce, bytes32 terms, bytes memory signature) private {
        require(!authorizationState[authorizer][nonce], AuthorizationSpent(authorizer, nonce));
        _checkSignature(authorizer, terms, signature);
        authorizationState[authorizer][nonce] = true;
    }

    function _checkTime(uint256 validAfter, uint256 validBefore) private view {
        require(block.timestamp > validAfter, AuthorizationNotYetValid(validAfter, block.timestamp));
        require(block.timestamp < validBefore, AuthorizationExpired(validBefore, block.timestamp));
    }

    function _checkSignature(address signer, bytes32 terms, bytes memory signature) private view {
        bool isValid = SignatureChecker.isValidSignatureNow(signer, _hashTypedDataV4(terms), signature);
        require(isValid, InvalidSignature(signer));
    }
}
