"""The simulated neighbours: a payment provider and a mail server, reached over HTTP and SMTP only."""
