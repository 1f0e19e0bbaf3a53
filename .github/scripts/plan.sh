#!/usr/bin/env bash
# Validate and plan the repository ROOT, offline; write OUT/plan.md (a comment's text) and OUT/plan.json.
#
# The Markdown also goes to the job's summary. Exits as `ftctl` did. Nothing that came from the
# repository is printed: a log line such as `::add-mask::…` would be taken for a command.
set -euo pipefail

root=$1 out=$2
limit=40000 # bytes; a comment holds 65,536 characters, and each line grows by four
mkdir -p "$out"

status=0
ftctl --no-color --dir "$root" validate >"$out/problems.txt" 2>&1 || status=$?
if [ "$status" -eq 0 ]; then
    ftctl --no-color --dir "$root" plan --offline --markdown --out "$out/plan.json" \
        >"$out/plan.md" 2>"$out/problems.txt" || status=$?
fi
if [ "$status" -ne 0 ]; then
    {
        echo "<!-- ftctl:plan -->"
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
