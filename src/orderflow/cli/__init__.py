"""The `orderflow` command. Reaches services over HTTP and as processes; imports the kit, the contracts and the stack."""
