#compdef mitigator-vpn
# Completion of mitigator-vpn for zsh: mitigator-vpn completions zsh >/usr/local/share/zsh/site-functions/_mitigator-vpn
_mitigator_vpn() {
    local line value
    local -a directories others
    for line in "${(@f)$(MITIGATOR_VPN_COMPLETE=zsh ${(Q)~words[1]} -- "${(@Q)words[1,CURRENT]}" 2>/dev/null)}"; do
        value=${line%%$'\t'*}
        [[ -n $value ]] || continue
        if [[ $value == */ ]]; then
            directories+=("$value")
        elif [[ $line == *$'\t'* ]]; then
            others+=("${value//:/\\:}:${line#*$'\t'}")
        else
            others+=("${value//:/\\:}")
        fi
    done
    (( $#directories )) && compadd -S '' -- $directories
    (( $#others )) && _describe -V values others
}
if [ "$funcstack[1]" = _mitigator_vpn ]; then _mitigator_vpn "$@"; else compdef _mitigator_vpn mitigator-vpn; fi
