# Two images: `--target bot` and `--target worker`. The worker's has no database driver and no GitHub library.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 BLACKTREE_DATA_DIR=/data
WORKDIR /src
RUN python3 -m venv /opt/blacktree
ENV PATH=/opt/blacktree/bin:$PATH
COPY requirements-build.lock ./
RUN pip install --quiet --require-hashes -r requirements-build.lock

FROM base AS bot
COPY requirements-bot.lock requirements-worker.lock ./
# --build-arg SCALING=yes: a bot that starts workers in containers or in EC2 needs the SDKs that workers have.
ARG SCALING=
RUN pip install --quiet --require-hashes -r requirements-bot.lock ${SCALING:+-r requirements-worker.lock}
COPY pyproject.toml README.md ./
COPY config config
COPY workers workers
COPY bot bot
RUN pip install --quiet --no-deps --no-build-isolation . \
    && useradd --no-create-home --uid 10001 blacktree \
    && install -d -o blacktree -m 700 /data && install -d -o blacktree /routes /credential
USER blacktree
VOLUME /data
EXPOSE 8000
ENV BLACKTREE_HOST=0.0.0.0
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD \
    ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
CMD ["blacktree", "serve"]

FROM base AS worker
# git and git-lfs clone; the docker CLI builds; iptables keeps containers from private addresses. Whoever may
# use the engine's socket is root on its machine, so this is too. Debian has buildx from trixie on; before, its
# docker.io speaks BuildKit by itself.
RUN apt-get update -qq \
    && apt-get install -qq --no-install-recommends ca-certificates git git-lfs iptables \
        $(apt-cache show docker-cli docker-buildx >/dev/null 2>&1 && echo docker-cli docker-buildx || echo docker.io) \
    && rm -rf /var/lib/apt/lists/*
COPY requirements-worker.lock ./
RUN pip install --quiet --require-hashes -r requirements-worker.lock
COPY pyproject.toml README.md ./
COPY config config
COPY workers workers
COPY bot bot
RUN pip install --quiet --no-deps --no-build-isolation . && install -d -m 700 /data
VOLUME /data
CMD ["blacktree", "worker"]
