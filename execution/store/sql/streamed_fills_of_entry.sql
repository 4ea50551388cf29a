-- What the user-data stream has reported of an order's fills.
SELECT {fill}
FROM execution_streamedfill AS fill
WHERE fill.order_id = %(order)s
ORDER BY fill.exchange_trade_id
