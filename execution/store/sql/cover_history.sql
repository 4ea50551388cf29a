-- What cover is measured from, of a trade: its fills, unless its plan has no stop, then the states of its stops from the
-- journal. A fill has no stop, and counts below zero when it is an exit's. `filled_at`: when a stop has filled last.
SELECT NULL::bigint AS stop, fill.filled_at AS at, '' AS to_state,
       NULL::timestamptz AS filled_at, CASE WHEN fill.entry THEN fill.quantity ELSE -fill.quantity END AS quantity
FROM execution_fill AS fill
WHERE fill.trade_id = %(trade)s AND NOT EXISTS (
    SELECT FROM execution_bracket AS plan
    WHERE plan.request_id = fill.trade_id AND NOT EXISTS (
        SELECT FROM execution_bracketleg AS leg WHERE leg.bracket_id = plan.request_id AND leg.purpose = 'STOP'
    )
)
UNION ALL
(
    SELECT stop.id, step.at, step.to_state, (
               SELECT max(fill.filled_at) FROM execution_fill AS fill WHERE fill.order_id = stop.id AND NOT fill.entry
           ), stop.quantity
    FROM execution_order AS stop
    JOIN execution_auditevent AS step ON step.entity = 'order' AND step.entity_id = stop.client_order_id
      AND (step.to_state = ANY(%(over)s) OR (step.to_state = 'ACCEPTED' AND step.from_state = ANY(%(unsettled)s)))
    WHERE stop.request_id = %(trade)s AND stop.purpose = 'STOP'
    ORDER BY step.id
)
