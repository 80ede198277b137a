# syntax=docker/dockerfile:1

FROM python:3.12-slim-bookworm AS build
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/app/.venv \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /app
# dependencies change seldom, and have a layer of their own
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv uv sync --locked --no-default-groups
COPY protocol protocol
COPY server server
COPY migrations migrations
# the service may not write where its code is
RUN python -m compileall -q protocol server

FROM python:3.12-slim-bookworm
RUN groupadd --system --gid 10001 chat \
    && useradd --system --uid 10001 --gid chat --home-dir /var/lib/chat --create-home --shell /usr/sbin/nologin chat
WORKDIR /app
COPY --from=build /app /app
ENV APP_ENV=production \
    EMBEDDED_DATA_DIR=/var/lib/chat/data \
    HOST=0.0.0.0 \
    PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
EXPOSE 3006
# answers are finished or handed over, and clients sent elsewhere
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; node = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('PORT') or 3006), timeout=2); node.request('GET', '/health/ready'); sys.exit(node.getresponse().status != 200)"]
CMD ["python", "-m", "server", "run"]
