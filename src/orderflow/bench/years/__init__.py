"""What years of orders do to queries and purges: generated rows, and live orders beside them."""
