"""The bodies of the commands: flags in, an exit code out. Each is imported only when it is called."""
