# The API and the page to draw on, without privileges and on a read-only file system:
#   docker build -t mnist_course .
#   docker run --rm --read-only --tmpfs /tmp -p 8000:8000 mnist_course
# Large uploads pass through /tmp. What the build copies is listed in .dockerignore.
FROM python:3.13-slim AS build
WORKDIR /src
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu 'torch>=2.10,<3' 'torchvision>=0.25,<1'
COPY . .
# pyproject.toml says which versions the rest may have
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[serve]'

FROM python:3.13-slim
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1
WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/api/health', timeout=4)"]
CMD ["mnist_serve", "--host", "0.0.0.0", "--no-browser"]
