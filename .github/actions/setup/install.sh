#!/usr/bin/env bash
# Install ftctl; put it on the path of the steps that follow.
#
# SOURCE is a checkout of ftctl itself, or of a repository that only uses it and names it in
# .github/ftctl-requirements.txt: `ftctl[all] @ git+URL@COMMIT`.
#
# Into a virtual environment below the home folder, named by what is installed. On a self-hosted
# machine the next job finds it ready, and one with another ftctl leaves it alone: children that
# still train import from it. Environments that no job used for a month are removed.
set -euo pipefail

source=$(realpath "$SOURCE")
home="$HOME/.local/share/ftctl"
requirements="$source/.github/ftctl-requirements.txt"
if [ -e "$requirements" ]; then
    made_from=$(sha256sum <"$requirements")
else
    made_from=$(cd "$source" && git ls-files -s -- controller backends finetunes pyproject.toml constraints.txt | sha256sum)
fi
venv="$home/${made_from:0:16}"
mkdir -p "$home"

exec 9>"$home/lock" # two jobs of one machine take turns
flock 9
find "$home" -mindepth 2 -maxdepth 2 -name ready -mtime +30 -printf '%h\0' | xargs -0 -r rm -rf
if [ ! -e "$venv/ready" ]; then
    python -m venv --clear "$venv"
    if [ -e "$requirements" ]; then
        "$venv/bin/pip" install -qq -r "$requirements"
    else
        # torch first, and in the tested version, as in the Makefile.
        torch=$(grep '^torch==' "$source/constraints.txt")
        "$venv/bin/pip" install -qq -c "$source/constraints.txt" "$torch"
        "$venv/bin/pip" install -qq -c "$source/constraints.txt" "$source[all]"
    fi
fi
touch "$venv/ready"

echo "$venv/bin" >>"$GITHUB_PATH"
echo "Installed: $("$venv/bin/ftctl" --version)"
