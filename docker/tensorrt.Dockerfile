# The image of a tensorrt cell: NVIDIA's release image, which brings TensorRT-LLM and torch, the tests and this checkout.
# Every version and name is a build argument, made from matrix.toml; `llem matrix bake` prints them. The frontend that
# Docker Engine 20.10 has built in is enough, and so is podman's; no `# syntax` line asks a registry for another.
ARG BASE_IMAGE
FROM ${BASE_IMAGE} AS system
ARG OFFLINE
ARG PYTHON
ARG SYSTEM_PACKAGES
RUN --mount=type=bind,source=docker/steps.sh,target=/tmp/llem/steps.sh \
    --mount=type=secret,id=ca_bundle \
    sh /tmp/llem/steps.sh system "${PYTHON}" "${SYSTEM_PACKAGES}"

# Lent to the steps below, and no part of the image.
FROM system AS tools
# Older podmans forget arguments at each FROM.
ARG OFFLINE
ARG PYTHON
RUN --mount=type=bind,source=docker/steps.sh,target=/tmp/llem/steps.sh \
    --mount=type=bind,source=docker/locks/tools.txt,target=/tmp/llem/tools.txt \
    --mount=type=bind,source=docker/wheelhouse,target=/tmp/llem/wheelhouse \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca_bundle \
    sh /tmp/llem/steps.sh tools "${PYTHON}"

FROM system AS runtime
ARG OFFLINE
ARG PYTHON
WORKDIR /opt/llem
ARG LOCK
COPY docker/locks/${LOCK} requirements.txt
RUN --mount=type=bind,source=docker/steps.sh,target=/tmp/llem/steps.sh \
    --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    --mount=type=bind,source=docker/wheelhouse,target=/tmp/llem/wheelhouse \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca_bundle \
    sh /tmp/llem/steps.sh environment "${PYTHON}" --system-site-packages && \
    sh /tmp/llem/steps.sh packages requirements.txt ""

# The project's metadata alone: its source is then a mere copy, and a change of it asks no index.
COPY pyproject.toml README.md LICENSE ./
RUN --mount=type=bind,source=docker/steps.sh,target=/tmp/llem/steps.sh \
    --mount=type=bind,from=tools,source=/opt/tools,target=/opt/tools \
    sh /tmp/llem/steps.sh project
COPY src src
COPY tests/integration tests/integration
RUN --mount=type=bind,source=docker/steps.sh,target=/tmp/llem/steps.sh \
    sh /tmp/llem/steps.sh finish

# Any UID can run it: nothing is written but below /tmp, and nobody's home or name is looked up.
ENV PATH="/opt/venv/bin:${PATH}" \
    HOME=/tmp USER=llem LOGNAME=llem \
    LLEM_SBOM=/opt/llem/sbom.cdx.json
USER 10001:0
# The release image has one that prints a banner and looks for GPUs.
ENTRYPOINT []
CMD ["python", "-m", "llenergymeasure.matrix.cell", "--help"]
