ALTER TABLE product
    ADD COLUMN active     boolean     NOT NULL DEFAULT true,
    ADD COLUMN version    integer     NOT NULL DEFAULT 1 CHECK (version >= 1),
    ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now();
-- One row for each version of a product, for good: it grows with commands, never with orders.
CREATE TABLE product_history (
    sku         text        NOT NULL REFERENCES product,
    version     integer     NOT NULL,
    name        text        NOT NULL,
    prices      jsonb       NOT NULL,
    active      boolean     NOT NULL,
    actor       text        NOT NULL,
    reason      text,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (sku, version)
);
INSERT INTO product_history (sku, version, name, prices, active, actor, occurred_at)
SELECT sku, version, name, prices, active, 'anonymous', updated_at FROM product;
