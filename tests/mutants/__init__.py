"""
Known bugs, as patches, each with the test that must fail because of it. `python -m tests.mutants`
plants one after the other in a scratch copy of the tree; a test that stays green proves nothing,
and is reported.
"""
