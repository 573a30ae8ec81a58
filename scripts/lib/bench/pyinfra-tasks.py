"""The eight file tasks of an instance, for pyinfra. Data: `tree` is where they are done, `files` what the files say."""

from pyinfra import host
from pyinfra.operations import files

instance = f"{host.data.tree}/srv/mitigator"

files.directory(path=instance, mode="755")
for name, mode in [
    ("docker-compose.yml", "644"),
    ("docker-compose.vpn.yml", "644"),
    ("vpn-public.conf", "644"),
    ("vpn-private.conf", "600"),
]:
    files.put(src=f"{host.data.files}/{name}", dest=f"{instance}/{name}", mode=mode)
files.put(src=f"{host.data.files}/mitigator.conf", dest=f"{host.data.tree}/etc/modules-load.d/mitigator.conf", mode="644")
for key, value in [
    ("COMPOSE_FILE", "docker-compose.yml:docker-compose.vpn.yml"),
    ("MITIGATOR_VPN_ADDRESS", host.data.vpn_address),
]:
    files.line(path=f"{instance}/.env", line=f"^{key}=.*$", replace=f"{key}={value}")
