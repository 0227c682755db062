"""The gate's endpoints, and the process that serves them."""

from walletgate.server.app import Running, serve, start
from walletgate.server.home import Config, Home, create_home, parse_config

__all__ = ["Config", "Home", "Running", "create_home", "parse_config", "serve", "start"]
