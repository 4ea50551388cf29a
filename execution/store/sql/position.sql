-- A position with its plan: a row for each leg, or one without a leg. The last column shows whether a software stop
-- stands beside another unfinished position.
SELECT {request}, {bracket}, {entry}, {trade}, {leg}, EXISTS (
    SELECT FROM execution_bracket AS held
    JOIN execution_executionrequest AS holder ON holder.id = held.request_id
    LEFT JOIN execution_trade AS opened ON opened.request_id = held.request_id
    WHERE held.software_since IS NOT NULL AND held.request_id <> request.id
      AND CASE WHEN opened.id IS NULL THEN holder.state <> ALL(%(final)s) ELSE opened.state = ANY(%(open)s) END
)
FROM execution_executionrequest AS request
LEFT JOIN execution_bracket AS bracket ON bracket.request_id = request.id
LEFT JOIN execution_order AS entry ON entry.request_id = request.id AND entry.purpose = 'ENTRY'
LEFT JOIN execution_trade AS trade ON trade.id = request.id
LEFT JOIN execution_bracketleg AS leg ON leg.bracket_id = bracket.request_id
WHERE request.id = %(request)s
ORDER BY leg.id
