#!/usr/bin/env bash
# Set-up of one machine, by `ray up` and by the autoscaler: the shared disk, Python 3.11, and the GPU extra at the
# versions of requirements/gpu.txt. Run again, or on an image made of a machine that ran it, it only mounts the disk.
#
# usage: setup_node.sh SERVER:PATH, a share of NFS 4.1 (whose locks keep two commands from making one stage)
set -euo pipefail
share=${1:?usage: setup_node.sh SERVER:PATH}
project=$HOME/rcpt_ray
venv=$HOME/venv
uv_version=0.13.9
stamp=$venv/made-of-$(cat "$project/requirements/gpu.txt" "$project/pyproject.toml" | sha256sum | cut -c1-16)

# A fresh image installs its own updates first and holds the lock.
apt() { sudo DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=900 -qq "$@"; }
if ! command -v mount.nfs4 >/dev/null || ! command -v gcc >/dev/null || ! python3 -c "import ensurepip" 2>/dev/null; then
  apt update
  apt install -y nfs-common build-essential python3-venv
fi

sudo mkdir -p /shared
if ! mountpoint -q /shared; then
  sudo mount -t nfs4 -o nfsvers=4.1,hard,timeo=600,retrans=2,noresvport,rsize=1048576,wsize=1048576 "$share" /shared
fi
sudo mkdir -p /shared/runs /shared/cache
sudo chown "$USER" /shared/runs /shared/cache

chmod 700 "$HOME/.rcpt/secrets"
chmod 600 "$HOME/.ray/auth_token"

if [ ! -e "$stamp" ]; then
  rm -rf "$venv" "$HOME/uv"
  # Of the machine's own Python, which may be another than 3.11: uv brings that one.
  python3 -m venv "$HOME/uv"
  "$HOME/uv/bin/pip" install --quiet --retries 10 "uv==$uv_version"
  "$HOME/uv/bin/uv" venv --quiet --seed --python 3.11 "$venv"
  "$venv/bin/pip" install --quiet --retries 10 -c "$project/requirements/gpu.txt" "$project[gpu]"
  touch "$stamp"
fi
# The code is never part of the stamp: it changes more often than the packages. What was built of it before would keep
# modules that are no more.
rm -rf "$project/build"
"$venv/bin/pip" install --quiet --no-deps --no-build-isolation --force-reinstall "$project"
