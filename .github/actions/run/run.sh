#!/usr/bin/env bash
# Run `ftctl COMMAND` in FOLDER, with the variables of KEYS: see keys.sh.
set -euo pipefail

# shellcheck source=keys.sh
. "$(dirname "${BASH_SOURCE[0]}")/keys.sh"
read -ra words <<<"$COMMAND"
exec ftctl --no-color --dir "${FOLDER:-.}" "${words[@]}"
