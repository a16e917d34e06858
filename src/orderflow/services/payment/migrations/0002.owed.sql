-- Whoever finds a capture of a closed order owes its refund, so who closed it is known to be done or still to come.
ALTER TABLE closed_order ADD COLUMN ahead boolean NOT NULL DEFAULT false;

-- The hour of an unknown outcome is that of the record that waits for it.
ALTER TABLE payment
    ADD COLUMN requested_by   uuid,
    ADD COLUMN unknown_since  timestamptz,
    ADD COLUMN waiting_record text,
    ADD COLUMN waiting_since  timestamptz;
UPDATE payment SET unknown_since = created_at WHERE state = 'UNKNOWN';
ALTER TABLE payment
    ADD CONSTRAINT payment_unknown_is_dated CHECK ((state = 'UNKNOWN') = (unknown_since IS NOT NULL));

-- What is owed and what is unknown is few: both are found without a look at all the rest.
CREATE INDEX payment_unknown ON payment (unknown_since) WHERE unknown_since IS NOT NULL;
CREATE INDEX refund_owed ON refund (created_at) WHERE settled_at IS NULL;
