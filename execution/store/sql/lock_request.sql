-- State and reason of a request, locked until the transaction ends.
SELECT request.state, request.reason_code
FROM execution_executionrequest AS request
WHERE request.id = %(request)s
FOR UPDATE
