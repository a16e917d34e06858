-- There are no products in a new database: PUT /products/{sku} adds them.
SELECT;
