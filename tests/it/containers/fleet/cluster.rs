//! Hosts, and an operator with a cluster.toml.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::Host;
use crate::support::call::{Call, Ran};
use crate::support::container::NO_MODULES_HERE;
use crate::support::namespace::NamespaceHost;
use crate::support::operator::Operator;

pub const PUBLIC: &str = "/srv/mitigator/vpn-public.conf";
pub const FILE: &str = "cluster.toml";

/// Instance `n` is called `h1` and so on, and has the address 10.8.3.n.
pub struct Cluster {
    pub operator: Operator,
    pub hosts: Vec<NamespaceHost>,
    /// The operator's own configuration of ssh, where they have one.
    pub config: Option<&'static str>,
}

impl Cluster {
    /// So many hosts with nothing on them, and a cluster.toml that names the first of them.
    pub fn up(label: &str, hosts: usize, instances: usize) -> Option<Self> {
        let operator = Operator::new()?;
        let hosts = NamespaceHost::fleet(label, hosts)?;
        let cluster = Cluster { operator, hosts, config: None };
        cluster.declare(1..=instances);
        Some(cluster)
    }

    /// A cluster.toml that names these.
    pub fn declare(&self, instances: impl IntoIterator<Item = usize>) {
        let sections: Vec<String> = instances.into_iter().map(|n| self.section(n)).collect();
        self.operator.write(FILE, sections.join("\n"));
    }

    fn section(&self, n: usize) -> String {
        let (ssh, endpoint) = (self.host(n).name(), self.host(n).address());
        format!(
            "[[instance]]\nname = \"h{n}\"\nssh = \"{ssh}\"\nvpn-address = \"10.8.3.{n}\"\nendpoint = \"{endpoint}\"\n"
        )
    }

    /// The host of instance `n`.
    pub fn host(&self, n: usize) -> &NamespaceHost {
        &self.hosts[n - 1]
    }

    /// `mitigator-vpn cluster …`, asking nothing.
    pub fn call(&self, words: &str) -> Call<'_> {
        self.call_as(&self.operator, words)
    }

    /// The same by another operator.
    pub fn call_as<'o>(&self, operator: &'o Operator, words: &str) -> Call<'o> {
        let config = self.config.map_or_else(|| self.hosts[0].ssh_config(), PathBuf::from);
        operator.vpn(&format!("cluster {words} --ssh-config {} --json --yes {NO_MODULES_HERE}", config.display()))
    }

    /// `cluster add` of instance `n`.
    pub fn add(&self, n: usize) -> Call<'_> {
        let (ssh, endpoint) = (self.host(n).name(), self.host(n).address());
        self.call(&format!("add h{n} --ssh {ssh} --vpn-address 10.8.3.{n} --endpoint {endpoint}"))
    }

    /// The list of instance `n`, as its host would read it: a write that was cut off counts as done.
    pub fn list(&self, n: usize) -> Option<String> {
        let redo = PUBLIC.replace("vpn-public.conf", ".vpn-public.conf.mitigator-vpn-redo");
        let read = |path: &str| std::fs::read_to_string(self.host(n).on_disk(path)).ok();
        read(&redo).or_else(|| read(PUBLIC))
    }

    /// All of these have one and the same list, with that many members.
    #[track_caller]
    pub fn assert_agree(&self, instances: impl IntoIterator<Item = usize>, count: usize) {
        let mut first: Option<String> = None;
        for n in instances {
            let list = self.list(n).unwrap_or_else(|| panic!("h{n} has no list"));
            assert_eq!(members(&list), count, "h{n}:\n{list}");
            assert_eq!(*first.get_or_insert_with(|| list.clone()), list, "h{n}");
        }
    }

    /// The peers that the live device of instance `n` has, with their endpoints.
    pub fn live(&self, n: usize) -> Vec<(String, String)> {
        let status = self
            .host(n)
            .shell("cd /srv/mitigator && docker-compose exec -T gateway mitigator-vpn gateway status --json");
        let status = status.run().exits(0).json();
        let peers = status["peers"].as_array().expect("a list").clone();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        peers.iter().map(|peer| (word(&peer["public_key"]), word(&peer["endpoint"]))).collect()
    }
}

/// How many members a list has.
pub fn members(list: &str) -> usize {
    list.matches("[Peer]").count()
}

/// What a run says of one instance.
#[track_caller]
pub fn said_of(ran: &Ran, n: usize) -> Value {
    let document = ran.json();
    let hosts = document["hosts"].as_array().expect("a list").clone();
    hosts.into_iter().find(|host| host["name"] == format!("h{n}")).unwrap_or_else(|| panic!("no word of h{n}\n{ran}"))
}
