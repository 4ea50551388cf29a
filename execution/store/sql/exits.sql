-- The exits of requests, oldest first, each with the quantity of its fills that is booked.
SELECT {exit}, COALESCE(
    (SELECT sum(fill.quantity) FROM execution_fill AS fill WHERE fill.order_id = exit.id AND NOT fill.entry), 0
)
FROM execution_order AS exit
WHERE exit.request_id = ANY(%(requests)s) AND exit.purpose <> 'ENTRY'
ORDER BY exit.id
