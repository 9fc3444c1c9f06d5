# Parsegate in one image; the command says which part: gateway, worker, clock, simulator, db migrate.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /srv/parsegate

# The locked packages first: they change more seldom than the project.
COPY requirements/runtime.txt requirements/
RUN pip install --require-hashes -r requirements/runtime.txt

COPY pyproject.toml README.md LICENSE ./
COPY domain domain
COPY models models
COPY llamaparse llamaparse
COPY actors actors
COPY gateway gateway
COPY parsegate parsegate
RUN pip install --no-deps --no-build-isolation .

# A home of its own that is not the image's: nothing here runs as root.
RUN useradd --system --no-create-home parsegate && install -d -o parsegate -g parsegate -m 0700 /data
USER parsegate
WORKDIR /data
VOLUME /data
EXPOSE 8080

ENTRYPOINT ["parsegate"]
CMD ["gateway", "--host", "0.0.0.0", "--port", "8080"]
