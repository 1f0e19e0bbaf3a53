#!/usr/bin/env bash
# Plan the repository ROOT; write OUT/plan.md (a comment's text) and OUT/plan.json.
#
# ROOT is a checkout of a pull request's merge commit: gates and data are compared with its first parent,
# and the comment is about its second. KEYED=true plans with the keys of the environment; otherwise
# nothing outside of ROOT is read.
#
# A fine-tune with problems is a part of the plan, and the others are planned all the same; the exit
# code is then not 0. Where there is no plan at all, the problems are the comment.
#
# The Markdown also goes to the job's summary. Exits as `ftctl` did. Nothing that came from the
# repository is printed: a log line such as `::add-mask::…` would be taken for a command.
set -euo pipefail

root=$1 out=$2
limit=40000 # bytes; a comment holds 65,536 characters, and each line grows by four
mkdir -p "$out"

options=(--format github --out "$out/plan.json")
[ "${KEYED:-}" = true ] || options+=(--offline)
for side in base=HEAD^1 head=HEAD^2; do
    if git -C "$root" rev-parse --verify --quiet "${side#*=}^{commit}" >/dev/null 2>&1; then
        options+=("--${side%%=*}" "${side#*=}")
    fi
done

status=0
ftctl --no-color --dir "$root" plan "${options[@]}" \
    >"$out/plan.md" 2>"$out/problems.txt" || status=$?
if ! head -n 1 "$out/plan.md" | grep -qxF '<!-- ftctl:plan -->'; then
    cat "$out/plan.md" >>"$out/problems.txt"
    {
        echo "<!-- ftctl:plan -->"
        echo '<!-- ftctl:bound {"head": null} -->'
        echo "### ftctl plan"
        echo
        echo "**There is no plan: the fine-tunes have problems.**"
        echo
        # Indented by four, text is shown as it is, whatever stands in it; a carriage return would
        # end the line, and with it the indentation.
        # Cutting may leave half a letter, which iconv drops, and says so by its exit status.
        head -c "$limit" "$out/problems.txt" | tr -d '\r' | { iconv -c -f utf-8 -t utf-8 || true; } \
            | sed 's/^/    /'
        echo
    } >"$out/plan.md"
fi
rm -f "$out/problems.txt"
cat "$out/plan.md" >>"${GITHUB_STEP_SUMMARY:-/dev/null}"
echo "ftctl ended with $status; the plan stands in the summary."
exit "$status"
