# Completion of mitigator-vpn for fish: mitigator-vpn completions fish >/etc/fish/completions/mitigator-vpn.fish
complete -c mitigator-vpn -f -k -a "(env MITIGATOR_VPN_COMPLETE=fish mitigator-vpn -- (commandline -opc) (commandline -ct) 2>/dev/null)"
