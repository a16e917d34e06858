"""What an installer's output means, in one line that says what to do."""

from __future__ import annotations

import re

CERTIFICATE = (
    "the Python registry's certificate is not trusted: behind a TLS proxy, add its root "
    "certificate to the system's, or name a bundle in SSL_CERT_FILE and PIP_CERT"
)
CHECKSUM = (
    "a package's checksum is wrong, so nothing was installed: something between here and the "
    "Python registry changes files (a proxy, a mirror); try another network"
)
NETWORK = (
    "the Python registry can't be reached: check the network (or HTTPS_PROXY), then run the same "
    "command again; what has arrived is kept"
)
UNREACHABLE = (
    "Connection refused|NewConnectionError|Name or service not known|"
    "Temporary failure in name resolution|ProxyError|timed out|dns error|error sending request|"
    "tcp connect error|No matching distribution found|Network is unreachable|"
    "[Rr]equest failed after"
)
CAUSES = (
    (
        (
            r"CERTIFICATE_VERIFY_FAILED|UnknownIssuer|invalid peer certificate|"
            r"certificate verify failed"
        ),
        CERTIFICATE,
    ),
    (
        r"No space left on device|os error 28|Errno 28",
        "the disk is full: free 1.5 GB, or set ORDERFLOW_STACK__CACHE_DIR",
    ),
    (r"THESE PACKAGES DO NOT MATCH THE HASHES|[Hh]ash mismatch", CHECKSUM),
    (UNREACHABLE, NETWORK),
)


def explain(output: str) -> str:
    """A line for people; the installer's own last lines only where the cause is unknown."""
    for pattern, line in CAUSES:
        if re.search(pattern, output):
            return line
    words = [re.sub(r"https?://[^\s/]+", "…", line) for line in output.strip().splitlines()[-6:]]
    return "the packages could not be installed; the installer's last words:\n    " + "\n    ".join(
        words
    )
