"""Work that depends on somebody else: a gate that closes while a resource is away, a pool of calls."""
