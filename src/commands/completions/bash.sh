# Completion of mitigator-vpn for bash: mitigator-vpn completions bash >/etc/bash_completion.d/mitigator-vpn
_mitigator_vpn() {
    local word=${COMP_LINE:0:COMP_POINT} typed value replies
    # The program splits the line: bash has split it at = and : as well.
    replies=$(MITIGATOR_VPN_COMPLETE=bash "${1/#\~\//$HOME/}" -- "$word" 2>/dev/null)
    # bash replaces what is behind the last = or :, so that alone is the reply.
    typed=$2
    case $typed in [=:]) typed='' ;; esac
    word=${word##*[[:space:]]}
    word=${word%"$typed"}
    COMPREPLY=()
    while IFS= read -r value; do
        [ -n "$value" ] || continue
        value=${value#"$word"}
        case $value in *[!A-Za-z0-9_./:,=@%+-]*) printf -v value %q "$value" ;; esac
        COMPREPLY+=("$value")
    done <<<"$replies"
    case ${COMPREPLY[0]} in */ | *=) compopt -o nospace 2>/dev/null ;; esac
}
complete -o bashdefault -o default -F _mitigator_vpn mitigator-vpn
