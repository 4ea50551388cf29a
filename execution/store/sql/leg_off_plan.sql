-- Whether a stop or target of a request rests at another price than its leg's.
SELECT EXISTS (
    SELECT FROM execution_order AS resting
    JOIN execution_bracketleg AS leg ON leg.id = resting.leg_id
    WHERE resting.request_id = %(request)s AND resting.state = ANY(%(live)s)
      AND resting.purpose IN ('STOP', 'TARGET') AND NOT resting.trigger_price = leg.price
)
