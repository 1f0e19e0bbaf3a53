#!/usr/bin/env bash
# Plan the pull request checked out at ROOT with keys; write OUT/plan.md and OUT/plan.json.
#
# ftctl.yaml and .env decide where keys are sent. They are those of the base commit, or nothing is planned.
#
#   HEAD   the newest commit of the pull request, the second parent of what is checked out
#   KEYS   lines NAME=value; see ../run/keys.sh
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$1 out=$2
mkdir -p "$out"

refuse() {
    printf '<!-- ftctl:plan -->\n### ftctl plan\n\n**There is no plan with keys:** %s\n' "$1" >"$out/plan.md"
    cat "$out/plan.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
    echo "::error::There is no plan with keys: $1" >&2
    exit 1
}

if [ "$(git -C "$root" rev-parse --verify --quiet 'HEAD^2')" != "$HEAD" ]; then
    refuse "the pull request got another commit meanwhile. Ask again."
fi
if ! git -C "$root" diff --quiet 'HEAD^1' HEAD -- ftctl.yaml .env; then
    refuse "this pull request changes \`ftctl.yaml\` or \`.env\`, which decide where keys are sent. Merge that change in a pull request of its own first."
fi
# shellcheck source=../run/keys.sh
. "$here/../run/keys.sh"
KEYED=true bash "$here/../../scripts/plan.sh" "$root" "$out"
