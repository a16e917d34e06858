"""
The order service's HTTP API.

`api`: the application; `post_order`: the hot path; `commands`, `operators`, `list_orders`: the
other routes that are more than a query; `long_poll`: requests that wait; `readiness`: refusing
requests until the service has started; `requests` and `views`: what comes in and goes out;
`problems`, `openapi`, `examples`: errors and documentation.
"""
