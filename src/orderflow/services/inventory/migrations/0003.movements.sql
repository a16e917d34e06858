ALTER TABLE stock
    ADD COLUMN received  bigint NOT NULL DEFAULT 0,
    ADD COLUMN corrected bigint NOT NULL DEFAULT 0,
    ADD COLUMN movements bigint NOT NULL DEFAULT 0;

-- Every change of the pieces on hand, only ever inserted, and kept for good: the books of the warehouse.
-- A receipt's key is unique for good, too: the same delivery note is booked once, however late it is sent again.
CREATE TABLE stock_movement (
    sku         text COLLATE "C" NOT NULL,
    sequence    bigint      NOT NULL,
    kind        text        NOT NULL,
    quantity    bigint      NOT NULL,
    on_hand     integer     NOT NULL,
    order_id    text,
    receipt_key text        COLLATE "C",
    actor       text,
    reason      text,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (sku, sequence),
    CONSTRAINT stock_movement_has_the_sign_of_its_kind CHECK (
        CASE kind WHEN 'RECEIPT' THEN quantity > 0 WHEN 'SHIPMENT' THEN quantity < 0 ELSE kind = 'CORRECTION' END
    )
);
CREATE UNIQUE INDEX stock_movement_books_a_receipt_once ON stock_movement (sku, receipt_key) WHERE receipt_key IS NOT NULL;

-- What was there before movements were recorded: one receipt, and one shipment of all that had left.
INSERT INTO stock_movement (sku, sequence, kind, quantity, on_hand, actor, reason, occurred_at)
SELECT sku, 1, 'RECEIPT', on_hand + shipped, on_hand + shipped, 'migration', 'all that came in before movements', now()
FROM stock WHERE on_hand + shipped > 0;
INSERT INTO stock_movement (sku, sequence, kind, quantity, on_hand, actor, reason, occurred_at)
SELECT sku, 2, 'SHIPMENT', -shipped, on_hand, 'migration', 'all that left before movements', now()
FROM stock WHERE shipped > 0;
UPDATE stock SET received = on_hand + shipped,
                 movements = (SELECT count(*) FROM stock_movement WHERE stock_movement.sku = stock.sku);

ALTER TABLE stock ADD CONSTRAINT stock_is_what_moved CHECK (on_hand = received + corrected - shipped);
