-- A shipment has its lines, and is prepared when its order is paid and its stock is reserved. What was prepared before this
-- stays so: its lines are not known here.
ALTER TABLE shipment ADD COLUMN paid_at timestamptz, ADD COLUMN reserved_at timestamptz, ADD COLUMN lines jsonb;
UPDATE shipment SET paid_at = prepared_at, reserved_at = prepared_at;
ALTER TABLE shipment DROP CONSTRAINT shipment_status_is_known;
ALTER TABLE shipment ADD CONSTRAINT shipment_status_is_known CHECK (status IN ('WAITING', 'PREPARED', 'TRACKED', 'CLOSED', 'CALLED_OFF'));
ALTER TABLE shipment DROP CONSTRAINT shipment_version_counts;
ALTER TABLE shipment ADD CONSTRAINT shipment_version_counts CHECK (version >= 0);
