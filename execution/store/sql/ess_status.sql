-- The last known state of the emergency stop: one row.
SELECT {status}
FROM execution_essstatus AS status
WHERE status.id = 1
