# Export the variables of KEYS, lines NAME=value; to be sourced.
#
# Values are masked in the log one by one, since GitHub masks a secret as a whole only.
set -euo pipefail

number=0
while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%$'\r'}
    case $line in '' | '#'*) continue ;; esac
    name=${line%%=*}
    if [[ $line != *=* || ! $name =~ ^[A-Za-z_][A-Za-z0-9_]*$ ]]; then
        echo "::error::Line $number of the secret FTCTL_ENV is not NAME=value." >&2
        exit 1
    fi
    case $name in
    # What decides which programs and libraries run is no key.
    PATH | LD_* | PYTHON* | GIT_* | GITHUB_* | RUNNER_* | BASH_ENV | ENV | HOME | FTCTL_STATE_DIR)
        echo "::error::Line $number of the secret FTCTL_ENV sets $name, which is not a key." >&2
        exit 1
        ;;
    esac
    value=${line#*=}
    [ -z "$value" ] || echo "::add-mask::$value"
    export "$name=$value"
done <<<"${KEYS:-}"
unset KEYS
# An empty variable would count as a key, or as an address.
[ -n "${OPENAI_API_KEY:-}" ] || unset OPENAI_API_KEY
[ -n "${OPENAI_BASE_URL:-}" ] || unset OPENAI_BASE_URL
