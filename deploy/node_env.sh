# The environment of Ray and of all that it starts, on every machine: sourced before `ray start`.
ulimit -n 65536
export PATH="$HOME/venv/bin:$PATH"
# Nobody without the token (~/.ray/auth_token) starts or reads anything.
export RAY_AUTH_MODE=token
# A worker that takes long to import its libraries on a busy machine is not a dead one.
export RAY_worker_register_timeout_seconds=300
# Values of --secret NAME, a file each.
export RCPT_SECRETS_DIR="$HOME/.rcpt/secrets"
# Models are named by their path in the cache, so every machine must see it.
export RCPT_CACHE=/shared/cache
# vLLM writes what it has compiled in one piece, so machines may share it and a new one starts sooner; Triton and
# Inductor write thousands of small files, which a network disk makes slow.
export VLLM_CACHE_ROOT=/shared/cache/vllm
local_disk=/tmp
for place in /opt/dlami/nvme /mnt/disks/local; do
  if [ -w "$place" ]; then local_disk=$place; fi
done
export TRITON_CACHE_DIR="$local_disk/triton" TORCHINDUCTOR_CACHE_DIR="$local_disk/inductor"
