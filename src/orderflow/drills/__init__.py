"""
`orderflow drill …`: drills, which are incidents brought about on purpose, on a stack of their own,
under load; each is healed, and judged.

Rooms: `drill` (what a drill is), `catalogue` (all of them), `incidents/` (how each is brought about
and healed), `scene` (what an incident acts on: stack, load, databases), `figures` (what is seen
meanwhile), `conduct` (one drill, from load to verdict), `judge` (whether anything is wrong at
rest), `programme` (which drills share a stack), `expectations` (in the same words for several),
`service_views` (what is read of the services), `screen`, `report` (docs/drills.md), `cli`. Load,
disturbances and the harness come from `trials`.

A new drill is a module in `incidents/` with a class of `Incident` and a `Drill` value, and a line
in `catalogue`.
"""
