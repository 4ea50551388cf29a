-- The trade of a request.
SELECT {trade}
FROM execution_trade AS trade
WHERE trade.id = %(trade)s
