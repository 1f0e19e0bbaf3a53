#!/usr/bin/env bash
# Append `ftctl status` of FOLDER to the job's summary, indented: so it is shown as it is, whatever it says.
set -euo pipefail
{
    echo "### ftctl status"
    echo
    ftctl --no-color --dir "${FOLDER:-.}" status | tr -d '\r' | sed 's/^/    /'
    echo
} >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
