#!/usr/bin/env bash
# Plan, apply or follow fine-tunes in any CI, or from cron: what the workflows do, in one command.
#
#   anywhere.sh plan OUT      plan the checkout; OUT/plan.md is the comment, OUT/plan.json the plan
#   anywhere.sh apply         apply what is approved of the branch, and push the lockfile
#   anywhere.sh train N HEAD  train pull request N at its commit HEAD, before its merge; never of a fork
#   anywhere.sh reconcile     move open jobs on, and push the lockfile; installs nothing while none is open
#
# Run in a checkout of the repository with the fine-tunes. This script's own checkout is the ftctl that is
# installed.
#
# An apply carries out what somebody approved, and nothing else: the plan files APPROVED, or the plan PLAN_ID,
# or the plan that a merge names in its message, in a line `Ftctl-Plan: ID`; APPROVE=everything approves
# whatever the branch asks for. Without any, or if another plan is due by now, it does what needs no approval,
# prints the plan, and ends with 6.
#
#   FOLDER        the folder with finetunes/, from the top of the repository; the top when empty
#   BRANCH        the branch to push to; the one that is checked out when empty
#   TOKEN         pushes over HTTPS to SERVER_URL; empty: whatever git is set up with
#   PACKAGE, REQUIREMENTS, PIP_EXTRA_INDEX_URL   as of .github/actions/setup
set -euo pipefail
shopt -s inherit_errexit # a failed git in $(…) is no empty answer

actions=$(cd "$(dirname "${BASH_SOURCE[0]}")/../actions" && pwd)
what=$1
export FOLDER=${FOLDER:-.} GITHUB_SERVER_URL=${SERVER_URL:-}
BRANCH=${BRANCH:-$(git symbolic-ref --short HEAD)}
export BRANCH
token=${TOKEN:-}
unset TOKEN

install() {
    local added
    added=$(mktemp)
    GITHUB_PATH=$added ROOT=$FOLDER PURPOSE=$1 python3 "$actions/setup/install.py"
    PATH="$(tail -n 1 "$added"):$PATH"
    export PATH
    rm "$added"
}

fetch_records() {
    local told
    told=$(mktemp)
    TOKEN=$token GITHUB_OUTPUT=$told bash "$actions/records/fetch.sh"
    RECORDS=$(sed -n 's/^branch=//p' "$told")
    export RECORDS
    rm "$told"
}

record() { TOKEN=$token MESSAGE="Record fine-tunes" bash "$actions/commit-lockfile/commit.sh"; }

fetch_trained() { TOKEN=$token bash "$actions/trained/references.sh" fetch; }

remove_taken_over() {
    local pull
    for pull in $(ftctl --dir "$FOLDER" lockfile taken-over); do
        (cd "$FOLDER" && git update-ref -d "refs/ftctl/pr-$pull")
        TOKEN=$token PULL=$pull bash "$actions/trained/references.sh" push
    done
}

# Approved is the plan of the newest merge that names one, until another plan is due.
approved_plan() {
    if [ -n "${PLAN_ID:-}" ]; then
        echo "$PLAN_ID"
        return
    fi
    git log --max-count=50 --first-parent --format='%(trailers:key=Ftctl-Plan,valueonly,separator=%x20)' \
        | grep -oE -m 1 '^[0-9a-f]{16}' || true
}

apply_approved() {
    local options=() file plan work code=0
    if [ "${APPROVE:-plan}" = everything ]; then
        options=(--auto-approve)
    elif [ -n "${APPROVED:-}" ]; then
        for file in $APPROVED; do options+=(--approved "$file"); done
    fi
    if [ "${#options[@]}" -gt 0 ]; then
        ftctl --no-color --dir "$FOLDER" apply "${options[@]}" --no-wait
        return
    fi
    work=$(mktemp -d)
    plan=$(approved_plan)
    ftctl --no-color --dir "$FOLDER" plan --out "$work/plan.json" >"$work/plan.txt" || code=$?
    if [ -n "$plan" ] && grep -qF "\"id\": \"$plan\"" "$work/plan.json" 2>/dev/null; then
        ftctl --no-color --dir "$FOLDER" apply --plan-id "$plan" --no-wait
        return
    fi
    ftctl --no-color --dir "$FOLDER" reconcile || code=$?
    if ! python3 "$actions/../scripts/needs_approval.py" "$work/plan.json"; then
        cat "$work/plan.txt"
        echo "Nobody approved this plan. Approve it: PLAN_ID=ID of the plan, or a merge whose message has the line Ftctl-Plan: ID" >&2
        code=6
    fi
    rm -rf "$work"
    return "$code"
}

# The commit is that of a branch of this repository, or it is refused: so no fork is trained. It is merged here,
# as data; nothing of it runs.
train() {
    local pull=$1 head=$2 branch work code=0
    if [[ ! $pull =~ ^[1-9][0-9]*$ || ! $head =~ ^[0-9a-f]{40}$ ]]; then
        echo "anywhere.sh: train takes a number and a whole commit." >&2
        exit 64
    fi
    export GIT_AUTHOR_NAME=ftctl GIT_AUTHOR_EMAIL=ftctl@localhost
    export GIT_COMMITTER_NAME=ftctl GIT_COMMITTER_EMAIL=ftctl@localhost
    branch=$(
        # shellcheck source=../actions/auth.sh
        TOKEN=$token && . "$actions/auth.sh"
        found=$(git ls-remote --heads origin | awk -v head="$head" '$1 == head { print $2; exit }')
        [ -z "$found" ] || git fetch --quiet --no-tags origin "$found" >&2
        echo "$found"
    )
    if [ -z "$branch" ]; then
        echo "Pull request $pull is not trained: no branch of this repository is at $head. Forks are never trained." >&2
        exit 1
    fi
    work=$(mktemp -d)
    git worktree add --quiet --detach "$work/merge" HEAD
    trap 'git worktree remove --force "$work/merge"; rm -rf "$work"' EXIT
    git -C "$work/merge" merge --quiet --no-ff --no-edit -m "Merge $head" "$head"
    FOLDER=$work/merge/$FOLDER
    export FOLDER
    install apply
    fetch_records
    TOKEN=$token PULL=$pull HEAD=$head bash "$actions/trained/references.sh" begin
    ftctl --no-color --dir "$FOLDER" train "$pull" --auto-approve || code=$?
    TOKEN=$token PULL=$pull bash "$actions/trained/references.sh" push
    exit "$code"
}

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
    fetch_trained
    apply_approved || code=$?
    record
    remove_taken_over
    exit "$code"
    ;;
train)
    train "$2" "$3"
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
    echo "anywhere.sh: $what is not one of plan, apply, train, reconcile." >&2
    exit 64
    ;;
esac
