"""
`orderflow dlt list | show | replay | discard`: dead letters for whoever has to deal with them.

The commands are in `command`; what they ask the kit's desk in `asking`; what people see in `view`
and `words`; what programs see in `answers`.
"""
