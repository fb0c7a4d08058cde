# SPDX-License-Identifier: GPL-3.0-or-later
# SPDX-FileCopyrightText: pgherd contributors
"""Rough hosts: as administrators have them, and not as a laboratory would like them.

Nobody logs in as root: ``admin`` does, whose sudo asks for a password and whose umask is 077. /etc/hosts has what Debian's
installer writes and nothing about the others; a name server has both families forward and reverse. The network is dual
stack. Nothing in /tmp can be executed. Hosts are named by what that server knows (pg1.rough.test) and reached by that.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path

import images
from machine import podman, until

USER, PASSWORD = "admin", "it's, a \\ rough: test"  # of no use but on a lab's hosts
LABEL = "pgherd.names"  # of a name server, with its cluster; no host of it
RELEASE = "bookworm"  # the name server's: its image has dnsmasq in its apt cache
TMP = "rw,nosuid,nodev,noexec,mode=1777"
_ANSWERS = 2  # the name server's number in its network

# Run in a host: who may log in and how, and what it knows of itself. Prints the host key for known_hosts.
_SETTLE = """\
set -eu
key=$1 name=$2 user=$3 secret=$4
printf '%s\\n' '127.0.0.1 localhost' "127.0.1.1 $name ${name%%.*}" '::1 localhost ip6-localhost ip6-loopback' >/etc/hosts
id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash --groups sudo "$user"
# Debian's own hash costs each sudo some tens of milliseconds.
usermod --password "$(printf '%s' "$secret" | openssl passwd -5 -stdin)" "$user"
for file in common-session common-session-noninteractive; do
  grep -q pam_umask /etc/pam.d/$file || echo 'session optional pam_umask.so umask=077' >>/etc/pam.d/$file
done
install -d -m 700 -o "$user" -g "$user" "/home/$user/.ssh"
printf '%s\\n' "$key" >"/home/$user/.ssh/authorized_keys"
chown "$user:$user" "/home/$user/.ssh/authorized_keys"
# Once: sshd listens anew when it is reloaded, and for a moment refuses whoever comes.
if ! [ -e /etc/ssh/sshd_config.d/00-rough.conf ]; then
  echo 'PermitRootLogin no' >/etc/ssh/sshd_config.d/00-rough.conf
  systemctl restart ssh
fi
cat /etc/ssh/ssh_host_ed25519_key.pub
"""

_SERVE = """\
set -eu
apt-get install -qq --yes --no-install-recommends dnsmasq-base >/dev/null
touch /etc/names
exec dnsmasq --keep-in-foreground --user=root --no-hosts --addn-hosts=/etc/names --bogus-priv --log-facility=-
"""


def network6(network: ipaddress.IPv4Network) -> ipaddress.IPv6Network:
    """The IPv6 network beside a /24 of the lab's, with its digits: fd00:172:30:81::/64 beside 172.30.81.0/24."""
    return ipaddress.IPv6Network(f"fd00:{':'.join(str(network.network_address).split('.')[:3])}::/64")


def address6(address: str) -> str:
    """The IPv6 address beside an IPv4 address of the lab's: fd00:172:30:81::11 beside 172.30.81.11."""
    *network, number = address.split(".")
    return f"fd00:{':'.join(network)}::{number}"


def flags(name: str, address: str) -> list[str]:
    """What ``podman run`` needs for a rough host beside what any host needs."""
    server = ipaddress.ip_network(f"{address}/24", strict=False)[_ANSWERS]
    return [
        *("--hostname", name.partition(".")[0], "--ip6", address6(address)),
        *("--dns", str(server), "--dns-search", name.partition(".")[2]),
    ]


def settle(container: str, name: str, key: str) -> str:
    """Make a running host rough, which one that is stays; its ssh host key."""
    return podman("exec", "-i", container, "sh", "-s", "--", key, name, USER, PASSWORD, stdin=_SETTLE)


def _server(cluster: str) -> str:
    return f"{cluster}-names"


def serve_names(cluster: str, network: ipaddress.IPv4Network, hosts: Mapping[str, str]) -> None:
    """The cluster's name server runs and knows *hosts* (name: IPv4 address), in both families and both ways."""
    container = _server(cluster)
    if not podman("ps", "--all", "--quiet", "--filter", f"label={LABEL}={cluster}").strip():
        podman(
            *(
                "run",
                "--detach",
                "--name",
                container,
                "--label",
                f"{LABEL}={cluster}",
                "--network",
                f"pgherd-{cluster}",
            ),
            *("--ip", str(network[_ANSWERS]), images.reference(RELEASE), "sh", "-c", _SERVE),
        )
    podman("start", container)
    until("the name server", lambda: bool(podman("exec", container, "pgrep", "-x", "dnsmasq", check=False)), seconds=60)
    lines = [f"{one} {name}\n" for name, address in hosts.items() for one in (address, address6(address))]
    podman("exec", "-i", container, "sh", "-c", "cat >/etc/names && kill -HUP 1", stdin="".join(lines))


def forget_names(cluster: str) -> None:
    """Remove the cluster's name server."""
    podman("rm", "--force", "--time", "0", "--ignore", _server(cluster))


def reach(directory: Path, hosts: Mapping[str, str]) -> None:
    """Tell ssh where rough hosts (name: IPv4 address) are, in a configuration in *directory*.

    Ansible knows names only, of which this machine's name server knows nothing.
    """
    lines = [f"Host {name}\n  HostName {address}\n" for name, address in hosts.items()]
    (directory / "ssh_config").write_text("".join(lines), encoding="utf-8")


def variables(directory: Path) -> dict[str, object]:
    """How Ansible reaches rough hosts."""
    return {
        "ansible_user": USER,
        "ansible_become_password": PASSWORD,
        "ansible_ssh_common_args": f"-F {directory / 'ssh_config'}",
    }
