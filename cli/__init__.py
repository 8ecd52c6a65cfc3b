"""The `kopitra` command: the top layer, one module per command group."""
