# The page as a container: docker build -t bsoftmax . && docker run -p 7860:7860 bsoftmax
FROM python:3.12-slim

RUN useradd --create-home --uid 1000 user
WORKDIR /home/user/app
COPY --chown=user requirements.txt .
# torch without CUDA: half a gigabyte instead of three
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -r requirements.txt
COPY --chown=user . .
USER user
ENV GRADIO_SERVER_NAME=0.0.0.0 GRADIO_ANALYTICS_ENABLED=False BSOFTMAX_OPERATION=on
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD \
  python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=4)"
CMD ["python", "app.py"]
