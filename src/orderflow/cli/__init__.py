"""The `orderflow` command: reaches services over HTTP and as processes; imports the kit, contracts and stack."""
