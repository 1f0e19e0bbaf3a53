#!/usr/bin/env bash
# Fetch or push what was trained for pull requests: the references refs/ftctl/pr-NUMBER.
#
#   references.sh fetch   fetch all of them, and forget those that are gone
#   references.sh begin   the same, in the checkout of a pull request that is about to be trained
#   references.sh push    push that of PULL as it is here; remove it if it is gone here
#
#   FOLDER   the folder with finetunes/, from here; this folder when empty
#   PULL     number of the pull request
#   HEAD     its newest commit, the second parent of what is checked out; for `begin`
#   TOKEN    fetches and pushes over HTTPS; empty: whatever git is set up with
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "${FOLDER:-.}"
ref="refs/ftctl/pr-${PULL:-}"

refuse() {
    echo "::error::Pull request $PULL is not trained: $1" >&2
    exit 1
}

case $1 in
begin)
    # With keys, ftctl.yaml and .env decide where they are sent: they are those of the base commit.
    if [ "$(git rev-parse --verify --quiet 'HEAD^2')" != "$HEAD" ]; then
        refuse "it got another commit meanwhile. Set the label again."
    fi
    if ! git diff --quiet 'HEAD^1' HEAD -- ftctl.yaml .env; then
        refuse "it changes ftctl.yaml or .env, which decide where keys are sent. Merge that change in a pull request of its own first."
    fi
    ;;
fetch) ;;
push)
    # shellcheck source=../auth.sh
    . "$here/../auth.sh"
    # One run at a time trains a pull request, so there is nothing to merge with.
    if git rev-parse --verify --quiet "$ref" >/dev/null; then
        git push --quiet origin "+$ref:$ref"
        echo "Pushed $ref."
    elif [ -n "$(git ls-remote origin "$ref")" ]; then
        git push --quiet origin ":$ref"
        echo "Removed $ref."
    else
        echo "Nothing is recorded for pull request $PULL."
    fi
    exit 0
    ;;
*)
    echo "references.sh: $1 is not one of fetch, begin, push." >&2
    exit 64
    ;;
esac

# shellcheck source=../auth.sh
. "$here/../auth.sh"
# Each holds one commit with one file.
git fetch --quiet --no-tags --prune origin '+refs/ftctl/pr-*:refs/ftctl/pr-*'
found=$(git for-each-ref --format='%(refname)' 'refs/ftctl/pr-*' | wc -l)
echo "Pull requests with trained models: $((found))."
