# The page with PyTorch's CPU build: docker build -t bigroc . && docker run --rm -p 7860:7860 bigroc
FROM python:3.12-slim

# For a GPU: --build-arg TORCH_INDEX=https://pypi.org/simple, and `docker run --gpus all`.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir "torch>=2.9,<3" "torchvision>=0.24,<1" --index-url ${TORCH_INDEX}

WORKDIR /src
COPY pyproject.toml README.md LICENSE RESULTS.json ./
COPY bigroc_core bigroc_core
COPY checkpoints checkpoints
COPY assets assets
# Versions are bounded in pyproject.toml.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ".[page]" && rm -rf /src

# No rights beyond a folder of its own, where uploads, results and fetched models lie.
RUN useradd --create-home --uid 1000 bigroc
USER 1000
WORKDIR /home/bigroc
ENV GRADIO_TEMP_DIR=/home/bigroc/tmp HF_HOME=/home/bigroc/hub

EXPOSE 7860
HEALTHCHECK --start-period=60s --interval=30s --timeout=10s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/config', timeout=8)"]
CMD ["bigroc", "page", "--host", "0.0.0.0", "--port", "7860"]
