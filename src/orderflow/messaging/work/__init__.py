"""
Parts of a loop that works off records, customers or anything else: `gate` (a stage that waits for
a resource), `calls` (a bounded pool), `turning` (whether a loop still turns), `clock` (time as an
argument); and `patience`, how a step that is no loop waits for a resource.
"""
