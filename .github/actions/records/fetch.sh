#!/usr/bin/env bash
# Fetch the branch with the records, if ftctl.yaml of FOLDER names one; ftctl reads it from there.
#
#   FOLDER         the folder with finetunes/, from here; this folder when empty
#   TOKEN          fetches over HTTPS; empty: whatever git is set up with
#   GITHUB_OUTPUT  `branch=NAME` is written there; empty without such a branch
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
folder=${FOLDER:-.}
branch=$(ftctl --dir "$folder" lockfile branch)
echo "branch=$branch" >>"${GITHUB_OUTPUT:-/dev/null}"
# `refs/ftctl/start` is what this job begins with or recorded last: commit-lockfile merges from there. A
# machine that stays may still have that of another job.
(cd "$folder" && git update-ref -d refs/ftctl/start)
if [ -z "$branch" ]; then
    echo "The lockfile is on the branch that is checked out."
    exit 0
fi
# shellcheck source=../auth.sh
. "$here/../auth.sh"
cd "$folder"
if [ -z "$(git ls-remote --heads origin "refs/heads/$branch")" ]; then
    git update-ref -d "refs/remotes/origin/$branch"
    echo "There is no branch $branch yet: the first record makes it."
else
    git fetch --quiet --no-tags --depth=1 origin "+refs/heads/$branch:refs/remotes/origin/$branch"
    git update-ref refs/ftctl/start "refs/remotes/origin/$branch"
    echo "Fetched the records of $branch."
fi
