ALTER TABLE outbox
    ADD CONSTRAINT outbox_key_fits CHECK (octet_length(aggregateid) <= 512),
    ADD CONSTRAINT outbox_attributes_fit CHECK (
        greatest(octet_length(type), octet_length(ce_source), octet_length(ce_time),
                 octet_length(ce_subject), octet_length(ce_causationid),
                 octet_length(ce_correlationid)) <= 512
    ),
    ADD CONSTRAINT outbox_trace_fits CHECK (
        octet_length(traceparent) <= 128
        AND octet_length(tracestate) <= 512
    );

DROP INDEX inbox_received_at;
CREATE INDEX inbox_received_at ON inbox (received_at);
