// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {Test} from "forge-std/Test.sol";
import {Lobstar} from "../src/tokens/Lobstar.sol";

contract LobstarTest is Test {
    Lobstar internal token;
    address internal recipient = makeAddr("recipient");

    function setUp() public {
        token = new Lobstar();
    }

    function test_token_describes_itself() public view {
        assertEq(token.name(), "Lobstar");
        assertEq(token.symbol(), "LOBSTAR");
        assertEq(token.decimals(), 6);
    }

    function test_deployer_gets_the_whole_supply() public view {
        assertEq(token.totalSupply(), 1_000_000_000 * 10 ** token.decimals());
        assertEq(token.balanceOf(address(this)), token.totalSupply());
    }

    function test_scaling_by_nine_decimals_sends_a_thousand_times_what_was_meant() public {
        uint256 meant = 52_439_283 * 10 ** 3; // 52,439.283 with 6 decimals
        uint256 sent = 52_439_283 * 10 ** 6; // 52,439.283 scaled by 9 decimals
        assertEq(sent, meant * 1000);
        assertTrue(token.transfer(recipient, sent));
        assertEq(token.balanceOf(recipient) / 10 ** token.decimals(), 52_439_283);
        assertEq(token.balanceOf(recipient) * 100 / token.totalSupply(), 5);
    }

    function test_transfer_reverts_above_balance() public {
        uint256 all = token.totalSupply();
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, address(this), all, all + 1)
        );
        token.transfer(recipient, all + 1);
    }

    function testFuzz_transfer_moves_the_amount_and_nothing_else(uint256 amount) public {
        amount = bound(amount, 0, token.totalSupply());
        token.transfer(recipient, amount);
        assertEq(token.balanceOf(recipient), amount);
        assertEq(token.balanceOf(address(this)), token.totalSupply() - amount);
    }
}
