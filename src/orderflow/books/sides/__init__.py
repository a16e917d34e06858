"""The sides that the books compare: readers of the services' views and of the provider's ledger."""
