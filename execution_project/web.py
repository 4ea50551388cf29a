"""gunicorn's configuration (`gunicorn --config python:execution_project.web`): one place for stack, compose and image.

Threads, because an order's answer may wait seconds for its fill without using the processor. Only requests that have
arrived whole are given to them, and health, brakes and streams have threads that nothing else takes: see `web_worker`.
"""

# The longest body of any request to this service: refused by the worker before it is read, by Django all the same.
LONGEST_BODY_BYTES = 64 * 1024

# How many pages may have a stream of news open at once, each in a thread that nothing else uses; others poll.
MOST_STREAMS = 32

worker_class = "execution_project.web_worker.WholeRequestWorker"
workers = 1
threads = 16
keepalive = 75
graceful_timeout = 3
# Which proxies are believed is one setting of ours (TRUSTED_PROXIES), not two.
forwarded_allow_ips = ""
# gunicorn would put a control socket into the home folder.
control_socket_disable = True
