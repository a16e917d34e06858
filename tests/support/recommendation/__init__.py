"""A service of another team, who were told where the feed is: a table and a handler, and nothing else."""
