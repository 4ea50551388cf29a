-- The entry of a request. The last column shows whether its trade is closed and has every fill that it could have.
SELECT {entry}, {request}, entry.state = 'FILLED' AND entry.executed_quantity = entry.quantity AND EXISTS (
    SELECT FROM execution_trade AS trade
    WHERE trade.id = request.id AND trade.state = 'CLOSED' AND trade.quantity = entry.quantity
      AND entry.quantity = (
          SELECT sum(fill.quantity) FROM execution_fill AS fill WHERE fill.order_id = entry.id AND fill.entry
      )
)
FROM execution_order AS entry
JOIN execution_executionrequest AS request ON request.id = entry.request_id
WHERE entry.request_id = %(request)s AND entry.purpose = 'ENTRY'
