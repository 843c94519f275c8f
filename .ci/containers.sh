# Sourced by run: a Docker Engine, which ends with it where none answers yet; a base image of Debian's packages; wheels
# that no index has. Nothing is fetched from an image registry.

state=$PWD/build/engine
mkdir -p "$state"
# A client elsewhere on PATH may be newer than the engine and want a plugin to build with; llem finds one that fits.
client=$(command -v /usr/bin/docker || command -v docker)
if ! "$client" version >/dev/null 2>&1; then
    dockerd --data-root "$state/data" --pidfile "$state/pid" >"$state/log" 2>&1 &
    engine=$!
    end_engine() {
        kill "$engine" 2>/dev/null || true
        wait "$engine" || true
    }
    trap end_engine EXIT
    for _ in $(seq 60); do
        "$client" version >/dev/null 2>&1 && break
        sleep 0.5
    done
    "$client" version >/dev/null || {
        tail -20 "$state/log" >&2
        exit 1
    }
fi

base=local/python-base:bookworm
debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$state/base" >"$state/debootstrap.log"
# The certificates that this machine trusts, a proxy's among them.
cp /etc/ssl/certs/ca-certificates.crt "$state/base/etc/ssl/certs/"
tar -C "$state/base" -c . | "$client" import - "$base"
rm -rf "$state/base"

# The build of torch for CPUs, by pip's own configuration, which a build in a container does not have.
wheels=$PWD/build/wheels
mkdir -p "$wheels"
torch=$(sed -n 's/^torch = "\(.*\)"/\1/p' matrix.toml | head -n 1)
python3 -m pip download --quiet --no-deps --dest "$wheels" "torch==$torch+cpu" ||
    python3 -m pip download --quiet --no-deps --dest "$wheels" --index-url https://download.pytorch.org/whl/cpu "torch==$torch+cpu"

export LLEM_BASE_IMAGE=$base LLEM_WHEELHOUSE=$wheels LLEM_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt
