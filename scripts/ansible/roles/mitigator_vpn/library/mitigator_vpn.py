#!/usr/bin/python3
"""Ansible's door to mitigator-vpn: calls the executable with --json and passes on what it says. It decides nothing."""

import json
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: mitigator_vpn
short_description: Makes a host a member of the VPN between Mitigator instances
description:
  - Runs C(mitigator-vpn install) on the host, in check mode C(mitigator-vpn plan).
  - An option that is left out keeps what the instance already has.
options:
  executable: {description: The program on the host., type: path, default: /usr/local/bin/mitigator-vpn}
  vpn_address: {description: This instance's address inside the VPN., type: str}
  endpoint: {description: 'Where the others send their packets, C(IP[:PORT]).', type: str}
  peers: {description: 'The text of a vpn-public.conf to join with, not its path.', type: str}
  port: {description: The UDP port WireGuard listens on., type: int}
  prefix: {description: Prefix length of the VPN's network., type: int}
  dir: {description: The instance's directory., type: path}
  stack: {description: Whose compose stack it is., type: str, choices: [vendor, default]}
  firewall: {description: What to do about the firewall., type: str, choices: [auto, report, none]}
  restart: {description: How far a restart may go., type: str, choices: [full, gateway, none]}
  apt_mirror: {description: Take packages from this mirror., type: str}
  ignore: {description: Checks whose failure is taken as a warning., type: list, elements: str}
  require_proof:
    description: Fail when a member gives no handshake. Without it RV(outcome) alone says so.
    type: bool
    default: true
attributes:
  check_mode: {support: full}
  diff_mode: {support: full}
"""

EXAMPLES = r"""
- name: A member that takes the others from a list
  mitigator_vpn:
    vpn_address: 10.8.3.2
    endpoint: 192.0.2.2
    peers: "{{ lookup('file', 'vpn-public.conf', rstrip=false) }}"
"""

RETURN = r"""
steps: {description: What was changed, or would be., type: list, returned: success}
outcome: {description: "C(pass), C(warn) or C(fail), as the program says.", type: str, returned: always}
instance: {description: "The instance: its key, its list's digest, its members.", type: dict, returned: after an install}
next: {description: What is left for a person to do., type: list, returned: after an install}
findings: {description: What the preflight found., type: list, returned: in check mode or when it refused}
reboot_required: {description: Whether the host has to be rebooted; the run goes on after it., type: bool, returned: success}
rc: {description: The program's exit code., type: int, returned: always}
"""

# Exit codes: see `mitigator-vpn --help`.
DONE, REFUSED, REBOOT, UNPROVEN, STEP_FAILED = 0, 3, 4, 5, 6

OPTIONS = {
    "vpn_address": {"type": "str"},
    "endpoint": {"type": "str"},
    "port": {"type": "int"},
    "prefix": {"type": "int"},
    "dir": {"type": "path"},
    "stack": {"type": "str", "choices": ["vendor", "default"]},
    "firewall": {"type": "str", "choices": ["auto", "report", "none"]},
    "restart": {"type": "str", "choices": ["full", "gateway", "none"]},
    "apt_mirror": {"type": "str"},
}


def main():
    own = {
        "executable": {"type": "path", "default": "/usr/local/bin/mitigator-vpn"},
        "peers": {"type": "str"},
        "ignore": {"type": "list", "elements": "str", "default": []},
        "require_proof": {"type": "bool", "default": True},
    }
    module = AnsibleModule(argument_spec=OPTIONS | own, supports_check_mode=True)
    executable = module.params["executable"]
    if module.check_mode and not os.path.exists(executable):
        module.exit_json(changed=True, msg=f"{executable} is not on this host yet, so nothing can be planned")
    rc, out, err = module.run_command(command(module))
    finish(module, rc, out, err)


def command(module):
    words = [module.params["executable"], *(["plan"] if module.check_mode else ["install", "--yes"]), "--json"]
    for name in OPTIONS:
        if module.params[name] is not None:
            words += ["--" + name.replace("_", "-"), str(module.params[name])]
    if module.params["ignore"]:
        words += ["--ignore", ",".join(module.params["ignore"])]
    if module.params["peers"] is not None:
        with tempfile.NamedTemporaryFile("w", dir=module.tmpdir, delete=False) as file:
            file.write(module.params["peers"])
        module.add_cleanup_file(file.name)
        words += ["--peers", file.name]
    return words


def finish(module, rc, out, err):
    try:
        document = json.loads(out)
    except ValueError:
        # Without a document it is an error, told on stderr.
        document = {}
    steps = document.get("steps", [])
    result = {
        "rc": rc,
        "changed": bool(steps) or rc in (REBOOT, STEP_FAILED),
        "reboot_required": rc == REBOOT,
        "diff": [{"prepared": shown(step)} for step in steps],
    }
    result |= {name: document[name] for name in ("steps", "outcome", "instance", "next", "findings") if name in document}
    # what is left for a person to do
    for line in document.get("next", []):
        module.warn(line)
    if rc == REFUSED:
        failed = [finding for finding in document.get("findings", []) if finding["outcome"] == "fail"]
        told = [f"{finding['id']}: {finding['detail']}; mend it: {finding['hint']}" for finding in failed]
        module.fail_json(msg="preflight refused, nothing changed: " + " | ".join(told), **result)
    if rc == UNPROVEN and not module.params["require_proof"] and document:
        rc = DONE
    if rc not in (DONE, REBOOT):
        told = err.strip() or "; ".join(document.get("next", []))
        module.fail_json(msg=told or f"mitigator-vpn ended with {rc}", **result)
    module.exit_json(msg=err.strip(), **result)


def shown(step):
    return "\n".join([f"{step['verb']} {step['resource']}", *step["diff"]]) + "\n"


if __name__ == "__main__":
    main()
