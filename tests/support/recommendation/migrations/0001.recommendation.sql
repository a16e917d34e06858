-- position: in what order they were heard. Nothing here is unique: a repeat would be seen.
CREATE TABLE learned (
    position bigint GENERATED ALWAYS AS IDENTITY,
    order_id text    NOT NULL,
    version  integer NOT NULL,
    status   text    NOT NULL
);
