"""What tests need of the kit, shipped with it: failpoints that kill, `eventually`, probes."""
