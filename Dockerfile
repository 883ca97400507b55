# Timbre in a container, without root: docker build -t timbre .
# A machine without a GPU needs no CUDA: --build-arg EXTRA_INDEX_URL=(the index of PyTorch's CPU builds)
FROM python:3.11-slim

# A new volume takes its owner from the folder that it is mounted on; /shared is of deploy/compose.cluster.yaml.
RUN useradd --create-home --uid 1000 timbre && install -d -o timbre -g timbre /data /shared
WORKDIR /home/timbre/app

# Before the program, so that a change of the program does not install everything again; without the tests' tools.
# Files are held to the sums of requirements.lock, which are those of x86-64; elsewhere, and with another index for
# torch, versions alone are held, to those of constraints.txt.
ARG EXTRA_INDEX_URL=""
COPY requirements.txt requirements-songs.txt constraints.txt requirements.lock ./
RUN if [ -z "$EXTRA_INDEX_URL" ] && [ "$(uname -m)" = x86_64 ]; then \
        exec pip install --no-cache-dir --require-hashes -r requirements.lock; \
    fi; \
    sed '/^# Tests and checks/,$d' requirements.txt > /tmp/requirements.txt \
    && sed '/^-r/d' requirements-songs.txt >> /tmp/requirements.txt \
    && pip install --no-cache-dir ${EXTRA_INDEX_URL:+--extra-index-url "$EXTRA_INDEX_URL"} \
        -c constraints.txt -r /tmp/requirements.txt \
    && rm /tmp/requirements.txt

# For the machines of a Ray cluster: --build-arg CLUSTER=1
ARG CLUSTER=""
COPY requirements-cluster.txt ./
RUN if [ -n "$CLUSTER" ]; then \
    sed -e '/^-r/d' -e '/^# Tests and checks/,$d' requirements-cluster.txt > /tmp/cluster.txt \
    && pip install --no-cache-dir -r /tmp/cluster.txt && rm /tmp/cluster.txt; fi

COPY --chown=timbre:timbre . .

USER 1000
ENV API_HOST=0.0.0.0 \
    API_PORT=7860 \
    DATA_DIR=/data \
    GRADIO_ANALYTICS_ENABLED=False \
    PYTHONUNBUFFERED=1
EXPOSE 7860
VOLUME /data

HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['API_PORT'] + '/health', timeout=8)"]

# Python itself is process 1: SIGTERM reaches it, trainings are saved and can be resumed.
STOPSIGNAL SIGTERM
CMD ["python", "app.py"]
