"""
Drills: incidents brought about on purpose, on a stack of their own, under load; each is healed, and
judged by the books.
"""
