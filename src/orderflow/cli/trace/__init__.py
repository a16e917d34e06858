"""
`orderflow trace <orderId>`: what happened to an order, as a tree.

No tracing back end is needed: what happened is put together from the topics' headers, the services'
own answers, and the lines that listeners wrote on this host.
"""
