#!/usr/bin/env bash
# Check out the branch here, for Forgejo and Gitea Actions; with PULL, that pull request merged into it.
#
# No other program is needed than git, and no credential is left behind. A pull request is data: it is merged,
# and nothing of it runs.
#
#   BRANCH       the default branch
#   PULL, HEAD   number and newest commit of the pull request; empty for none
#   TOKEN        fetches over HTTPS
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../actions/auth.sh
. "$here/../actions/auth.sh"
export GIT_AUTHOR_NAME=ftctl GIT_AUTHOR_EMAIL=ftctl@localhost
export GIT_COMMITTER_NAME=ftctl GIT_COMMITTER_EMAIL=ftctl@localhost

git init --quiet .
git remote remove origin 2>/dev/null || true
git remote add origin "$GITHUB_SERVER_URL/$GITHUB_REPOSITORY.git"
git fetch --quiet --no-tags origin "+refs/heads/$BRANCH:refs/remotes/origin/$BRANCH"
git checkout --quiet --force -B "$BRANCH" "refs/remotes/origin/$BRANCH"
git clean -ffdq
[ -n "${PULL:-}" ] || exit 0
git fetch --quiet --no-tags origin "refs/pull/$PULL/head"
if [ "$(git rev-parse FETCH_HEAD)" != "$HEAD" ]; then
    echo "The pull request has a newer commit, with a run of its own." >&2
    exit 1
fi
git merge --quiet --no-ff -m "Merge $HEAD" "$HEAD"
