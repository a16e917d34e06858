INSERT INTO product (sku, name, prices) VALUES
    ('KEYBOARD-01',   'Mechanical keyboard',       '{"EUR": 8990, "USD": 9490, "JPY": 14200}'),
    ('MOUSE-01',      'Wireless mouse',            '{"EUR": 3490, "USD": 3690, "JPY": 5500}'),
    ('MONITOR-27',    'Monitor, 27 inches',        '{"EUR": 28900, "USD": 30900, "JPY": 46800}'),
    ('CABLE-USBC-2M', 'USB-C cable, two metres',   '{"EUR": 1290, "USD": 1390, "JPY": 2100}'),
    ('DOCK-01',       'Docking station',           '{"EUR": 14900, "USD": 15900}'),
    ('HEADSET-01',    'Headset',                   '{"EUR": 7900, "USD": 8400, "JPY": 12900}'),
    ('DESK-160',      'Standing desk, 160 cm',     '{"EUR": 49900}'),
    ('LAMP-01',       'Desk lamp',                 '{"EUR": 4590, "USD": 4890, "JPY": 7400}');
