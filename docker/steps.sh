#!/bin/sh
# The steps of an image's build that all Dockerfiles share.
#   system PYTHON "PACKAGE…"      what the base lacks of a Python and of packages; where it lacks nothing, nothing is asked
#   tools PYTHON                  pip and what builds packages, in /opt/tools
#   environment PYTHON [OPTION…]  an empty virtual environment in /opt/venv
#   packages LOCK "INDEX"         what the lock pins, into it, and a list of it; the index is one more to look in, or ""
#   kernels                       what packages would compile into themselves, compiled; a run copies it to /tmp
#   project                       the checkout in the working folder, into it
#   finish                        its source compiled, seen to start, and readable whoever it belonged to
set -eu

ca=/run/secrets/ca_bundle
if [ -f "$ca" ]; then
    export PIP_CERT="$ca" SSL_CERT_FILE="$ca"
fi
if [ -n "${OFFLINE:-}" ]; then
    export PIP_NO_INDEX=1
fi
export PIP_FIND_LINKS=/tmp/llem/wheelhouse PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_PROGRESS_BAR=off PIP_ROOT_USER_ACTION=ignore

die() {
    echo "llem: $*" >&2
    exit 1
}

has_package() {
    dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q 'ok installed'
}

install_packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "the base image lacks $* and has no apt-get: choose another with LLEM_BASE_IMAGE"
    [ -z "${OFFLINE:-}" ] || die "the base image lacks $*, and no index may be asked: choose another with LLEM_BASE_IMAGE"
    if [ -f "$ca" ]; then
        set -- -o "Acquire::https::CAInfo=$ca" "$@"
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "$@"
    rm -rf /var/lib/apt/lists/*
}

# Torch's compiler includes Python's headers; an image that brings no compiler needs none.
has_headers() {
    "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

system() {
    python="python$1" missing=
    command -v "$python" >/dev/null || missing="$python"
    for package in $2; do
        has_package "$package" || missing="$missing $package"
    done
    # shellcheck disable=SC2086  # names of packages, one word each
    install_packages $missing
    if [ -n "$2" ] && ! has_headers "$python"; then
        install_packages "$python-dev"
    fi
}

tools() {
    python="python$1"
    "$python" -c 'import ensurepip' 2>/dev/null || install_packages "$python-venv"
    "$python" -m venv /opt/tools
    /opt/tools/bin/pip install --no-deps --require-hashes --only-binary :all: -r /tmp/llem/tools.txt
}

environment() {
    python="python$1"
    shift
    "$python" -m venv --without-pip "$@" /opt/venv
}

packages() {
    # A package without a wheel is built by what the tools' lock pins; an isolated build would fetch what nothing pins.
    built_by=$(echo /opt/tools/lib/python*/site-packages)
    set -- "$1" ${2:+--extra-index-url "$2"}
    PYTHONPATH=$built_by /opt/tools/bin/pip --python /opt/venv/bin/python install --compile --no-deps --require-hashes \
        --ignore-installed --no-build-isolation -r "$@"
    /opt/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file sbom.cdx.json \
        /opt/venv/bin/python
}

kernels() {
    mkdir kernels
    for folder in /opt/venv/lib/python*/site-packages/optimum/quanto/library/extensions/cpp; do
        [ -d "$folder" ] || continue
        PATH=/opt/venv/bin:$PATH python -c 'from optimum.quanto.library.extensions.cpp import ext; ext.lib'
        cp -a "$folder/build/." kernels
        rm -r "$folder/build"
        # Nothing below /tmp is there yet when a container starts, so that the link leads to /tmp itself.
        ln -s /tmp "$folder/build"
    done
}

project() {
    # An empty package stands for the source, which comes later; without one there would be nothing to point at.
    mkdir -p src/llenergymeasure
    touch src/llenergymeasure/__init__.py
    wheel=$(mktemp -d)
    /opt/tools/bin/python -c 'import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])' "$wheel"
    /opt/tools/bin/pip --python /opt/venv/bin/python install --no-deps --no-index "$wheel"/*.whl
    rm -rf "$wheel"
}

finish() {
    /opt/venv/bin/python -m compileall -q src
    /opt/venv/bin/llem --help >/dev/null
    find . \( -type d ! -perm -555 -o -type f ! -perm -444 \) -exec chmod a+rX {} +
}

step=$1
shift
case $step in
system | tools | environment | packages | kernels | project | finish) "$step" "$@" ;;
*) die "no step $step" ;;
esac
