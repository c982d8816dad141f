# One image for every program of the desk: docs/container.md says how to run it.
#
# The base is python:3.11-slim-bookworm (Python 3.11.16 on Debian 12), held by the digest of its image index: the tag
# beside it says what is meant, the digest what is used. Dependabot (.github/dependabot.yml, docker) reads both and
# proposes the newer digest of the same tag, a week after it came out.
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# LightGBM looks for the system's OpenMP. No version: Debian takes the old ones away, and the digest holds the release.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*


FROM base AS build
# cpu, or one of PyTorch's names for a CUDA (cu130, ...): which of PyTorch's own indexes torch comes from.
ARG TORCH=cpu
# What compiled code may use: any x86-64 of the last ten years. docker/entrypoint compiles anew where that is too much.
ENV NUMBA_CPU_NAME=x86-64-v3 \
    NUMBA_CPU_FEATURES="" \
    NUMBA_CACHE_DIR=/opt/numba \
    DATA_DIR=/tmp/data
WORKDIR /app
COPY requirements.txt ./
# The version of torch is the one in requirements.txt.
# hadolint ignore=DL3013
RUN python -m venv /opt/venv \
    && torch="$(grep -E '^torch==' requirements.txt)" \
    && pip install --no-cache-dir --no-deps --index-url "https://download.pytorch.org/whl/${TORCH}" "$torch" \
    && pip install --no-cache-dir --only-binary=:all: -r requirements.txt
COPY . ./
# Numba keeps what it compiled by the time of the source file, to the nanosecond; a layer keeps whole seconds.
RUN chmod -R a+rX /app \
    && find /app -exec touch -h -d @315532800 {} + \
    && python -m compileall -q /app \
    && python -m backtest.compile


FROM base
LABEL org.opencontainers.image.title="The candlestick desk for E*TRADE" \
      org.opencontainers.image.description="Dashboard, trading engine, backtests and training" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 desk \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin desk \
    && install -d -o 10001 -g 10001 -m 0700 /data /models /backups
COPY --from=build /opt/venv /opt/venv
COPY --from=build /opt/numba /opt/numba
COPY --from=build /app /app
# The root file system is read-only: what has to be written goes to /data, /models and /backups, what is passing to
# /tmp. Named a server address, Streamlit asks nobody on the internet what this machine's is.
ENV DATA_DIR=/data \
    MODELS_DIR=/models \
    BACKUP_DIR=/backups \
    HOME=/tmp \
    XDG_CACHE_HOME=/tmp/cache \
    XDG_CONFIG_HOME=/tmp/config \
    MPLCONFIGDIR=/tmp/matplotlib \
    JOBLIB_TEMP_FOLDER=/tmp \
    DASK_TEMPORARY_DIRECTORY=/tmp \
    NUMBA_CPU_NAME=x86-64-v3 \
    NUMBA_CPU_FEATURES="" \
    DESK_COMPILED=/opt/numba \
    PYTHON_KEYRING_BACKEND=keyring.backends.fail.Keyring \
    STREAMLIT_BROWSER_SERVER_ADDRESS=localhost \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_PORT=8501
WORKDIR /app
VOLUME ["/data", "/models", "/backups"]
USER 10001:10001
EXPOSE 8501
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 CMD ["/app/docker/entrypoint", "health"]
ENTRYPOINT ["/app/docker/entrypoint"]
CMD ["dashboard"]
