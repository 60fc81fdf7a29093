# The page as a container: docker build -t bsoftmax . && docker run -p 7860:7860 bsoftmax (docs/hosting.md)
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 GRADIO_ANALYTICS_ENABLED=False GRADIO_SERVER_NAME=0.0.0.0 \
    BSOFTMAX_OPERATION=on BSOFTMAX_STORAGE=/data
WORKDIR /app
COPY packages.txt requirements.txt ./
RUN apt-get update \
 && xargs apt-get install -y --no-install-recommends < packages.txt \
 && rm -rf /var/lib/apt/lists/*
# torch without CUDA: half a gigabyte instead of several
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" torch torchvision \
 && pip install --no-cache-dir -r requirements.txt
RUN useradd --create-home --uid 1000 user && mkdir /data && chown user /data
COPY --chown=user app.py LICENSE ./
COPY --chown=user bsoftmax bsoftmax
COPY --chown=user demo demo
COPY --chown=user checkpoints checkpoints
USER user
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
  ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
CMD ["python", "app.py"]
