-- There is nothing on the shelf of a new database: POST /stock/{sku}/receipts puts it there.
SELECT;
