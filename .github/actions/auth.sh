# Lets git fetch and push over HTTPS with TOKEN; to be sourced. Empty: whatever git is set up with.
#
# Through the environment, because a command line can be read by every process of the machine, and
# only in the steps that need it: no checkout leaves a credential behind.
if [ -n "${TOKEN:-}" ]; then
    export GIT_CONFIG_COUNT=1
    export GIT_CONFIG_KEY_0="http.${GITHUB_SERVER_URL:-https://github.com}/.extraheader"
    GIT_CONFIG_VALUE_0="AUTHORIZATION: basic $(printf 'x-access-token:%s' "$TOKEN" | base64 | tr -d '\n')"
    export GIT_CONFIG_VALUE_0
fi
export GIT_TERMINAL_PROMPT=0
