# One image for every role of ours, and for Synapse with the guard. `docker compose build` makes it; see docker-compose.yml.
FROM python:3.13-slim AS build
# python-olm is compiled: the bridge's encryption stands on it.
RUN apt-get update && apt-get install --yes --no-install-recommends build-essential cmake libffi-dev libpq-dev
WORKDIR /src
COPY requirements.txt pyproject.toml README.md LICENSE ./
RUN python -m venv /opt/griffier \
 && /opt/griffier/bin/pip install --no-cache-dir --require-hashes --requirement requirements.txt
COPY archiver archiver
COPY bridge bridge
RUN /opt/griffier/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin griffier \
 && install --directory --owner 10001 --group 10001 --mode 0700 /var/lib/griffier
COPY --from=build /opt/griffier /opt/griffier
ENV PATH=/opt/griffier/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 GRIFFIER_CONFIG=/etc/griffier/griffier.yaml
USER 10001:10001
WORKDIR /var/lib/griffier
VOLUME /var/lib/griffier
CMD ["griffier", "--help"]
