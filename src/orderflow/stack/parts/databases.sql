-- psql script: makes those of the databases in :names (comma-separated) that are not there yet.
SELECT format('CREATE DATABASE %I', name)
FROM unnest(string_to_array(:'names', ',')) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec
