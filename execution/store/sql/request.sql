-- A decision on its way through the chain.
SELECT {request}
FROM execution_executionrequest AS request
WHERE request.id = %(request)s
