// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";

/// @title Lobstar: the token of the accident that WalletGate exists for, for demonstrations and tests.
/// @notice A plain ERC-20 with 6 decimals and a supply of 1,000,000,000. An agent that means 52,439.283 of it, but
///   scales by 9 decimals instead of 6, sends 52,439,283: a thousand times as much, and 5 % of all there is.
contract Lobstar is ERC20 {
    /// @notice All of it, in base units, is the deployer's.
    uint256 public constant SUPPLY = 1_000_000_000e6;

    constructor() ERC20("Lobstar", "LOBSTAR") {
        _mint(msg.sender, SUPPLY);
    }

    /// @inheritdoc ERC20
    function decimals() public pure override returns (uint8) {
        return 6;
    }
}
