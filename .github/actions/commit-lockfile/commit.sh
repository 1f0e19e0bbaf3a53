#!/usr/bin/env bash
# Commit FOLDER/finetunes/ftctl.lock to a branch, as a commit of its own, and push it.
#
# Run inside a checkout; FOLDER may be any folder of it. Other commits may have reached the branch
# since; then the two lockfiles are merged fine-tune by fine-tune and the record is put on top.
# Neither the working tree nor the index is touched, so nothing else can slip into the commit.
# Prints one line.
#
#   BRANCH         the branch to push to; the checkout is of that branch
#   RECORDS        push to this branch instead, which holds nothing but the lockfile; records/fetch.sh
#                  fetched it. It is made if it does not exist.
#   FOLDER         the folder with finetunes/, from here; this folder when empty
#   MESSAGE        the commit's message
#   TOKEN          pushes over HTTPS; empty: whatever git is set up with
#   GITHUB_OUTPUT  `changed=true` or `changed=false` is written there, and the commit as `sha=…`
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
merge="$here/../../../controller/lockfile/merge.py"
cd "${FOLDER:-.}"
lockfile=$(git rev-parse --show-prefix)finetunes/ftctl.lock # as git names it
cd "$(git rev-parse --show-toplevel)"
attempts=8
# The 40 zeros stand for no commit: of an empty lockfile.
none=0000000000000000000000000000000000000000
# What this job recorded last, or else what it began with: what changed since is this job's own doing.
if ! base=$(git rev-parse --quiet --verify refs/ftctl/start); then
    if [ -n "${RECORDS:-}" ]; then base=$none; else base=$(git rev-parse HEAD); fi
fi
BRANCH=${RECORDS:-$BRANCH}
export BRANCH

said() { echo "$1" >>"${GITHUB_OUTPUT:-/dev/null}"; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Nothing is guessed, and no record may be lost silently: with `folder` forgotten, tell it.
if [ ! -e "$lockfile" ] && [ "${FOLDER:-.}" = . ]; then
    elsewhere=$(git -c core.quotePath=false status --porcelain --untracked-files=all -- ':(top,glob)**/finetunes/ftctl.lock')
    if [ -n "$elsewhere" ]; then
        echo "::error::There is no $lockfile, and another lockfile changed: ${elsewhere:3}. Set the input \`folder\` to the folder with finetunes/." >&2
        exit 1
    fi
fi

git show "$base:$lockfile" >"$work/base" 2>/dev/null || : >"$work/base"
if [ ! -e "$lockfile" ] || cmp -s "$lockfile" "$work/base"; then
    said changed=false
    echo "The lockfile is unchanged."
    exit 0
fi

# Only now, because no step before this one needs to be able to push.
# shellcheck source=../auth.sh
. "$here/../auth.sh"
export GIT_AUTHOR_NAME="${GIT_AUTHOR_NAME:-github-actions[bot]}"
export GIT_AUTHOR_EMAIL="${GIT_AUTHOR_EMAIL:-41898282+github-actions[bot]@users.noreply.github.com}"
export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"

cp "$lockfile" "$work/ours"

# Print a commit of a tree with a lockfile on top: TREE ("" for an empty one) FILE [PARENT].
commit_of() {
    local blob tree
    export GIT_INDEX_FILE="$work/index"
    git read-tree "${1:---empty}"
    blob=$(git hash-object -w --no-filters "$2")
    git update-index --add --cacheinfo "100644,$blob,$lockfile"
    tree=$(git write-tree)
    unset GIT_INDEX_FILE
    git commit-tree "$tree" ${3:+-p "$3"} -m "$MESSAGE"
}

# Without what others recorded meanwhile: their records are missing here, and not deleted.
remember() { git update-ref refs/ftctl/start "$(commit_of "" "$work/ours")"; }

for ((attempt = 1; attempt <= attempts; attempt++)); do
    if [ -z "${RECORDS:-}" ] || [ -n "$(git ls-remote --heads origin "refs/heads/$BRANCH")" ]; then
        git fetch --quiet --no-tags --depth=1 origin "+refs/heads/$BRANCH:refs/ftctl/tip"
        tip=$(git rev-parse refs/ftctl/tip)
    else
        tip=$none
    fi
    git show "$tip:$lockfile" >"$work/theirs" 2>/dev/null || : >"$work/theirs"
    python3 "$merge" "$lockfile" "$work/ours" "$base" "$tip" >"$work/merged"
    if cmp -s "$work/merged" "$work/theirs"; then
        remember
        said changed=true
        said "sha=$tip"
        echo "Another run recorded the same already."
        exit 0
    fi
    [ "$tip" != "$none" ] || tip=""
    commit=$(commit_of "$tip" "$work/merged" "$tip")
    if git push --quiet origin "$commit:refs/heads/$BRANCH"; then
        remember
        said changed=true
        said "sha=$commit"
        echo "Recorded as ${commit:0:12} on $BRANCH."
        exit 0
    fi
    # Somebody else was faster, most likely; waits of different length keep two runs apart.
    sleep "$((attempt + RANDOM % 3))"
done

echo "::error::The lockfile could not be pushed to $BRANCH. Nothing is lost: the next run finds every job and model at the backends again. If the branch is protected, let this workflow push to it: \`ftctl help pull-requests\`, \"Protect the branch\"." >&2
exit 1
