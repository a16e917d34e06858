"""
The books: a read-only proof, on a live system, that nothing was lost and nothing done twice.

Stands on the kit and the contracts. Reads what each service publishes of itself (its `books_*`
views), the topics, and the provider's ledger; never another table.
"""
