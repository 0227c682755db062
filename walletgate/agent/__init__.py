"""The agent's side: asks the gate, holds no key and no policy, imports `errors` and `types` of ours and nothing else.

Its public names are `walletgate`'s own: `account`, `attach`, `rpc_url`, `Client`, the errors.
"""
