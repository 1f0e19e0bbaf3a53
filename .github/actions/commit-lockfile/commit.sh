#!/usr/bin/env bash
# Commit FOLDER/finetunes/ftctl.lock to a branch, as a commit of its own, and push it.
#
# Run inside a checkout of that branch; FOLDER may be any folder of it. Other commits may have reached the branch since; then the
# two lockfiles are merged fine-tune by fine-tune and the record is put on top. Neither the working
# tree nor the index is touched, so nothing else can slip into the commit. Prints one line.
#
#   BRANCH         the branch to push to
#   FOLDER         the folder with finetunes/, from here; this folder when empty
#   MESSAGE        the commit's message
#   TOKEN          pushes over HTTPS; empty: whatever git is set up with
#   GITHUB_OUTPUT  `changed=true` or `changed=false` is written there
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "${FOLDER:-.}"
lockfile=$(git rev-parse --show-prefix)finetunes/ftctl.lock # as git names it
cd "$(git rev-parse --show-toplevel)"
attempts=8

changed() { echo "changed=$1" >>"${GITHUB_OUTPUT:-/dev/null}"; }

# Nothing is guessed, and no record may be lost silently: with `folder` forgotten, say so.
if [ ! -e "$lockfile" ] && [ "${FOLDER:-.}" = . ]; then
    elsewhere=$(git -c core.quotePath=false status --porcelain --untracked-files=all -- ':(top,glob)**/finetunes/ftctl.lock')
    if [ -n "$elsewhere" ]; then
        echo "::error::There is no $lockfile, and another lockfile changed: ${elsewhere:3}. Set the input \`folder\` to the folder with finetunes/." >&2
        exit 1
    fi
fi

if [ -z "$(git status --porcelain --untracked-files=all -- ":(top,literal)$lockfile")" ] || [ ! -e "$lockfile" ]; then
    changed false
    echo "The lockfile is unchanged."
    exit 0
fi

# Through the environment, because a command line can be read by every process of the machine, and
# only now, because no step before this one needs to be able to push.
if [ -n "${TOKEN:-}" ]; then
    export GIT_CONFIG_COUNT=1
    export GIT_CONFIG_KEY_0="http.${GITHUB_SERVER_URL:-https://github.com}/.extraheader"
    GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
    export GIT_CONFIG_VALUE_0
fi
export GIT_TERMINAL_PROMPT=0
export GIT_AUTHOR_NAME="${GIT_AUTHOR_NAME:-github-actions[bot]}"
export GIT_AUTHOR_EMAIL="${GIT_AUTHOR_EMAIL:-41898282+github-actions[bot]@users.noreply.github.com}"
export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$lockfile" "$work/ours"
base=$(git rev-parse HEAD)

for ((attempt = 1; attempt <= attempts; attempt++)); do
    git fetch --quiet --no-tags --depth=1 origin "+refs/heads/$BRANCH:refs/ftctl/tip"
    tip=$(git rev-parse refs/ftctl/tip)
    git show "$tip:$lockfile" >"$work/theirs" 2>/dev/null || : >"$work/theirs"
    python3 "$here/merge.py" "$lockfile" "$work/ours" "$base" "$tip" >"$work/merged"
    if cmp -s "$work/merged" "$work/theirs"; then
        changed true
        echo "Another run recorded the same already."
        exit 0
    fi
    export GIT_INDEX_FILE="$work/index"
    git read-tree "$tip"
    blob=$(git hash-object -w --no-filters "$work/merged")
    git update-index --add --cacheinfo "100644,$blob,$lockfile"
    commit=$(git commit-tree "$(git write-tree)" -p "$tip" -m "$MESSAGE")
    unset GIT_INDEX_FILE
    if git push --quiet origin "$commit:refs/heads/$BRANCH"; then
        changed true
        echo "Recorded as ${commit:0:12} on $BRANCH."
        exit 0
    fi
    # Somebody else was faster, most likely; waits of different length keep two runs apart.
    sleep "$((attempt + RANDOM % 3))"
done

echo "::error::The lockfile could not be pushed to $BRANCH. Nothing is lost: the next run finds every job and model at the backends again. If the branch is protected, let this workflow push to it." >&2
exit 1
