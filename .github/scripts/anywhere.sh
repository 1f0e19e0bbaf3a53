#!/usr/bin/env bash
# Plan, apply or follow fine-tunes in any CI, or from cron: what the workflows do, in one command.
#
#   anywhere.sh plan OUT      plan the checkout; OUT/plan.md is the comment, OUT/plan.json the plan
#   anywhere.sh apply         apply the branch, and push the lockfile
#   anywhere.sh reconcile     move open jobs on, and push the lockfile; installs nothing while none is open
#
# Run in a checkout of the repository with the fine-tunes. This script's own checkout is the ftctl that is
# installed.
#
#   FOLDER        the folder with finetunes/, from the top of the repository; the top when empty
#   BRANCH        the branch to push to; the one that is checked out when empty
#   TOKEN         pushes over HTTPS to SERVER_URL; empty: whatever git is set up with
#   PACKAGE, REQUIREMENTS, PIP_EXTRA_INDEX_URL   as of .github/actions/setup
set -euo pipefail

actions=$(cd "$(dirname "${BASH_SOURCE[0]}")/../actions" && pwd)
what=$1
export FOLDER=${FOLDER:-.} GITHUB_SERVER_URL=${SERVER_URL:-}
BRANCH=${BRANCH:-$(git symbolic-ref --short HEAD)}
export BRANCH
token=${TOKEN:-}
unset TOKEN

install() {
    GITHUB_PATH=$(mktemp)
    export GITHUB_PATH
    ROOT=$FOLDER PURPOSE=$1 python3 "$actions/setup/install.py"
    PATH="$(tail -n 1 "$GITHUB_PATH"):$PATH"
    export PATH
    rm "$GITHUB_PATH"
}

fetch_records() {
    GITHUB_OUTPUT=$(mktemp)
    TOKEN=$token GITHUB_OUTPUT=$GITHUB_OUTPUT bash "$actions/records/fetch.sh"
    RECORDS=$(sed -n 's/^branch=//p' "$GITHUB_OUTPUT")
    export RECORDS
    rm "$GITHUB_OUTPUT"
}

record() { TOKEN=$token MESSAGE="Record fine-tunes" bash "$actions/commit-lockfile/commit.sh"; }

# Any key that ftctl.yaml names is a variable of the CI itself. The state stays on a machine that stays.
export FTCTL_STATE_DIR=${FTCTL_STATE_DIR:-$HOME/.local/state/ftctl/$(git rev-parse --show-toplevel | sha256sum | cut -c1-16)}
mkdir -p "$FTCTL_STATE_DIR"

case $what in
plan)
    install plan
    fetch_records
    bash "$(dirname "${BASH_SOURCE[0]}")/plan.sh" "$FOLDER" "$2"
    ;;
apply)
    install apply
    fetch_records
    code=0
    ftctl --no-color --dir "$FOLDER" apply --auto-approve --no-wait || code=$?
    record
    exit "$code"
    ;;
reconcile)
    lockfile="$FOLDER/finetunes/ftctl.lock"
    if [ -e "$lockfile" ] && ! python3 "$actions/look/look.py" "$lockfile"; then
        exit 0
    fi
    install apply
    fetch_records
    code=0
    ftctl --no-color --dir "$FOLDER" reconcile || code=$?
    record
    exit "$code"
    ;;
*)
    echo "anywhere.sh: $what is not one of plan, apply, reconcile." >&2
    exit 64
    ;;
esac
