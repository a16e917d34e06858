-- A row is written anew about five times in its life, and its index entries with it: at the default of a fifth of the
-- table, vacuum would come after millions of dead rows, which the sweeper and every list would pass.
ALTER TABLE orders SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_insert_scale_factor = 0.05);
