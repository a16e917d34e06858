-- The shelf of a fresh system. DESK-160 is sold out until somebody puts some there: PUT /stock/DESK-160.
INSERT INTO stock (sku, on_hand) VALUES
    ('KEYBOARD-01',   1000000),
    ('MOUSE-01',      1000000),
    ('MONITOR-27',    1000000),
    ('CABLE-USBC-2M', 1000000),
    ('DOCK-01',       1000000),
    ('HEADSET-01',    1000000),
    ('DESK-160',      0),
    ('LAMP-01',       1000000)
ON CONFLICT DO NOTHING;
